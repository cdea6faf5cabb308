// lcsm bench: mixer, model, tiles, pool (paper: bench_paper.cc). Thin: the
// measuring is in bench/.
#include "bench/machine.h"
#include "bench/mixer_bench.h"
#include "bench/model_bench.h"
#include "bench/pool_bench.h"
#include "bench/svg_plot.h"
#include "bench/tiles_bench.h"

#include <fmt/format.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/byte_text.h"
#include "base/cpu_info.h"
#include "base/thread_pool.h"
#include "bench_batch.h"
#include "bench_bytes.h"
#include "bench_contract.h"
#include "bench_latency.h"
#include "bench_links.h"
#include "bench_mixers.h"
#include "bench_output.h"
#include "bench_paper.h"
#include "bench_plans.h"
#include "bench_prefill.h"
#include "bench_relaxed.h"
#include "bench_subject.h"
#include "command.h"
#include "exit_codes.h"
#include "interrupt.h"
#include "model_options.h"
#include "terminal.h"

namespace lcsm::cli {
namespace {

// ---- mixer

struct MixerOptions {
  size_t channels = 256, batch = 1, mixers = 1, repeats = 5;
  std::vector<size_t> lengths = {4096, 16384, 65536};
  std::vector<size_t> threads = {1};
  std::vector<std::string> methods = {"lazy", "eager", "paper"};
  std::vector<std::string> taus = {"hybrid"};
  std::string schedule = "across-layers";
  std::string json_file, svg_file;
};

struct MixerRow {
  std::string method, tau;
  size_t length = 0, threads = 0;
  bench::MixerResult result;
};

std::string MixerTable(const std::vector<MixerRow>& rows) {
  std::string table = fmt::format(
      "{:<10} {:<15} {:>8} {:>7} {:>12} {:>20} {:>9} {:>10}\n", "method", "tau",
      "length", "threads", "ns/token/ch", "min .. max", "error", "MiB");
  for (const MixerRow& row : rows) {
    const bench::Spread& ns = row.result.ns_per_token_channel;
    table += fmt::format(
        "{:<10} {:<15} {:>8} {:>7} {:>12.2f} {:>20} {:>9.1e} {:>10.1f}{}\n",
        row.method, row.tau, row.length, row.threads, ns.median,
        fmt::format("{:.2f} .. {:.2f}", ns.min, ns.max),
        row.result.max_relative_error,
        static_cast<double>(row.result.bytes) / (1 << 20),
        row.result.sampled ? "  sampled" : "");
  }
  return table;
}

Json MixerJson(const MixerOptions& options, const std::vector<MixerRow>& rows) {
  Json results = Json::array();
  for (const MixerRow& row : rows) {
    results.push_back(
        {{"method", row.method},
         {"tau", row.tau},
         {"channels", options.channels},
         {"batch", options.batch},
         {"mixers", options.mixers},
         {"length", row.length},
         {"threads", row.threads},
         {"ns_per_token_channel", row.result.ns_per_token_channel.median},
         {"ns_min", row.result.ns_per_token_channel.min},
         {"ns_max", row.result.ns_per_token_channel.max},
         {"repeats", options.repeats},
         {"max_relative_error", row.result.max_relative_error},
         {"checked_length", row.result.checked_length},
         {"sampled", row.result.sampled},
         {"bytes", row.result.bytes},
         {"plan", row.result.plan}});
  }
  return {{"machine", bench::MachineJson()}, {"results", results}};
}

std::string MixerSvg(const MixerOptions& options,
                     const std::vector<MixerRow>& rows) {
  bench::Chart chart;
  chart.title =
      fmt::format("Cost of one token in one channel, C = {}", options.channels);
  chart.x_label = "sequence length L (tokens)";
  chart.y_label = "ns per token and channel";
  chart.note = fmt::format("{}, {}, lcsm bench mixer; median of {}",
                           GetCpuInfo().model, SimdTarget(), options.repeats);
  for (const MixerRow& row : rows) {
    std::string label = row.method == "paper" ? row.tau : row.method;
    if (options.threads.size() > 1)
      label += fmt::format(", {} threads", row.threads);
    auto series =
        std::find_if(chart.series.begin(), chart.series.end(),
                     [&](const bench::Series& s) { return s.label == label; });
    if (series == chart.series.end()) {
      chart.series.push_back({label, {}, {}});
      series = chart.series.end() - 1;
    }
    series->x.push_back(static_cast<double>(row.length));
    series->y.push_back(row.result.ns_per_token_channel.median);
  }
  return bench::LogLogSvg(chart);
}

int RunMixerBench(const MixerOptions& options) {
  LetInterruptsEnd();
  const bench::NoiseWatch noise;
  std::vector<MixerRow> rows;
  double widest = 0;
  const std::shared_ptr<const conv::Tuning> tuning = LoadTuning();
  for (const size_t length : options.lengths) {
    for (const std::string& name : options.methods) {
      const conv::Method method = *conv::MethodFromName(name);
      // The others choose their own tau, or have none: one row each.
      const bool tiled = method == conv::Method::kPaper;
      for (const std::string& tau :
           tiled ? options.taus : std::vector<std::string>{"-"}) {
        for (const size_t threads : options.threads) {
          bench::MixerCase wanted;
          wanted.problem = {options.mixers, options.channels, options.batch,
                            length, length};
          wanted.options.method = method;
          wanted.options.tuning = tuning;
          if (tiled) wanted.options.tau = *conv::TauFromName(tau);
          wanted.options.schedule = *conv::ScheduleFromName(options.schedule);
          wanted.threads = threads;
          wanted.repeats = options.repeats;
          const StatusOr<bench::MixerResult> result = bench::RunMixer(wanted);
          if (!result.ok()) return Fail(result.status());
          widest = std::max(widest, result->ns_per_token_channel.Relative());
          rows.push_back({name, tau, length, threads, *result});
          Say("{} {} L={} threads={}: {:.2f} ns\n", name, tau, length, threads,
              result->ns_per_token_channel.median);
        }
      }
    }
  }
  Say("widest (max - min) / median: {:.2f}; {}\n", widest, noise.Report());
  return Answer(TableThenFiles(MixerTable(rows),
                               {options.json_file, MixerJson(options, rows)},
                               {{options.svg_file, MixerSvg(options, rows)}}));
}

void AddMixer(App& root, Commands& commands) {
  auto options = std::make_shared<MixerOptions>();
  App app = root.add_subcommand(
      "mixer", "Cost of online convolution alone, answers checked first");
  app->footer(
      "Example:\n"
      "  lcsm bench mixer --channels 256 --lengths 4096,65536 \\\n"
      "    --methods lazy,paper --taus fft-fused,hybrid --svg mixer.svg");
  app->add_option("--channels", options->channels, "channels of one mixer")
      ->check(WholeIn(1, UINT64_MAX))
      ->capture_default_str();
  app->add_option("--batch", options->batch, "rows that share the filters")
      ->check(WholeIn(1, UINT64_MAX))
      ->capture_default_str();
  app->add_option("--mixers", options->mixers,
                  "convolutions that advance together (layers)")
      ->check(WholeIn(1, UINT64_MAX))
      ->capture_default_str();
  app->add_option("--lengths", options->lengths, "sequence lengths")
      ->delimiter(',')
      ->check(WholeIn(1, UINT64_MAX))
      ->capture_default_str();
  app->add_option("--threads", options->threads, "thread counts")
      ->delimiter(',')
      ->check(WholeIn(1, ThreadPool::kMaxThreads))
      ->capture_default_str();
  app->add_option("--methods", options->methods,
                  "of lazy, eager, paper, planned, futurefill, gardner")
      ->delimiter(',')
      ->check(
          OneOf({"lazy", "eager", "paper", "planned", "futurefill", "gardner"}))
      ->capture_default_str();
  app->add_option("--taus", options->taus,
                  "of direct, direct-blocked, fft-library, fft-fused, hybrid")
      ->delimiter(',')
      ->check(OneOf(
          {"direct", "direct-blocked", "fft-library", "fft-fused", "hybrid"}))
      ->capture_default_str();
  app->add_option("--schedule", options->schedule, "across-layers or per-layer")
      ->check(OneOf({"across-layers", "per-layer"}))
      ->capture_default_str();
  app->add_option("--repeats", options->repeats, "runs of each case")
      ->check(WholeIn(1, UINT64_MAX))
      ->capture_default_str();
  AddJsonOption(*app, options->json_file);
  app->add_option("--svg", options->svg_file,
                  "draw cost against length into FILE")
      ->type_name("FILE");
  commands.push_back({app, [options] { return RunMixerBench(*options); }});
}

// ---- tiles

void AddTiles(App& root, Commands& commands) {
  struct Options {
    size_t max_block = 32768, repeats = 9;
    std::string json_file;
  };
  auto options = std::make_shared<Options>();
  App app = root.add_subcommand(
      "tiles", "Each way to compute a gray tile, by block size, on one thread");
  app->footer("Example:\n  lcsm bench tiles --max-block 4096");
  app->add_option("--max-block", options->max_block, "largest block size")
      ->check(WholeIn(1, UINT64_MAX))
      ->capture_default_str();
  app->add_option("--repeats", options->repeats, "sweeps; the median counts")
      ->check(WholeIn(1, UINT64_MAX))
      ->capture_default_str();
  AddJsonOption(*app, options->json_file);
  commands.push_back(
      {app, [options] {
         LetInterruptsEnd();
         const bench::NoiseWatch noise;
         const StatusOr<std::vector<bench::TileRow>> rows =
             bench::RunTiles(options->max_block, options->repeats);
         if (!rows.ok()) return Fail(rows.status());
         const auto cell = [](double ns) {
           return ns < 0 ? std::string("-") : fmt::format("{:.3f}", ns);
         };
         std::string table = fmt::format(
             "ns per token and channel of a level\n{:>8} {:>10} {:>15} {:>12} "
             "{:>10}\n",
             "block", "direct", "direct-blocked", "fft-library", "fft-fused");
         Json results = Json::array();
         for (const bench::TileRow& row : rows.value()) {
           table +=
               fmt::format("{:>8} {:>10} {:>15} {:>12} {:>10}\n", row.block,
                           cell(row.direct), cell(row.direct_blocked),
                           cell(row.fft_library), cell(row.fft_fused));
           Json entry = {{"block", row.block}};
           const std::pair<const char*, double> figures[] = {
               {"direct", row.direct},
               {"direct-blocked", row.direct_blocked},
               {"fft-library", row.fft_library},
               {"fft-fused", row.fft_fused}};
           for (const auto& [name, ns] : figures) {
             if (ns >= 0) entry[name] = ns;
           }
           results.push_back(entry);
         }
         Say("{}\n", noise.Report());
         const Json json = {{"machine", bench::MachineJson()},
                            {"results", results}};
         return Answer(TableThenFiles(table, {options->json_file, json}, {}));
       }});
}

// ---- pool

void AddPool(App& root, Commands& commands) {
  struct Options {
    size_t threads = 0, calls = 20000;
    std::string json_file;
  };
  auto options = std::make_shared<Options>();
  App app = root.add_subcommand(
      "pool", "What it costs to hand work to the other threads");
  app->footer("Example:\n  lcsm bench pool --threads 2");
  app->add_option("--threads", options->threads, "threads; 0: one a processor")
      ->check(WholeIn(0, ThreadPool::kMaxThreads));
  app->add_option("--calls", options->calls, "hand-overs timed of each kind")
      ->check(WholeIn(1, UINT64_MAX))
      ->capture_default_str();
  AddJsonOption(*app, options->json_file);
  commands.push_back(
      {app, [options] {
         LetInterruptsEnd();
         const bench::NoiseWatch noise;
         const bench::PoolResult r =
             bench::RunPool(options->threads, options->calls);
         const auto line = [](const char* what, double p50, double p99) {
           return fmt::format("{:<42} {:>9.0f} {:>9.0f}\n", what, p50, p99);
         };
         const std::string table =
             fmt::format("{} threads, ns of one hand-over{:>18} {:>9}\n",
                         r.threads, "p50", "p99") +
             line("empty chunks", r.empty_p50, r.empty_p99) +
             line("each thread takes one", r.together_p50, r.together_p99) +
             line("each thread takes one, after sleep", r.asleep_p50,
                  r.asleep_p99);
         Say("{}\n", noise.Report());
         const Json json = {
             {"machine", bench::MachineJson()},
             {"threads", r.threads},
             {"calls", options->calls},
             {"empty_ns", {{"p50", r.empty_p50}, {"p99", r.empty_p99}}},
             {"together_ns",
              {{"p50", r.together_p50}, {"p99", r.together_p99}}},
             {"asleep_ns", {{"p50", r.asleep_p50}, {"p99", r.asleep_p99}}}};
         return Answer(TableThenFiles(table, {options->json_file, json}, {}));
       }});
}

// ---- model

struct ModelOptions {
  BenchSubject subject;
  ExecutionOptions execution;
  std::string history = "auto", json_file;
  std::vector<size_t> at = {64, 1024, 4096};
  size_t steps = 256, rounds = 3;
};

int RunModelBench(const ModelOptions& options) {
  LetInterruptsEnd();
  const StatusOr<std::shared_ptr<const Model>> model =
      LoadBenchSubject(options.subject);
  if (!model.ok()) return Fail(model.status());
  const ModelInfo& info = (*model)->info();
  const std::string name = SubjectName(options.subject, **model);
  bench::ModelCase wanted;
  wanted.positions = options.at;
  wanted.steps = options.steps;
  wanted.rounds = options.rounds;
  auto prepare = ToPrepareOptions(options.execution, 0);
  if (!prepare.ok()) return Fail(prepare.status());
  wanted.plan = prepare->plan;
  wanted.memory_limit = prepare->memory_limit;
  // A prefill of more than this takes longer than the measurement; the cost of
  // a step does not depend on what the history holds.
  constexpr size_t kLongestPrefill = 4096;
  const size_t furthest =
      *std::max_element(options.at.begin(), options.at.end());
  wanted.synthetic_history =
      options.history == "synthetic" ||
      (options.history == "auto" && furthest > kLongestPrefill);
  ThreadPool pool(options.execution.threads);
  const bench::NoiseWatch noise;
  const StatusOr<bench::ModelResult> result =
      bench::RunModel(**model, wanted, pool);
  if (!result.ok()) return Fail(result.status());

  std::string table = fmt::format(
      "{}: {}, {} threads; prepared in {:.1f} s\n"
      "each step reads {} of matrices ({}), which takes {:.4f} ms by itself\n"
      "{:>9} {:>9} {:>9} {:>9} {:>9} "
      "| {:>9} {:>9} | {:>9} {:>7}\n",
      name, result->plan, pool.NumThreads(), result->prepare_seconds,
      ByteText(result->step_bytes), info.weight_format, result->floor_ms,
      "position", "mean ms", "p50", "p99", "max", "no mixers", "p50",
      "mixers ms", "share");
  Json rows = Json::array();
  for (const bench::PositionResult& row : result->positions) {
    table += fmt::format(
        "{:>9} {:>9.4f} {:>9.4f} {:>9.4f} {:>9.4f} | {:>9.4f} {:>9.4f} | "
        "{:>9.4f} {:>6.1f}%{}\n",
        row.position, row.step_ms.mean, row.step_ms.p50, row.step_ms.p99,
        row.step_ms.max, row.step_without_mixers_ms.mean,
        row.step_without_mixers_ms.p50, row.mixer_ms_amortised,
        100 * row.mixer_share,
        row.synthetic_history ? "  synthetic history" : "");
    rows.push_back(
        {{"position", row.position},
         {"history", row.synthetic_history ? "synthetic" : "prefill"},
         {"step_ms", StepJson(row.step_ms)},
         {"step_without_mixers_ms", StepJson(row.step_without_mixers_ms)},
         {"mixer_ms_amortised", row.mixer_ms_amortised},
         {"mixer_share", row.mixer_share}});
  }
  Say("{}\n", noise.Report());
  const Json json = {{"machine", bench::MachineJson()},
                     {"model", name},
                     {"plan", result->plan},
                     {"threads", pool.NumThreads()},
                     {"steps", options.steps},
                     {"rounds", options.rounds},
                     {"prepare_seconds", result->prepare_seconds},
                     {"weights", info.weight_format},
                     {"step_bytes", result->step_bytes},
                     {"floor_ms", result->floor_ms},
                     {"peak_rss_bytes", PeakRssBytes()},
                     {"results", rows}};
  return Answer(TableThenFiles(table, {options.json_file, json}, {}));
}

void AddModel(App& root, Commands& commands) {
  auto options = std::make_shared<ModelOptions>();
  App app = root.add_subcommand(
      "model", "Decode steps of a whole model at given positions");
  app->footer(
      "Examples:\n  lcsm bench model --at 64,4096\n"
      "  lcsm bench model --shape hyenadna-large-1m --at 1024,65536 --threads "
      "1");
  AddBenchSubject(*app, options->subject);
  app->add_option("--at", options->at, "positions")
      ->delimiter(',')
      ->check(WholeIn(0, UINT64_MAX))
      ->capture_default_str();
  app->add_option("--steps", options->steps,
                  "steps timed at each position and round")
      ->check(WholeIn(1, UINT64_MAX))
      ->capture_default_str();
  app->add_option("--rounds", options->rounds,
                  "rounds with and without mixers in turn")
      ->check(WholeIn(1, UINT64_MAX))
      ->capture_default_str();
  app->add_option("--history", options->history,
                  "prefill random tokens up to a position, or make its history "
                  "up (synthetic)")
      ->check(OneOf({"auto", "prefill", "synthetic"}))
      ->capture_default_str();
  AddExecutionOptions(*app, options->execution);
  AddJsonOption(*app, options->json_file);
  AddCommand(
      commands, app, [options] { return CheckExecution(options->execution); },
      [options] { return RunModelBench(*options); });
}

}  // namespace

void AddBench(App& root, Commands& commands) {
  App app =
      root.add_subcommand("bench",
                          "Measure: mixer, model, latency, prefill, tiles, "
                          "pool, paper, relaxed, plans, contract, mixers, "
                          "bytes, links");
  app->require_subcommand();
  app->footer("Run 'lcsm bench mixer --help' and so on for examples.");
  AddMixer(*app, commands);
  AddTiles(*app, commands);
  AddModel(*app, commands);
  AddLatencyBench(*app, commands);
  AddBenchPrefill(*app, commands);
  AddBenchBatch(*app, commands);
  AddPool(*app, commands);
  AddBenchPaper(*app, commands);
  AddBenchRelaxed(*app, commands);
  AddBenchPlans(*app, commands);
  AddBenchContract(*app, commands);
  AddBenchMixers(*app, commands);
  AddBenchBytes(*app, commands);
  AddBenchLinks(*app, commands);
}

}  // namespace lcsm::cli
