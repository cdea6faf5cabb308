// lcsm bench batch: several sequences side by side.
#include "bench_batch.h"

#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "bench/batch_bench.h"
#include "bench/machine.h"
#include "bench_output.h"
#include "bench_subject.h"
#include "interrupt.h"
#include "model_options.h"
#include "progress.h"

namespace lcsm::cli {
namespace {

struct Options {
  BenchSubject subject;
  bench::BatchCase wanted = {.rows = {1, 2, 4, 8, 16}};
  ExecutionOptions execution;
  std::string json_file;
};

Status Run(const Options& options) {
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const Model> model,
                        LoadBenchSubject(options.subject));
  ThreadPool pool(options.execution.threads);
  const size_t horizon = options.wanted.prompt + options.wanted.steps;
  LCSM_ASSIGN_OR_RETURN(const PrepareOptions prepare,
                        ToPrepareOptions(options.execution, horizon));
  Progress bar("batches", false);
  LCSM_ASSIGN_OR_RETURN(const std::vector<bench::BatchResult> results,
                        bench::RunBatch(*model, options.wanted, prepare, pool,
                                        [&bar](double done) {
                                          bar.Update(done);
                                          return !Interrupted();
                                        }));
  bar.Finish();
  const std::string name = SubjectName(options.subject, *model);
  std::string table = fmt::format(
      "{}, {}, latency {}; rows compared with states by themselves first\n"
      "{:>6} {:>10} {:>10} {:>10} {:>14}\n",
      name, Count(pool.NumThreads(), "thread"), options.execution.latency,
      "rows", "step ms", "mixers ms", "tokens/s", "of the first");
  Json rows = Json::array();
  for (const bench::BatchResult& r : results) {
    table += fmt::format("{:>6} {:>10.4f} {:>10.4f} {:>10.0f} {:>14.2f}\n",
                         r.rows, r.step_ms, r.mixer_ms, r.tokens_per_second,
                         r.tokens_per_second / results[0].tokens_per_second);
    rows.push_back({{"rows", r.rows},
                    {"step_ms", r.step_ms},
                    {"mixer_ms", r.mixer_ms},
                    {"tokens_per_second", r.tokens_per_second}});
  }
  const Json json = {{"machine", bench::MachineJson()},
                     {"model", name},
                     {"threads", pool.NumThreads()},
                     {"latency", options.execution.latency},
                     {"prompt", options.wanted.prompt},
                     {"steps", options.wanted.steps},
                     {"repeats", options.wanted.repeats},
                     {"results", rows}};
  return TableThenFiles(table, {options.json_file, json}, {});
}

}  // namespace

void AddBenchBatch(App& root, Commands& commands) {
  auto options = std::make_shared<Options>();
  App app = root.add_subcommand(
      "batch", "Several sequences side by side: what sharing weights is worth");
  AddBenchSubject(*app, options->subject);
  app->add_option("--rows", options->wanted.rows, "sequences of each case")
      ->delimiter(',')
      ->check(WholeIn(1, 4096))
      ->capture_default_str();
  app->add_option("--prompt", options->wanted.prompt,
                  "known tokens before the first step")
      ->check(WholeIn(1, UINT32_MAX))
      ->capture_default_str();
  app->add_option("--steps", options->wanted.steps, "steps of each run")
      ->check(WholeIn(1, UINT32_MAX))
      ->capture_default_str();
  app->add_option("--repeats", options->wanted.repeats,
                  "runs of each case, in turns; medians")
      ->check(WholeIn(1, 1000))
      ->capture_default_str();
  app->add_option("--latency", options->execution.latency,
                  "best: least work in all; flat: nearly the same work in "
                  "every step")
      ->type_name("NAME")
      ->check(OneOf({"best", "flat"}))
      ->capture_default_str();
  app->add_option("--threads", options->execution.threads,
                  "threads (default: one for each processor)")
      ->type_name("N")
      ->check(WholeIn(1, ThreadPool::kMaxThreads));
  AddJsonOption(*app, options->json_file);
  app->footer(
      "Example:\n"
      "  lcsm bench batch --shape hyenadna-large-1m --rows 1,8");
  commands.push_back({app, [options] { return Answer(Run(*options)); }});
}

}  // namespace lcsm::cli
