// lcsm bench bytes: bytes moved, counted from plans, against the time they
// take.
#include "bench_bytes.h"

#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "bench/bytes_bench.h"
#include "bench/svg_plot.h"
#include "bench_study.h"
#include "model_options.h"

namespace lcsm::cli {
namespace {

struct Options {
  StudyOptions study;
  std::vector<std::string> methods = {"lazy", "eager", "paper", "planned"};
  std::vector<size_t> batches = {1, 16};
  std::vector<size_t> lengths = {1024, 4096, 16384, 65536};
  size_t channels = 64, mixers = 1;
  bool count_only = false;
  size_t passes = 0;
  std::string svg_file, share_svg_file;
};

std::string Table(const Options& options,
                  const std::vector<bench::BytesRow>& rows) {
  const bool timed = !options.count_only;
  std::vector<std::vector<std::string>> cells = {
      {"method", "batch", "length", "bytes", "inputs", "blocks", "filters",
       "outputs", "rows apart", "weights", "set MiB"}};
  if (timed) {
    cells[0].insert(cells[0].end(),
                    {"GB/s read", "least ns", "ns", "share", "error", ""});
  }
  const auto bytes = [](double n) { return fmt::format("{:.1f}", n); };
  for (const bench::BytesRow& row : rows) {
    std::vector<std::string> line = {
        Name(row.method),
        std::to_string(row.batch),
        std::to_string(row.length),
        bytes(row.moved.Total()),
        bytes(row.moved.inputs),
        bytes(row.moved.blocks),
        bytes(row.moved.filters),
        bytes(row.moved.outputs),
        bytes(row.apart),
        bytes(row.weights),
        fmt::format("{:.1f}", static_cast<double>(row.working_set) / 0x1p20)};
    if (timed) {
      line.insert(
          line.end(),
          {fmt::format("{:.1f}", row.read_speed),
           fmt::format("{:.2f}", row.least_ns), SpreadText(row.ns),
           fmt::format("{:.2f}", row.Share()), fmt::format("{:.1e}", row.error),
           row.sampled ? "sampled" : ""});
    }
    cells.push_back(std::move(line));
  }
  return "All a token and channel\n" + TableText(cells);
}

Json ToJson(const Options& options, const std::vector<bench::BytesRow>& rows) {
  Json results = Json::array();
  for (const bench::BytesRow& row : rows) {
    Json one = {{"method", Name(row.method)},
                {"batch", row.batch},
                {"length", row.length},
                {"bytes", row.moved.Total()},
                {"input_bytes", row.moved.inputs},
                {"block_bytes", row.moved.blocks},
                {"filter_bytes", row.moved.filters},
                {"output_bytes", row.moved.outputs},
                {"bytes_rows_apart", row.apart},
                {"weight_bytes", row.weights},
                {"working_set_bytes", row.working_set},
                {"plan", row.plan}};
    if (!options.count_only) {
      one["ns_per_token_channel"] = SpreadJson(row.ns);
      one["sampled"] = row.sampled;
      one["max_relative_error"] = row.error;
      one["read_gb_per_s"] = row.read_speed;
      one["least_ns"] = row.least_ns;
      one["share"] = row.Share();
    }
    results.push_back(std::move(one));
  }
  return {{"channels", options.channels},
          {"mixers", options.mixers},
          {"results", results}};
}

// A line for each method and batch: full for the first batch, dashed for the
// others.
template <typename Value>
std::string Svg(const Options& options,
                const std::vector<bench::BytesRow>& rows,
                const std::string& title, const std::string& y_label,
                bool weights, Value&& value) {
  bench::Chart chart;
  chart.title = title;
  chart.x_label = "sequence length L (tokens)";
  chart.y_label = y_label;
  chart.note = PictureNote(options.study, "lcsm bench bytes");
  for (const bench::BytesRow& row : rows) {
    const std::string label =
        fmt::format("{}, B = {}", Name(row.method), row.batch);
    if (chart.series.empty() || chart.series.back().label != label) {
      chart.series.push_back({label,
                              {},
                              {},
                              row.batch != options.batches.front(),
                              static_cast<int>(row.method)});
    }
    chart.series.back().x.push_back(static_cast<double>(row.length));
    chart.series.back().y.push_back(value(row));
  }
  if (weights) {
    bench::Series line = {
        fmt::format("weights, B = {}", rows.front().batch), {}, {}, true, 7};
    for (const size_t length : options.lengths) {
      line.x.push_back(static_cast<double>(length));
      line.y.push_back(rows.front().weights);
    }
    chart.series.push_back(line);
  }
  return bench::LogLogSvg(chart);
}

Status Run(const Options& options) {
  const bench::NoiseWatch noise;
  bench::BytesCase wanted;
  for (const std::string& name : options.methods) {
    wanted.methods.push_back(*conv::MethodFromName(name));
  }
  wanted.batches = options.batches;
  wanted.lengths = options.lengths;
  wanted.channels = options.channels;
  wanted.mixers = options.mixers;
  wanted.threads = options.study.threads;
  wanted.repeats = options.study.repeats;
  wanted.plan = StudyPlan(options.study);
  wanted.timed = !options.count_only;
  wanted.passes = options.passes;
  Progress bar("bytes", options.study.quiet);
  LCSM_ASSIGN_OR_RETURN(const std::vector<bench::BytesRow> rows,
                        bench::RunBytes(wanted, WithProgress(bar)));
  bar.Finish();
  Pictures pictures;
  pictures.emplace_back(
      options.svg_file,
      Svg(options, rows,
          fmt::format("Bytes moved for a token in one of {} channels",
                      options.channels),
          "bytes", true,
          [](const bench::BytesRow& row) { return row.moved.Total(); }));
  if (!options.share_svg_file.empty()) {
    pictures.emplace_back(
        options.share_svg_file,
        Svg(options, rows, "Time that memory alone would take, of the time",
            "share", false,
            [](const bench::BytesRow& row) { return row.Share(); }));
  }
  return FinishStudy(options.study, noise, Table(options, rows),
                     ToJson(options, rows), pictures);
}

}  // namespace

void AddBenchBytes(App& bench, Commands& commands) {
  auto options = std::make_shared<Options>();
  App app = bench.add_subcommand(
      "bytes", "Bytes moved by convolutions, and whether memory binds");
  app->footer(
      "Example:\n"
      "  lcsm bench bytes --batches 1,16 --lengths 1024,16384,65536 \\\n"
      "    --json bytes.json --svg bytes.svg --share-svg share.svg");
  app->add_option("--methods", options->methods,
                  "of lazy, eager, paper, planned")
      ->delimiter(',')
      ->check(OneOf({"lazy", "eager", "paper", "planned"}))
      ->capture_default_str();
  app->add_option("--batches", options->batches, "rows that share the filters")
      ->delimiter(',')
      ->check(WholeIn(1, 1 << 16))
      ->capture_default_str();
  app->add_option("--lengths", options->lengths, "sequence lengths")
      ->delimiter(',')
      ->check(WholeIn(2, 1 << 26))
      ->capture_default_str();
  app->add_option("--channels", options->channels, "channels of one mixer")
      ->check(WholeIn(1, 1 << 20))
      ->capture_default_str();
  app->add_option("--mixers", options->mixers,
                  "convolutions that advance together (layers)")
      ->check(WholeIn(1, 1 << 20))
      ->capture_default_str();
  app->add_flag("--count-only", options->count_only,
                "count bytes, and time nothing");
  app->add_option("--passes", options->passes,
                  "with --count-only: run each case N times from beginning to "
                  "end, for a simulated cache to watch (bench/count_bytes.py)")
      ->needs(app->get_option("--count-only"))
      ->type_name("N")
      ->check(WholeIn(0, 1 << 20))
      ->capture_default_str();
  AddStudyOptions(app, options->study);
  app->add_option("--svg", options->svg_file, "draw bytes into FILE")
      ->type_name("FILE");
  app->add_option("--share-svg", options->share_svg_file,
                  "draw the share of memory in the time into FILE")
      ->type_name("FILE");
  AddCommand(
      commands, app,
      [options]() -> std::string {
        return options->count_only && !options->share_svg_file.empty()
                   ? "--share-svg draws times, which --count-only leaves out"
                   : "";
      },
      [options] { return Answer(Run(*options)); });
}

}  // namespace lcsm::cli
