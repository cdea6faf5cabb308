// lcsm bench plans: the planner's choice beside what a search finds.
#include "bench_plans.h"

#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "bench/machine.h"
#include "bench/plan_search.h"
#include "bench_output.h"
#include "conv/tuning.h"
#include "interrupt.h"
#include "model_options.h"
#include "progress.h"
#include "terminal.h"

namespace lcsm::cli {
namespace {

struct Options {
  size_t channels = 256, batch = 1, mixers = 1;
  std::vector<size_t> lengths = {4096, 16384, 65536};
  bench::PlanSearchCase wanted;
  std::string json_file;
  bool untuned = false, quiet = false;
};

struct Case {
  size_t length = 0;
  bool tuned = false;
  bench::PlanSearchResult result;
};

// The planner's time over that of the best plan found, itself included.
double PlannerToBest(const bench::PlanSearchResult& result) {
  double best = 1;
  for (const bench::PlanRow& row : result.rows) {
    best = std::min(best, row.to_planner.median);
  }
  return 1 / best;
}

std::string Table(const std::vector<Case>& cases) {
  std::string table = fmt::format(
      "ns per token and channel, medians of the rounds\n{:>8} {:<8} {:>9} "
      "{:>9} "
      "{:>18} {:>11} {:>8} {:>8}  {}\n",
      "length", "", "foretold", "measured", "min .. max", "to planner", "error",
      "MiB", "levels");
  for (const Case& one : cases) {
    for (const bench::PlanRow& row : one.result.rows) {
      table += fmt::format(
          "{:>8} {:<8} {:>9.2f} {:>9.2f} {:>18} {:>11.3f} {:>8.1e} {:>8.1f}  "
          "{}\n",
          one.length, row.name, row.predicted_ns, row.ns.median,
          fmt::format("{:.2f} .. {:.2f}", row.ns.min, row.ns.max),
          row.to_planner.median, row.max_relative_error,
          static_cast<double>(row.bytes) / 0x1p20, row.levels);
    }
    table += fmt::format(
        "{:>8} of {} other plans the best takes {:.3f} of the planner's time, "
        "the hybrid {:.3f}; {}\n",
        one.length, one.result.enumerated, 1 / PlannerToBest(one.result),
        one.result.rows[1].to_planner.median,
        one.tuned ? "planned by measured costs" : "planned by the estimate");
  }
  return table;
}

Json ToJson(const Options& options, const std::vector<Case>& cases) {
  Json results = Json::array();
  for (const Case& one : cases) {
    Json rows = Json::array();
    for (const bench::PlanRow& row : one.result.rows) {
      rows.push_back({{"name", row.name},
                      {"levels", row.levels},
                      {"predicted_ns_per_token_channel", row.predicted_ns},
                      {"screened_ns_per_token_channel", row.screened_ns},
                      {"ns_per_token_channel", SpreadJson(row.ns)},
                      {"to_planner", SpreadJson(row.to_planner)},
                      {"max_relative_error", row.max_relative_error},
                      {"bytes", row.bytes}});
    }
    results.push_back(
        {{"channels", options.channels},
         {"batch", options.batch},
         {"mixers", options.mixers},
         {"length", one.length},
         {"threads", options.wanted.options.threads},
         {"rounds", options.wanted.rounds},
         {"enumerated", one.result.enumerated},
         {"tuned", one.tuned},
         {"planner_to_best", PlannerToBest(one.result)},
         {"hybrid_to_planner", one.result.rows[1].to_planner.median},
         {"plans", rows}});
  }
  return {{"machine", bench::MachineJson()}, {"results", results}};
}

Status Run(const Options& options) {
  const bench::NoiseWatch noise;
  bench::PlanSearchCase wanted = options.wanted;
  if (!options.untuned) wanted.options.tuning = LoadTuning();
  std::vector<Case> cases;
  for (const size_t length : options.lengths) {
    wanted.problem = {options.mixers, options.channels, options.batch, length,
                      length};
    Progress bar(fmt::format("plans for {} positions", length), options.quiet);
    LCSM_ASSIGN_OR_RETURN(const bench::PlanSearchResult result,
                          bench::SearchPlans(wanted, [&bar](double done) {
                            bar.Update(done);
                            return !Interrupted();
                          }));
    bar.Finish();
    const bool tuned = wanted.options.tuning != nullptr &&
                       wanted.options.tuning->For(wanted.problem) != nullptr;
    cases.push_back({length, tuned, result});
  }
  if (!options.quiet) Say("{}\n", noise.Report());
  return TableThenFiles(Table(cases),
                        {options.json_file, ToJson(options, cases)}, {});
}

}  // namespace

void AddBenchPlans(App& bench, Commands& commands) {
  auto options = std::make_shared<Options>();
  bench::PlanSearchCase& wanted = options->wanted;
  App app = bench.add_subcommand(
      "plans", "The planner's choice beside other plans, in turns");
  app->footer(
      "Example:\n"
      "  lcsm plan --channels 256 --length 65536 --tune\n"
      "  lcsm bench plans --channels 256 --lengths 65536 --json plans.json");
  app->add_option("--channels", options->channels, "channels of one mixer")
      ->check(WholeIn(1, 1 << 20))
      ->capture_default_str();
  app->add_option("--batch", options->batch, "rows that share the filters")
      ->check(WholeIn(1, 1 << 20))
      ->capture_default_str();
  app->add_option("--mixers", options->mixers,
                  "convolutions that advance together (layers)")
      ->check(WholeIn(1, 1 << 20))
      ->capture_default_str();
  app->add_option("--lengths", options->lengths, "sequence lengths")
      ->delimiter(',')
      ->check(WholeIn(1, size_t{1} << 25))
      ->capture_default_str();
  app->add_option("--threads", wanted.options.threads, "threads")
      ->check(WholeIn(1, ThreadPool::kMaxThreads))
      ->capture_default_str();
  app->add_option("--candidates", wanted.candidates,
                  "plans to try: so many of the cheapest by foretold cost, and "
                  "every change of one level of the planner's")
      ->check(WholeIn(1, 10000))
      ->capture_default_str();
  app->add_option("--finalists", wanted.finalists,
                  "of those, the fastest, which are run in turns with the "
                  "planner's and the hybrid")
      ->check(WholeIn(0, 100))
      ->capture_default_str();
  app->add_option("--rounds", wanted.rounds, "turns")
      ->check(WholeIn(1, 1000))
      ->capture_default_str();
  app->add_option("--memory-limit", wanted.options.memory_limit,
                  "bytes that a plan may take, e.g. 4G (default: any)")
      ->type_name("SIZE")
      ->transform(SizeInBytes());
  app->add_flag("--untuned", options->untuned,
                "plan by the estimate, whatever was measured");
  app->add_flag("--quiet", options->quiet, "no notes and no progress");
  AddJsonOption(*app, options->json_file);
  commands.push_back({app, [options] { return Answer(Run(*options)); }});
}

}  // namespace lcsm::cli
