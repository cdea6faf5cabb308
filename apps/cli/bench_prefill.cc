// lcsm bench prefill: known tokens through a whole model.
#include "bench_prefill.h"

#include <fmt/format.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "bench/machine.h"
#include "bench/prefill_bench.h"
#include "bench_output.h"
#include "bench_subject.h"
#include "interrupt.h"
#include "progress.h"

namespace lcsm::cli {
namespace {

struct Options {
  BenchSubject subject;
  std::string json_file;
  std::vector<size_t> lengths = {1024, 8192};
  size_t following = 0, repeats = 3, threads = 0, memory_limit = 0;
  bool no_logits = false;
};

// The products of one block, apart: what they reach when nothing else is done.
StatusOr<std::string> MatrixTable(const ModelInfo& info, ThreadPool& pool,
                                  Json* json) {
  const size_t width = info.width;
  const std::vector<std::pair<size_t, size_t>> shapes = {
      {width, (info.order + 1) * width},
      {width, 4 * width},
      {4 * width, width}};
  std::string text;
  for (const auto& [in, out] : shapes) {
    LCSM_ASSIGN_OR_RETURN(const double gflops,
                          bench::MatrixGflops(in, out, pool));
    text += fmt::format("  {} x {}: {:.1f} GFLOP/s\n", in, out, gflops);
    json->push_back({{"in", in}, {"out", out}, {"gflops", gflops}});
  }
  return text;
}

Status Run(const Options& options) {
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const Model> model,
                        LoadBenchSubject(options.subject));
  ThreadPool pool(options.threads);
  std::string table =
      fmt::format("{:>9} {:>10} {:>9} {:>9} {:>8} {:>7} {:>9} {:>10}\n",
                  "tokens", "prepare s", "seconds", "tokens/s", "mixers s",
                  "share", "GFLOP/s", "peak MiB");
  Json results = Json::array(), matrices = Json::array();
  LCSM_ASSIGN_OR_RETURN(const std::string products,
                        MatrixTable(model->info(), pool, &matrices));
  for (const size_t length : options.lengths) {
    Progress bar(fmt::format("{} tokens", length), false);
    LCSM_ASSIGN_OR_RETURN(
        const bench::PrefillResult result,
        bench::RunPrefill(
            *model,
            {length, options.following, options.repeats, !options.no_logits},
            options.memory_limit, pool, [&bar](double done) {
              bar.Update(done);
              return !Interrupted();
            }));
    bar.Finish();
    table += fmt::format(
        "{:>9} {:>10.3f} {:>9.3f} {:>9.0f} {:>8.3f} {:>6.1f}% {:>9.1f} "
        "{:>10.0f}\n",
        length, result.prepare_seconds, result.seconds,
        result.tokens_per_second, result.mixer_seconds,
        100 * result.mixer_share, result.matrix_gflops,
        static_cast<double>(result.peak_rss_bytes) / 0x1p20);
    results.push_back({{"length", length},
                       {"following", options.following},
                       {"prepare_seconds", result.prepare_seconds},
                       {"seconds", result.seconds},
                       {"tokens_per_second", result.tokens_per_second},
                       {"mixer_seconds", result.mixer_seconds},
                       {"head_seconds", result.head_seconds},
                       {"mixer_share", result.mixer_share},
                       {"matrix_gflops", result.matrix_gflops},
                       {"peak_rss_bytes", result.peak_rss_bytes}});
  }
  const Json json = {{"machine", bench::MachineJson()},
                     {"model", SubjectName(options.subject, *model)},
                     {"threads", pool.NumThreads()},
                     {"matrices", matrices},
                     {"results", results}};
  return TableThenFiles(table + "matrix products alone, " +
                            Count(pool.NumThreads(), "thread") + ":\n" +
                            products,
                        {options.json_file, json}, {});
}

}  // namespace

void AddBenchPrefill(App& root, Commands& commands) {
  auto options = std::make_shared<Options>();
  App app = root.add_subcommand(
      "prefill", "Known tokens through a whole model, layer by layer");
  AddBenchSubject(*app, options->subject);
  app->add_option("--lengths", options->lengths, "tokens of each case")
      ->delimiter(',')
      ->check(WholeIn(1, UINT64_MAX))
      ->capture_default_str();
  app->add_option("--following", options->following,
                  "positions that may come after, by steps")
      ->check(WholeIn(0, UINT64_MAX))
      ->capture_default_str();
  app->add_option("--repeats", options->repeats, "runs of each case; medians")
      ->check(WholeIn(1, 1000))
      ->capture_default_str();
  app->add_flag("--no-logits", options->no_logits,
                "only the last position's, as before generating");
  app->add_option("--memory-limit", options->memory_limit,
                  "bytes that the run may take, e.g. 4G (default: any)")
      ->transform(SizeInBytes());
  app->add_option("--threads", options->threads,
                  "threads (default: one for each processor)")
      ->check(WholeIn(1, ThreadPool::kMaxThreads));
  AddJsonOption(*app, options->json_file);
  app->footer(
      "Example:\n"
      "  lcsm bench prefill --shape hyenadna-large-1m --lengths 1024,131072");
  commands.push_back({app, [options] { return Answer(Run(*options)); }});
}

}  // namespace lcsm::cli
