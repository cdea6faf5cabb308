// lcsm bench relaxed: filters revealed online, against known ones.
#include "bench_relaxed.h"

#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/cpu_info.h"
#include "base/thread_pool.h"
#include "bench/machine.h"
#include "bench/relaxed_bench.h"
#include "bench/svg_plot.h"
#include "bench_output.h"
#include "interrupt.h"
#include "model_options.h"
#include "progress.h"
#include "terminal.h"

namespace lcsm::cli {
namespace {

struct Options {
  size_t channels = 256, batch = 1, mixers = 1, threads = 1, repeats = 5;
  std::vector<size_t> lengths = {4096, 16384, 65536};
  std::string method = "planned", tau = "hybrid", json_file, svg_file;
  bool no_lazy = false, quiet = false;
};

struct Row {
  size_t length = 0;
  bench::RelaxedResult result;
};

std::string Table(const std::vector<Row>& rows) {
  std::string table = fmt::format(
      "ns per token and channel, medians\n"
      "{:>8} {:>9} {:>18} {:>9} {:>7} {:>10} {:>8} {:>9} {:>9}\n",
      "length", "relaxed", "min .. max", "known", "ratio", "lazy", "faster",
      "error", "MiB");
  for (const Row& row : rows) {
    const bench::RelaxedResult& r = row.result;
    const bool lazy = r.lazy.median > 0;
    table += fmt::format(
        "{:>8} {:>9.2f} {:>18} {:>9.2f} {:>7.2f} {:>10} {:>8} {:>9.1e} "
        "{:>9.1f}{}\n",
        row.length, r.relaxed.median,
        fmt::format("{:.2f} .. {:.2f}", r.relaxed.min, r.relaxed.max),
        r.known.median, r.ratio.median,
        lazy ? fmt::format("{:.1f}", r.lazy.median) : "-",
        lazy ? fmt::format("{:.1f}", r.lazy.median / r.relaxed.median) : "-",
        r.max_relative_error, static_cast<double>(r.relaxed_bytes) / 0x1p20,
        r.lazy_sampled ? "  lazy sampled" : "");
  }
  return table;
}

Json ToJson(const Options& options, const std::vector<Row>& rows) {
  Json results = Json::array();
  for (const Row& row : rows) {
    const bench::RelaxedResult& r = row.result;
    Json one = {{"method", options.method},
                {"channels", options.channels},
                {"batch", options.batch},
                {"mixers", options.mixers},
                {"length", row.length},
                {"threads", options.threads},
                {"repeats", options.repeats},
                {"relaxed_ns_per_token_channel", SpreadJson(r.relaxed)},
                {"known_ns_per_token_channel", SpreadJson(r.known)},
                {"relaxed_to_known", SpreadJson(r.ratio)},
                {"max_relative_error", r.max_relative_error},
                {"checked_length", row.length},
                {"relaxed_bytes", r.relaxed_bytes},
                {"known_bytes", r.known_bytes},
                {"plan", r.plan},
                {"known_plan", r.known_plan}};
    if (r.lazy.median > 0) {
      one["lazy_ns_per_token_channel"] = SpreadJson(r.lazy);
      one["lazy_to_relaxed"] = r.lazy.median / r.relaxed.median;
      one["lazy_sampled"] = r.lazy_sampled;
      one["lazy_max_relative_error"] = r.lazy_max_relative_error;
      one["lazy_checked_length"] = r.lazy_checked_length;
    }
    results.push_back(std::move(one));
  }
  return {{"machine", bench::MachineJson()}, {"results", results}};
}

std::string Svg(const Options& options, const std::vector<Row>& rows) {
  bench::Chart chart;
  chart.title = fmt::format(
      "One token in one channel with a filter revealed online, C = {}",
      options.channels);
  chart.x_label = "sequence length L (tokens)";
  chart.y_label = "ns per token and channel";
  chart.note = fmt::format(
      "{}, {}, {} thread(s), lcsm bench relaxed; medians of {}; dashed grey "
      "grows as log2(L) squared",
      GetCpuInfo().model, SimdTarget(), options.threads, options.repeats);
  bench::Series relaxed = {"relaxed", {}, {}, false, 1};
  bench::Series known = {"filter known", {}, {}, false, 2};
  bench::Series guide = {"log\u00b2 L", {}, {}, true, 7};
  bench::Series lazy = {"lazy", {}, {}, false, 0};
  const double first = std::log2(2 * static_cast<double>(rows.front().length));
  for (const Row& row : rows) {
    const double x = static_cast<double>(row.length);
    const double growth = std::log2(2 * x) / first;
    relaxed.x.push_back(x);
    relaxed.y.push_back(row.result.relaxed.median);
    known.x.push_back(x);
    known.y.push_back(row.result.known.median);
    guide.x.push_back(x);
    guide.y.push_back(relaxed.y.front() * growth * growth);
    if (row.result.lazy.median <= 0) continue;
    lazy.x.push_back(x);
    lazy.y.push_back(row.result.lazy.median);
  }
  chart.series = {relaxed, known};
  if (rows.size() > 1) chart.series.push_back(guide);
  if (!lazy.x.empty()) chart.series.push_back(lazy);
  return bench::LogLogSvg(chart);
}

Status Run(const Options& options) {
  const bench::NoiseWatch noise;
  conv::PlanOptions plan;
  plan.method = *conv::MethodFromName(options.method);
  plan.tau = *conv::TauFromName(options.tau);
  plan.threads = options.threads;
  plan.tuning = LoadTuning();
  std::vector<Row> rows;
  double widest = 0;
  for (const size_t length : options.lengths) {
    bench::RelaxedCase wanted;
    wanted.problem = {options.mixers, options.channels, options.batch, length,
                      length};
    wanted.options = plan;
    wanted.threads = options.threads;
    wanted.repeats = options.repeats;
    wanted.lazy = !options.no_lazy;
    Progress bar(fmt::format("{} positions", length), options.quiet);
    LCSM_ASSIGN_OR_RETURN(const bench::RelaxedResult result,
                          bench::RunRelaxed(wanted, [&bar](double done) {
                            bar.Update(done);
                            return !Interrupted();
                          }));
    bar.Finish();
    widest =
        std::max({widest, result.relaxed.Relative(), result.known.Relative()});
    rows.push_back({length, result});
  }
  if (!options.quiet) {
    Say("widest (max - min) / median: {:.2f}; {}\n", widest, noise.Report());
  }
  Pictures pictures;
  if (!options.svg_file.empty()) {
    pictures.emplace_back(options.svg_file, Svg(options, rows));
  }
  return TableThenFiles(Table(rows), {options.json_file, ToJson(options, rows)},
                        pictures);
}

}  // namespace

void AddBenchRelaxed(App& bench, Commands& commands) {
  auto options = std::make_shared<Options>();
  App app = bench.add_subcommand(
      "relaxed", "Filters revealed online, against known ones and lazy sums");
  app->footer(
      "Example:\n"
      "  lcsm bench relaxed --channels 256 --lengths 4096,16384,65536 \\\n"
      "    --json relaxed.json --svg relaxed.svg");
  app->add_option("--channels", options->channels, "channels of one mixer")
      ->check(WholeIn(1, 1 << 20))
      ->capture_default_str();
  app->add_option("--batch", options->batch,
                  "rows, each with filters of its own in the relaxed case")
      ->check(WholeIn(1, 1 << 20))
      ->capture_default_str();
  app->add_option("--mixers", options->mixers,
                  "convolutions that advance together (layers)")
      ->check(WholeIn(1, 1 << 20))
      ->capture_default_str();
  app->add_option("--lengths", options->lengths, "sequence lengths")
      ->delimiter(',')
      ->check(WholeIn(1, conv::kLongestRelaxed))
      ->capture_default_str();
  app->add_option("--method", options->method,
                  "planned, or paper: binary tilings, of both kinds of filters")
      ->check(OneOf({"planned", "paper"}))
      ->capture_default_str();
  app->add_option("--tau", options->tau,
                  "for paper: direct, direct-blocked, fft-fused, hybrid")
      ->check(OneOf({"direct", "direct-blocked", "fft-fused", "hybrid"}))
      ->capture_default_str();
  app->add_option("--threads", options->threads, "threads")
      ->check(WholeIn(1, ThreadPool::kMaxThreads))
      ->capture_default_str();
  app->add_option("--repeats", options->repeats, "runs of each case, in turns")
      ->check(WholeIn(1, 1000))
      ->capture_default_str();
  app->add_flag("--no-lazy", options->no_lazy, "leave lazy sums out");
  app->add_flag("--quiet", options->quiet, "no notes and no progress");
  AddJsonOption(*app, options->json_file);
  app->add_option("--svg", options->svg_file,
                  "draw cost against length into FILE")
      ->type_name("FILE");
  AddCommand(
      commands, app,
      [options]() -> std::string {
        return options->method != "paper" && options->tau != "hybrid"
                   ? "--tau is for --method paper: the planner chooses its own"
                   : "";
      },
      [options] { return Answer(Run(*options)); });
}

}  // namespace lcsm::cli
