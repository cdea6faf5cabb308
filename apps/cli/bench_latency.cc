// lcsm bench latency: the time of every step of a whole run.
#include "bench_latency.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "bench/latency_bench.h"
#include "bench/machine.h"
#include "bench/svg_plot.h"
#include "bench_output.h"
#include "bench_subject.h"
#include "interrupt.h"
#include "model_options.h"
#include "progress.h"
#include "terminal.h"

namespace lcsm::cli {
namespace {

// Instead of a latency: no long convolutions.
constexpr char kNone[] = "none";

struct Options {
  BenchSubject subject;
  ExecutionOptions execution;
  std::string json_file, svg_file;
  std::vector<std::string> latencies = {"best", "flat"};
  size_t length = 8192, repeats = 1;
};

std::string TableRow(const std::string& name, const bench::StepStatistics& ms) {
  return fmt::format("{:<6} {:>9.4f} {:>9.4f} {:>9.4f} {:>9.4f} {:>9.4f}", name,
                     ms.mean, ms.p50, ms.p99, ms.p99_9, ms.max);
}

Json ResultJson(const std::string& latency,
                const bench::LatencyResult& result) {
  Json curve = Json::array();
  for (const bench::LatencyStretch& s : result.stretches) {
    curve.push_back({{"position", s.position}, {"p50", s.p50}, {"max", s.max}});
  }
  Json json = {{"latency", latency},
               {"plan", result.plan},
               {"interrupted", result.interrupted},
               {"seconds", result.seconds},
               {"tokens_per_second", result.tokens_per_second},
               {"fastest_of_position", StepJson(result.position_ms)},
               {"curve", curve}};
  json.update(StepJson(result.step_ms));
  return json;
}

void AddCurves(const std::string& latency, int colour,
               const bench::LatencyResult& result, bench::Chart& chart) {
  bench::Series typical = {latency + ", median", {}, {}, false, colour};
  bench::Series worst = {latency + ", slowest", {}, {}, true, colour};
  for (const bench::LatencyStretch& s : result.stretches) {
    const double x = static_cast<double>(s.position);
    typical.x.push_back(x);
    typical.y.push_back(s.p50);
    worst.x.push_back(x);
    worst.y.push_back(s.max);
  }
  chart.series.push_back(std::move(typical));
  chart.series.push_back(std::move(worst));
}

Status Run(const Options& options) {
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const Model> model,
                        LoadBenchSubject(options.subject));
  ThreadPool pool(options.execution.threads);
  bench::Chart chart;
  chart.title = "Milliseconds per token along the sequence";
  chart.x_label = "position";
  chart.y_label = "ms per token";
  chart.markers = false;
  for (double tick = 1; tick <= static_cast<double>(options.length);
       tick *= 4) {
    if (tick * 512 > static_cast<double>(options.length)) {
      chart.x_ticks.push_back(tick);
    }
  }
  Json results = Json::array();
  std::string table = fmt::format(
      "{:<6} {:>9} {:>9} {:>9} {:>9} {:>9} {:>11} {:>11}\n", "", "mean ms",
      "p50", "p99", "p99.9", "max", "interrupted", "tokens/s");
  for (size_t k = 0; k < options.latencies.size(); ++k) {
    const std::string& latency = options.latencies[k];
    const bool skip_mixers = latency == kNone;
    ExecutionOptions execution = options.execution;
    execution.latency = skip_mixers ? "best" : latency;
    LCSM_ASSIGN_OR_RETURN(const PrepareOptions prepare,
                          ToPrepareOptions(execution, options.length));
    Progress bar(latency, false);
    LCSM_ASSIGN_OR_RETURN(
        const bench::LatencyResult result,
        bench::RunLatency(*model, prepare, skip_mixers, options.repeats, pool,
                          [&bar](double done) {
                            bar.Update(done);
                            return !Interrupted();
                          }));
    bar.Finish();
    table +=
        fmt::format("{} {:>11} {:>11.0f}\n", TableRow(latency, result.step_ms),
                    result.interrupted, result.tokens_per_second);
    if (options.repeats > 1) {
      table += fmt::format("{} each position's fastest of {} runs\n",
                           TableRow("", result.position_ms), options.repeats);
    }
    table += fmt::format("       {}\n",
                         skip_mixers
                             ? "the same steps with long convolutions left out"
                             : result.plan);
    results.push_back(ResultJson(latency, result));
    AddCurves(skip_mixers ? "without mixers" : latency, static_cast<int>(k + 1),
              result, chart);
  }
  chart.note = fmt::format(
      "{}, {} positions, {} threads{}; medians and slowest steps of {} "
      "stretches, none interrupted",
      SubjectName(options.subject, *model), options.length, pool.NumThreads(),
      options.repeats > 1 ? fmt::format(", fastest of {} runs", options.repeats)
                          : "",
      std::min<size_t>(256, options.length));
  const Json json = {{"machine", bench::MachineJson()},
                     {"model", SubjectName(options.subject, *model)},
                     {"length", options.length},
                     {"threads", pool.NumThreads()},
                     {"repeats", options.repeats},
                     {"results", results}};
  Pictures pictures;
  if (!options.svg_file.empty()) {
    pictures.emplace_back(options.svg_file, bench::LogLogSvg(chart));
  }
  return TableThenFiles(table, {options.json_file, json}, pictures);
}

}  // namespace

void AddLatencyBench(App& root, Commands& commands) {
  auto options = std::make_shared<Options>();
  App app = root.add_subcommand(
      "latency", "Every step of a whole run: how even the time per token is");
  AddBenchSubject(*app, options->subject);
  app->add_option("--length", options->length, "positions of the run")
      ->type_name("L")
      ->check(WholeIn(1, UINT64_MAX))
      ->capture_default_str();
  app->add_option("--repeats", options->repeats,
                  "runs of each; also tells the times of each position's "
                  "fastest, free of what the machine did in one run or another")
      ->type_name("N")
      ->check(WholeIn(1, 1000))
      ->capture_default_str();
  app->add_option("--latencies", options->latencies,
                  "of best, flat, none (long convolutions left out: what is "
                  "left, and how even this machine is)")
      ->delimiter(',')
      ->check(OneOf({"best", "flat", kNone}))
      ->capture_default_str();
  app->add_option("--memory-limit", options->execution.memory_limit,
                  "Bytes (or 500M, 20GiB) that weights, filters and the "
                  "session may take (default: any)")
      ->type_name("SIZE")
      ->transform(SizeInBytes())
      ->check(WholeIn(1, UINT64_MAX));
  AddJsonOption(*app, options->json_file);
  app->add_option("--svg", options->svg_file, "draw the curves into FILE")
      ->type_name("FILE");
  app->add_option("--threads", options->execution.threads,
                  "threads (default: one for each processor)")
      ->type_name("N")
      ->check(WholeIn(1, ThreadPool::kMaxThreads));
  app->footer(
      "Example:\n"
      "  lcsm bench latency --length 8192 --svg latency.svg");
  commands.push_back({app, [options] { return Answer(Run(*options)); }});
}

}  // namespace lcsm::cli
