#include "bench_paper.h"

#include <fmt/format.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/paper_bench.h"
#include "bench/paper_report.h"
#include "bench/timing.h"
#include "bench_output.h"
#include "interrupt.h"
#include "model_options.h"
#include "terminal.h"

namespace lcsm::cli {
namespace {

struct PaperOptions {
  bench::PaperCase wanted;
  std::string setting = "synthetic";
  std::vector<std::string> methods, taus = {"hybrid"};
  std::vector<std::string> schedules = {"across-layers", "per-layer"};
  bool schedules_given = false;
  std::string json_file, svg_prefix;
};

// The largest block that the picture of single taus goes to.
constexpr size_t kTauBlock = 16384;
constexpr size_t kQuickTauBlock = 256;

// The paper's methods, and whatever else this build knows by these names.
std::vector<std::string> KnownMethods() {
  std::vector<std::string> names;
  for (const char* name :
       {"lazy", "eager", "paper", "planned", "futurefill", "gardner"}) {
    if (conv::MethodFromName(name)) names.emplace_back(name);
  }
  return names;
}

std::vector<std::string> DefaultMethods() {
  std::vector<std::string> names = {"lazy", "eager", "paper"};
  if (conv::MethodFromName("planned")) names.emplace_back("planned");
  return names;
}

std::vector<conv::PlanOptions> Methods(const PaperOptions& options) {
  std::vector<conv::PlanOptions> methods;
  for (const std::string& name : options.methods) {
    const conv::Method method = *conv::MethodFromName(name);
    for (const std::string& schedule : options.schedules) {
      // Tilings without work across layers are measured when asked for.
      if (!bench::IsBaseline(method) && !options.schedules_given &&
          schedule == "per-layer") {
        continue;
      }
      const bool taus = method == conv::Method::kPaper;
      for (const std::string& tau :
           taus ? options.taus : std::vector<std::string>{"hybrid"}) {
        conv::PlanOptions plan;
        plan.method = method;
        plan.tau = *conv::TauFromName(tau);
        plan.schedule = *conv::ScheduleFromName(schedule);
        methods.push_back(plan);
      }
    }
  }
  return methods;
}

int RunPaperBench(const PaperOptions& options) {
  LetInterruptsEnd();
  bench::PaperCase wanted = options.wanted;
  wanted.methods = Methods(options);
  wanted.setting = options.setting == "hyena" ? bench::PaperSetting::kHyena
                                              : bench::PaperSetting::kSynthetic;
  if (wanted.lengths.empty()) {
    wanted.lengths = wanted.quick
                         ? std::vector<size_t>{1024, 4096}
                         : std::vector<size_t>{2048, 8192, 32768, 131072};
  }
  const bench::NoiseWatch noise;
  const StatusOr<bench::PaperResult> result = bench::RunPaper(
      wanted, [](const std::string& text) { Say("{}\n", text); });
  if (!result.ok()) return Fail(result.status());
  std::vector<bench::TileRow> tiles;
  if (!options.svg_prefix.empty()) {
    Say("each tau alone\n");
    StatusOr<std::vector<bench::TileRow>> rows = bench::RunTiles(
        wanted.quick ? kQuickTauBlock : kTauBlock, wanted.quick ? 1 : 3);
    if (!rows.ok()) return Fail(rows.status());
    tiles = std::move(*rows);
  }
  Say("{}\n", noise.Report());

  Pictures pictures;
  if (!options.svg_prefix.empty()) {
    for (auto& [name, svg] : bench::PaperPictures(wanted, *result, tiles)) {
      pictures.emplace_back(fmt::format("{}-{}.svg", options.svg_prefix, name),
                            std::move(svg));
    }
  }
  return Answer(TableThenFiles(
      bench::PaperTable(wanted, *result),
      {options.json_file, bench::PaperJson(wanted, *result, tiles)}, pictures));
}

}  // namespace

void AddBenchPaper(App& bench, Commands& commands) {
  auto options = std::make_shared<PaperOptions>();
  options->methods = DefaultMethods();
  bench::PaperCase& wanted = options->wanted;
  App app = bench.add_subcommand(
      "paper", "The experiments of Flash Inference, on this machine");
  app->footer(
      "Examples:\n"
      "  lcsm bench paper --quick --layers 2 --width 64 --lengths 512,2048\n"
      "  lcsm bench paper --layers 18 --width 768 --lengths 131072 "
      "--json paper.json --svg paper");
  app->add_option("--setting", options->setting,
                  "synthetic (mixers and MLPs) or hyena (whole blocks)")
      ->check(OneOf({"synthetic", "hyena"}));
  app->add_option("--layers", wanted.layers, "layers, M (18)")
      ->check(WholeIn(1, 1024));
  app->add_option("--width", wanted.width, "channels of a layer, D (768)")
      ->check(WholeIn(1, 65536));
  app->add_option("--batch", wanted.batch, "rows, B (1)")
      ->check(WholeIn(1, 1024));
  app->add_option("--lengths", wanted.lengths,
                  "sequence lengths (2048,8192,32768,131072)")
      ->delimiter(',')
      ->check(WholeIn(2, size_t{1} << 24));
  app->add_option("--methods", options->methods,
                  fmt::format("of {}", fmt::join(KnownMethods(), ", ")))
      ->delimiter(',')
      ->check(OneOf(KnownMethods()));
  app->add_option("--taus", options->taus,
                  "for paper: direct, direct-blocked, fft-library, fft-fused, "
                  "hybrid, measured")
      ->delimiter(',')
      ->check(OneOf({"direct", "direct-blocked", "fft-library", "fft-fused",
                     "hybrid", "measured"}));
  app->add_option("--schedules", options->schedules,
                  "across-layers and per-layer; by default both for lazy and "
                  "eager")
      ->delimiter(',')
      ->check(OneOf({"across-layers", "per-layer"}));
  app->add_option("--threads", wanted.threads,
                  "threads (one for each processor)")
      ->check(WholeIn(1, 1024));
  app->add_option("--memory", wanted.memory_bytes,
                  "most to use, e.g. 16G (four fifths of what is free)")
      ->type_name("SIZE")
      ->transform(SizeInBytes());
  app->add_option("--repeats", wanted.repeats, "runs of each method, in turns")
      ->check(WholeIn(1, 1000));
  app->add_option("--whole", wanted.whole_run_seconds,
                  "run mixers whole that take fewer seconds than this (2)")
      ->check(FiniteIn(0, 1e6, "a number of seconds"));
  app->add_flag("--quick", wanted.quick, "one repeat of fewer positions");
  AddJsonOption(*app, options->json_file);
  app->add_option("--svg", options->svg_prefix,
                  "draw PREFIX-mixers.svg, -cumulative, -latency and -tau")
      ->type_name("PREFIX");
  AddCommand(
      commands, app,
      [options]() -> std::string {
        return options->setting == "hyena" && options->wanted.batch != 1
                   ? "--setting hyena steps one sequence: it takes no --batch"
                   : "";
      },
      [options, app] {
        options->schedules_given = app->count("--schedules") > 0;
        return RunPaperBench(*options);
      });
}

}  // namespace lcsm::cli
