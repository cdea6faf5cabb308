// lcsm bench links: what it costs that blocks read each other.
#include "bench_links.h"

#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "bench/links_bench.h"
#include "bench/svg_plot.h"
#include "bench_study.h"
#include "conv/relaxed_plan.h"
#include "model_options.h"

namespace lcsm::cli {
namespace {

struct Options {
  StudyOptions study;
  std::vector<std::string> links = {"output", "past", "ahead"};
  size_t layers = 8, width = 256, length = 16384;
  std::string svg_file;
};

std::string Table(const std::vector<bench::LinksRow>& rows) {
  std::vector<std::vector<std::string>> cells = {
      {"link", "links", "in order", "executors", "known tokens", "step ms",
       "of that mixing", "known token ms", "error"}};
  for (const bench::LinksRow& row : rows) {
    cells.push_back(
        {Name(row.link), std::to_string(row.links),
         std::to_string(row.in_order), std::to_string(row.executors),
         row.known_by_blocks ? "by blocks" : "one by one",
         SpreadText(row.step_ms), SpreadText(row.mixing_ms),
         SpreadText(row.known_ms), fmt::format("{:.1e}", row.difference)});
  }
  return TableText(cells);
}

Json ToJson(const Options& options, const std::vector<bench::LinksRow>& rows) {
  Json results = Json::array();
  for (const bench::LinksRow& row : rows) {
    results.push_back({{"link", Name(row.link)},
                       {"links", row.links},
                       {"in_order", row.in_order},
                       {"executors", row.executors},
                       {"known_by_blocks", row.known_by_blocks},
                       {"step_ms", SpreadJson(row.step_ms)},
                       {"mixing_ms", SpreadJson(row.mixing_ms)},
                       {"known_token_ms", SpreadJson(row.known_ms)},
                       {"difference", row.difference},
                       {"plan", row.plan}});
  }
  return {{"layers", options.layers},
          {"width", options.width},
          {"length", options.length},
          {"results", results}};
}

// Links from 1 on: the axis is logarithmic. None at all is a line of its own.
std::string Svg(const Options& options,
                const std::vector<bench::LinksRow>& rows) {
  bench::Chart chart;
  chart.title =
      fmt::format("Blocks that read each other, {} of width {}, L = {}",
                  options.layers, options.width, options.length);
  chart.x_label = "links";
  chart.y_label = "ms";
  chart.note = PictureNote(options.study, "lcsm bench links");
  int colour = 1;
  for (const std::string& name : options.links) {
    bench::Series step = {name + ": step", {}, {}, false, colour};
    bench::Series known = {name + ": known token", {}, {}, true, colour};
    ++colour;
    for (const bench::LinksRow& row : rows) {
      if (name != Name(row.link) || row.links == 0) continue;
      step.x.push_back(static_cast<double>(row.links));
      known.x.push_back(static_cast<double>(row.links));
      step.y.push_back(row.step_ms.median);
      known.y.push_back(row.known_ms.median);
    }
    if (step.x.empty()) continue;
    chart.series.push_back(step);
    chart.series.push_back(known);
  }
  const double last = static_cast<double>(options.layers - 1);
  const bench::LinksRow& none = rows.front();
  chart.series.push_back({"none: step",
                          {1, last},
                          {none.step_ms.median, none.step_ms.median},
                          false,
                          0});
  chart.series.push_back({"none: known token",
                          {1, last},
                          {none.known_ms.median, none.known_ms.median},
                          true,
                          0});
  return bench::LogLogSvg(chart);
}

Status Run(const Options& options) {
  const bench::NoiseWatch noise;
  bench::LinksCase wanted;
  for (const std::string& name : options.links) {
    wanted.links.push_back(*bench::StudyLinkFromName(name));
  }
  wanted.layers = options.layers;
  wanted.width = options.width;
  wanted.length = options.length;
  wanted.threads = options.study.threads;
  wanted.repeats = options.study.repeats;
  wanted.plan = StudyPlan(options.study);
  Progress bar("links", options.study.quiet);
  LCSM_ASSIGN_OR_RETURN(const std::vector<bench::LinksRow> rows,
                        bench::RunLinks(wanted, WithProgress(bar)));
  bar.Finish();
  return FinishStudy(options.study, noise, Table(rows), ToJson(options, rows),
                     {{options.svg_file, Svg(options, rows)}});
}

}  // namespace

void AddBenchLinks(App& bench, Commands& commands) {
  auto options = std::make_shared<Options>();
  App app = bench.add_subcommand(
      "links", "Blocks that read each other, from no links to all");
  app->footer(
      "Example:\n"
      "  lcsm bench links --layers 8 --length 16384 --threads 2 \\\n"
      "    --json links.json --svg links.svg");
  app->add_option("--links", options->links,
                  "of output (of block 0, same position), past (of the block "
                  "behind), ahead (of the convolution before)")
      ->delimiter(',')
      ->check(OneOf({"output", "past", "ahead"}))
      ->capture_default_str();
  app->add_option("--layers", options->layers, "blocks of each stack")
      ->check(WholeIn(2, 512))
      ->capture_default_str();
  app->add_option("--width", options->width, "channels of each stack")
      ->check(WholeIn(1, 1 << 14))
      ->capture_default_str();
  app->add_option("--length", options->length, "length of the session")
      ->check(WholeIn(4, conv::kLongestRelaxed))
      ->capture_default_str();
  AddStudyOptions(app, options->study);
  app->add_option("--svg", options->svg_file, "draw times into FILE")
      ->type_name("FILE");
  AddCommand(
      commands, app, [] { return std::string(); },
      [options] { return Answer(Run(*options)); });
}

}  // namespace lcsm::cli
