// lcsm bench mixers: kinds of mixers side by side, against position.
#include "bench_mixers.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/mixers_bench.h"
#include "bench/svg_plot.h"
#include "bench_study.h"
#include "conv/relaxed_plan.h"
#include "model_options.h"

namespace lcsm::cli {
namespace {

struct Options {
  StudyOptions study;
  std::vector<std::string> mixers = {"hyena", "hyena-relaxed",    "stu",
                                     "mamba", "linear-attention", "attention"};
  std::vector<size_t> lengths = {256, 1024, 4096, 16384, 65536, 131072};
  std::vector<size_t> modes = {16, 32, 64, 128, 256};
  size_t layers = 4, width = 256;
  bool no_states = false;
  std::string svg_file, memory_svg_file, states_svg_file;
};

std::string MiB(size_t bytes) {
  return fmt::format("{:.2f}", static_cast<double>(bytes) / 0x1p20);
}

std::string Table(const std::vector<bench::MixersRow>& rows) {
  std::vector<std::vector<std::string>> cells = {
      {"mixer", "length", "step ms", "of that mixing", "history MiB",
       "shared MiB", "error", ""}};
  for (const bench::MixersRow& row : rows) {
    cells.push_back({Name(row.mixer), std::to_string(row.length),
                     SpreadText(row.step_ms), SpreadText(row.mixing_ms),
                     MiB(row.history_bytes), MiB(row.shared_bytes),
                     fmt::format("{:.1e}", row.difference),
                     row.sampled ? "sampled" : ""});
  }
  return TableText(cells);
}

std::string CrossingText(const bench::Crossing& crossing) {
  return fmt::format("{}{:.0f}", crossing.between ? "" : "~", crossing.modes);
}

std::string StatesTable(const bench::StatesResult& result) {
  std::vector<std::vector<std::string>> cells = {
      {"modes", "real, ns/token/ch", "complex, ns/token/ch"}};
  for (const bench::StatesRow& row : result.states) {
    cells.push_back({std::to_string(row.modes), SpreadText(row.real_ns),
                     SpreadText(row.complex_ns)});
  }
  std::string text = "\nDiagonal state spaces by recurrence\n";
  text += TableText(cells);
  cells = {{"length", "convolution, ns/token/ch", "as many real modes",
            "complex modes"}};
  for (const bench::CrossoverRow& row : result.crossover) {
    cells.push_back({std::to_string(row.length), SpreadText(row.convolution_ns),
                     CrossingText(row.real), CrossingText(row.complex)});
  }
  text += "\nLong convolutions, and the modes that cost as much\n";
  return text + TableText(cells);
}

Json ToJson(const Options& options, const std::vector<bench::MixersRow>& rows,
            const bench::StatesResult& states) {
  Json results = Json::array();
  for (const bench::MixersRow& row : rows) {
    results.push_back({{"mixer", Name(row.mixer)},
                       {"length", row.length},
                       {"step_ms", SpreadJson(row.step_ms)},
                       {"mixing_ms", SpreadJson(row.mixing_ms)},
                       {"sampled", row.sampled},
                       {"history_bytes", row.history_bytes},
                       {"shared_bytes", row.shared_bytes},
                       {"difference", row.difference},
                       {"plan", row.plan}});
  }
  Json modes = Json::array();
  for (const bench::StatesRow& row : states.states) {
    modes.push_back({{"modes", row.modes},
                     {"real_ns", SpreadJson(row.real_ns)},
                     {"complex_ns", SpreadJson(row.complex_ns)}});
  }
  Json crossover = Json::array();
  for (const bench::CrossoverRow& row : states.crossover) {
    crossover.push_back({{"length", row.length},
                         {"convolution_ns", SpreadJson(row.convolution_ns)},
                         {"real_modes", row.real.modes},
                         {"real_between", row.real.between},
                         {"complex_modes", row.complex.modes},
                         {"complex_between", row.complex.between},
                         {"plan", row.plan}});
  }
  return {{"layers", options.layers},
          {"width", options.width},
          {"results", results},
          {"states", modes},
          {"states_difference", states.difference},
          {"crossover", crossover}};
}

// A line for each kind of mixer.
template <typename Value>
std::string MixersSvg(const Options& options,
                      const std::vector<bench::MixersRow>& rows,
                      const std::string& title, const std::string& y_label,
                      Value&& value) {
  bench::Chart chart;
  chart.title = title;
  chart.x_label = "session length (tokens)";
  chart.y_label = y_label;
  chart.note = PictureNote(options.study, "lcsm bench mixers");
  for (const bench::MixersRow& row : rows) {
    const std::string label = Name(row.mixer);
    if (chart.series.empty() || chart.series.back().label != label) {
      chart.series.push_back(
          {label, {}, {}, false, static_cast<int>(row.mixer)});
    }
    chart.series.back().x.push_back(static_cast<double>(row.length));
    chart.series.back().y.push_back(value(row));
  }
  return bench::LogLogSvg(chart);
}

std::string StatesSvg(const Options& options,
                      const bench::StatesResult& result) {
  bench::Chart chart;
  chart.title = "A long convolution and diagonal state spaces";
  chart.x_label = "session length (tokens)";
  chart.y_label = "ns per token and channel";
  chart.note = PictureNote(options.study, "lcsm bench mixers");
  bench::Series tiled = {"convolution", {}, {}, false, 0};
  for (const bench::CrossoverRow& row : result.crossover) {
    tiled.x.push_back(static_cast<double>(row.length));
    tiled.y.push_back(row.convolution_ns.median);
  }
  // Recurrences cost the same at any position.
  const std::vector<double> ends = {tiled.x.front(), tiled.x.back()};
  chart.series.push_back(tiled);
  for (const bench::StatesRow& row : result.states) {
    for (const bool real : {true, false}) {
      const double ns = (real ? row.real_ns : row.complex_ns).median;
      chart.series.push_back(
          {fmt::format("{} {} modes", row.modes, real ? "real" : "complex"),
           ends,
           {ns, ns},
           !real,
           real ? 2 : 1});
    }
  }
  return bench::LogLogSvg(chart);
}

Status Run(const Options& options) {
  const bench::NoiseWatch noise;
  bench::MixersCase wanted;
  for (const std::string& name : options.mixers) {
    wanted.mixers.push_back(*bench::StudyMixerFromName(name));
  }
  wanted.lengths = options.lengths;
  wanted.layers = options.layers;
  wanted.width = options.width;
  wanted.threads = options.study.threads;
  wanted.repeats = options.study.repeats;
  wanted.plan = StudyPlan(options.study);
  Progress bar("mixers", options.study.quiet);
  LCSM_ASSIGN_OR_RETURN(const std::vector<bench::MixersRow> rows,
                        bench::RunMixers(wanted, WithProgress(bar)));
  bar.Finish();
  std::string table = Table(rows);
  bench::StatesResult states;
  if (!options.no_states) {
    bench::StatesCase other;
    other.lengths = options.lengths;
    other.modes = options.modes;
    other.layers = options.layers;
    other.width = options.width;
    other.threads = options.study.threads;
    other.repeats = options.study.repeats;
    other.plan = wanted.plan;
    Progress next("states", options.study.quiet);
    LCSM_ASSIGN_OR_RETURN(states, bench::RunStates(other, WithProgress(next)));
    next.Finish();
    table += StatesTable(states);
  }
  Pictures pictures;
  const std::string shape =
      fmt::format("{} blocks of width {}", options.layers, options.width);
  pictures.emplace_back(
      options.svg_file,
      MixersSvg(
          options, rows, "A step of " + shape, "ms per step",
          [](const bench::MixersRow& row) { return row.step_ms.median; }));
  pictures.emplace_back(
      options.memory_svg_file,
      MixersSvg(options, rows, "The history of " + shape, "MiB",
                [](const bench::MixersRow& row) {
                  return static_cast<double>(row.history_bytes) / 0x1p20;
                }));
  if (!options.states_svg_file.empty()) {
    pictures.emplace_back(options.states_svg_file, StatesSvg(options, states));
  }
  return FinishStudy(options.study, noise, table, ToJson(options, rows, states),
                     pictures);
}

std::string CheckOptions(const Options& options) {
  if (options.no_states && !options.states_svg_file.empty()) {
    return "--states-svg draws what --no-states leaves out";
  }
  if (options.modes.size() < 2 ||
      std::adjacent_find(options.modes.begin(), options.modes.end(),
                         std::greater_equal<>()) != options.modes.end()) {
    return "--modes wants two numbers or more, each larger than the one before";
  }
  return "";
}

}  // namespace

void AddBenchMixers(App& bench, Commands& commands) {
  auto options = std::make_shared<Options>();
  App app = bench.add_subcommand(
      "mixers", "Hyena, STU, Mamba and attention side by side, by position");
  app->footer(
      "Example:\n"
      "  lcsm bench mixers --layers 4 --width 256 --lengths 256,4096,65536 \\\n"
      "    --json mixers.json --svg step.svg --memory-svg memory.svg");
  app->add_option("--mixers", options->mixers,
                  "of hyena, hyena-relaxed, stu, mamba, linear-attention, "
                  "attention")
      ->delimiter(',')
      ->check(OneOf({"hyena", "hyena-relaxed", "stu", "mamba",
                     "linear-attention", "attention"}))
      ->capture_default_str();
  app->add_option("--lengths", options->lengths, "lengths of sessions")
      ->delimiter(',')
      ->check(WholeIn(2, conv::kLongestRelaxed))
      ->capture_default_str();
  app->add_option("--layers", options->layers, "blocks of each stack")
      ->check(WholeIn(1, 512))
      ->capture_default_str();
  app->add_option("--width", options->width, "channels of each stack")
      ->check(WholeIn(1, 1 << 14))
      ->capture_default_str();
  app->add_option("--modes", options->modes,
                  "of the diagonal state spaces that convolutions are held to")
      ->delimiter(',')
      ->check(WholeIn(1, 1 << 14))
      ->capture_default_str();
  app->add_flag("--no-states", options->no_states,
                "leave the diagonal state spaces out");
  AddStudyOptions(app, options->study);
  app->add_option("--svg", options->svg_file, "draw step times into FILE")
      ->type_name("FILE");
  app->add_option("--memory-svg", options->memory_svg_file,
                  "draw bytes of histories into FILE")
      ->type_name("FILE");
  app->add_option("--states-svg", options->states_svg_file,
                  "draw convolutions and state spaces into FILE")
      ->type_name("FILE");
  AddCommand(
      commands, app, [options] { return CheckOptions(*options); },
      [options] { return Answer(Run(*options)); });
}

}  // namespace lcsm::cli
