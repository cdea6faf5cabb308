// lcsm plan: how the convolutions of a problem will be computed, what each
// level costs and takes; and measuring the tiles that plans are made of.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/byte_text.h"
#include "base/cpu_info.h"
#include "base/thread_pool.h"
#include "bench/machine.h"
#include "bench/plan_bench.h"
#include "command.h"
#include "conv/layout.h"
#include "conv/measure_tiles.h"
#include "conv/tuning.h"
#include "interrupt.h"
#include "io/atomic_file.h"
#include "model_options.h"
#include "output.h"
#include "progress.h"
#include "terminal.h"

namespace lcsm::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string model;
  size_t channels = 0, length = 0, mixers = 1, batch = 1, taps = 0;
  ExecutionOptions execution;
  bool tune = false, measure = false, json = false, quiet = false;
  std::string svg_file, save_file;
};

// The plan and what it was made from.
struct Made {
  conv::Plan plan;
  std::string schedule;  // ModelMemory::schedule.
  conv::TileCosts costs;
  bool tuned = false;
  size_t threads = 1;
};

Status MakePlanOf(const Options& options, const PrepareOptions& prepare,
                  Made* made) {
  if (options.channels == 0) {
    LCSM_ASSIGN_OR_RETURN(const LoadedModel loaded,
                          LoadNamedModel({options.model, {}}));
    LCSM_ASSIGN_OR_RETURN(
        ModelMemory memory,
        loaded.model->EstimateMemory(prepare, prepare.plan.threads));
    made->plan = std::move(memory.plan);
    made->schedule = std::move(memory.schedule);
    return OkStatus();
  }
  conv::Problem problem;
  problem.mixers = options.mixers;
  problem.channels = options.channels;
  problem.batch = options.batch;
  problem.length = options.length;
  problem.taps = options.taps != 0 ? options.taps : options.length;
  conv::PlanOptions plan = prepare.plan;
  plan.memory_limit = options.execution.memory_limit;
  LCSM_ASSIGN_OR_RETURN(made->plan, conv::MakePlan(problem, plan));
  return OkStatus();
}

// What there is to say of a model without long convolutions.
Status CheckNothingToPlan(const Options& options) {
  const char* const wanted = options.tune                 ? "--tune"
                             : options.measure            ? "--measure"
                             : !options.save_file.empty() ? "--save"
                             : !options.svg_file.empty()  ? "--svg"
                                                          : nullptr;
  if (wanted == nullptr) return OkStatus();
  return InvalidInput(fmt::format(
      "{}: the model {} has no long convolutions, expected one that has",
      wanted, options.model));
}

// Times tiles for the problem's size and adds them to the file.
Status Tune(const Options& options, const conv::Problem& problem) {
  const std::filesystem::path path = conv::DefaultTuningPath();
  if (path.empty()) {
    return InvalidInput(
        "--tune: neither XDG_CACHE_HOME nor HOME says where measurements go");
  }
  Progress bar("measuring tiles", options.quiet);
  LCSM_ASSIGN_OR_RETURN(conv::TileCosts costs,
                        conv::MeasureCosts(problem, [&bar](double done) {
                          bar.Update(done);
                          return !Interrupted();
                        }));
  bar.Finish();
  conv::Tuning tuning;
  auto before = conv::Tuning::Load(path);
  if (before.ok()) tuning = std::move(before).value();
  tuning.Set(problem, std::move(costs));
  LCSM_RETURN_IF_ERROR(tuning.Save(path));
  if (!options.quiet) {
    Say("tile costs for {} groups of channels are in {}\n",
        conv::HistoryGroups(problem), path.string());
  }
  return OkStatus();
}

StatusOr<Made> Make(const Options& options) {
  Made made;
  LCSM_ASSIGN_OR_RETURN(PrepareOptions prepare,
                        ToPrepareOptions(options.execution, options.length));
  LCSM_RETURN_IF_ERROR(MakePlanOf(options, prepare, &made));
  if (made.plan.problem.mixers == 0) {
    LCSM_RETURN_IF_ERROR(CheckNothingToPlan(options));
    return made;
  }
  if (options.tune) {
    LCSM_RETURN_IF_ERROR(Tune(options, made.plan.problem));
    LCSM_ASSIGN_OR_RETURN(prepare,
                          ToPrepareOptions(options.execution, options.length));
    LCSM_RETURN_IF_ERROR(MakePlanOf(options, prepare, &made));
  }
  made.threads = prepare.plan.threads;
  const conv::TileCosts* const measured =
      prepare.plan.tuning != nullptr
          ? prepare.plan.tuning->For(made.plan.problem)
          : nullptr;
  made.tuned = measured != nullptr;
  if (made.tuned) made.costs = *measured;
  return made;
}

const char* ServesName(conv::Serves serves) {
  switch (serves) {
    case conv::Serves::kSiblings:
      return "siblings";
    case conv::Serves::kNeighbours:
      return "neighbours";
    case conv::Serves::kDistant:
      return "deferred";
  }
  return "?";
}

std::string Marks(conv::Spectra spectra) {
  switch (spectra) {
    case conv::Spectra::kKept:
      return "";
    case conv::Spectra::kRemade:
      return "*";
    case conv::Spectra::kEvaluated:
      return "**";
  }
  return "?";
}

std::string Legend(const conv::Plan& plan) {
  const bool any = std::any_of(plan.levels.begin(), plan.levels.end(),
                               [](const conv::Level& level) {
                                 return level.spectra != conv::Spectra::kKept;
                               });
  if (!any) return "";
  return "*: spectra are made anew for each tile; **: and so are the taps that "
         "they are made of.\n";
}

// Where a level's data comes from when it is met again.
std::string Home(double bytes) {
  const CpuInfo cpu = GetCpuInfo();
  const auto fits = [bytes](size_t cache) {
    return cache != 0 && bytes <= 0.75 * static_cast<double>(cache);
  };
  if (fits(cpu.l1d_bytes)) return "L1";
  if (fits(cpu.l2_bytes)) return "L2";
  if (fits(cpu.l3_bytes)) return "L3";
  return "memory";
}

std::string Ns(double ns) { return ns < 0 ? "-" : fmt::format("{:.0f}", ns); }

std::string ToText(const Made& made, const bench::PlanReport& report) {
  const conv::Problem& p = made.plan.problem;
  std::string text = fmt::format(
      "{} of {}, {} of {}, {}, {}\n{}\n\n", Count(p.mixers, "mixer"),
      Count(p.channels, "channel"), Count(p.batch, "row"),
      Count(p.length, "position"), Count(p.taps, "tap"),
      Count(made.threads, "thread"), made.plan.Print());
  text += fmt::format(
      "{:>9} {:>5}  {:<10} {:<14} {:>10} {:>10} {:>8} {:>8} {:>8} {:>7} "
      "{:>6} {:>10}\n",
      "block", "radix", "serves", "tau", "predicted", "measured", "flops",
      "bytes", "GFLOP/s", "GB/s", "from", "MiB");
  for (const bench::LevelReport& row : report.levels) {
    const double ns = row.measured_ns > 0 ? row.measured_ns : row.predicted_ns;
    text += fmt::format(
        "{:>9} {:>5}  {:<10} {:<14} {:>10} {:>10} {:>8.0f} {:>8.0f} {:>8.1f} "
        "{:>7.1f} {:>6} {:>10.1f}\n",
        row.level.block,
        row.level.radix == conv::Level::kToTheEnd
            ? "-"
            : std::to_string(row.level.radix),
        ServesName(row.level.serves),
        conv::Name(row.level.tau) + Marks(row.level.spectra),
        Ns(row.predicted_ns), Ns(row.measured_ns), row.flops, row.bytes,
        ns > 0 ? row.flops / ns : 0, ns > 0 ? row.bytes / ns : 0,
        Home(row.working_set), static_cast<double>(row.memory) / 0x1p20);
  }
  text += fmt::format("{:>9} {:>5}  {:<10} {:<14} {:>10} {:>10}\n", "1", "-",
                      "red cells", "", "-", Ns(report.red_ns));
  text += fmt::format("{:>9} {:>5}  {:<10} {:<14} {:>10} {:>10}\n", "all", "",
                      "", "", Ns(report.predicted_ns), Ns(report.measured_ns));
  const conv::MemoryEstimate bytes = made.plan.Memory(made.threads);
  text += fmt::format(
      "\nTimes are ns a position for all channels, on average over the "
      "sequence; {}.\nBlocks of 1 and 2 ride with the red cells. GFLOP/s and "
      "GB/s are of the {} times;\n'from' is the cache that a level's data "
      "comes "
      "back from.\n",
      made.tuned ? "predicted from tiles measured on one thread of this machine"
                 : "predicted from estimates (--tune measures)",
      report.measured_ns > 0 ? "measured" : "predicted");
  text += Legend(made.plan);
  if (report.error >= 0) {
    text += fmt::format(
        "Answers were checked against float64: off by {:.1e} of max |y|.\n",
        report.error);
  }
  text += fmt::format(
      "\nmemory: {} (taps {}, spectra {}, histories {}, kept blocks {}, "
      "scratch {})\n",
      ByteText(bytes.Total()), ByteText(bytes.taps), ByteText(bytes.spectra),
      ByteText(bytes.histories), ByteText(bytes.blocks),
      ByteText(bytes.scratch));
  if (!made.schedule.empty()) {
    text += "\nThe table is of group 0.\n\n" + made.schedule;
  }
  return text;
}

std::string ToJson(const Made& made, const bench::PlanReport& report) {
  const conv::Problem& p = made.plan.problem;
  const auto number = [](double ns) {
    return ns < 0 ? Json(nullptr) : Json(ns);
  };
  Json levels = Json::array();
  for (const bench::LevelReport& row : report.levels) {
    levels.push_back(
        {{"block", row.level.block},
         {"radix", row.level.radix},
         {"serves", ServesName(row.level.serves)},
         {"tau", conv::Name(row.level.tau)},
         {"remade", row.level.spectra != conv::Spectra::kKept},
         {"evaluated", row.level.spectra == conv::Spectra::kEvaluated},
         {"predicted_ns", row.predicted_ns},
         {"measured_ns", number(row.measured_ns)},
         {"flops", row.flops},
         {"bytes", row.bytes},
         {"from", Home(row.working_set)},
         {"memory_bytes", row.memory}});
  }
  const conv::MemoryEstimate bytes = made.plan.Memory(made.threads);
  Json json = {{"machine", bench::MachineJson()},
               {"problem",
                {{"mixers", p.mixers},
                 {"channels", p.channels},
                 {"batch", p.batch},
                 {"length", p.length},
                 {"taps", p.taps}}},
               {"threads", made.threads},
               {"tuned", made.tuned},
               {"plan", made.plan.Print()},
               {"levels", levels},
               {"red_cells_ns", number(report.red_ns)},
               {"predicted_ns", report.predicted_ns},
               {"measured_ns", number(report.measured_ns)},
               {"max_relative_error", number(report.error)},
               {"memory_bytes",
                {{"taps", bytes.taps},
                 {"spectra", bytes.spectra},
                 {"histories", bytes.histories},
                 {"blocks", bytes.blocks},
                 {"scratch", bytes.scratch},
                 {"total", bytes.Total()}}}};
  if (!made.schedule.empty()) json["schedule"] = made.schedule;
  return json.dump(2) + "\n";
}

std::string WithoutPlan(const Options& options, const Made& made) {
  if (!options.json) return made.schedule;
  return Json({{"machine", bench::MachineJson()}, {"schedule", made.schedule}})
             .dump(2) +
         "\n";
}

Status Run(const Options& options) {
  LCSM_ASSIGN_OR_RETURN(const Made made, Make(options));
  Output out;
  if (made.plan.problem.mixers == 0) {
    LCSM_RETURN_IF_ERROR(out.Write(WithoutPlan(options, made)));
    return out.Flush();
  }
  bench::PlanReport report = bench::DescribePlan(made.plan, made.costs);
  if (options.measure) {
    ThreadPool pool(options.execution.threads);
    LCSM_RETURN_IF_ERROR(bench::MeasurePlan(made.plan, pool, report));
  }
  if (!options.svg_file.empty()) {
    LCSM_RETURN_IF_ERROR(
        io::WriteFileAtomically(options.svg_file, bench::PlanSvg(made.plan)));
  }
  if (!options.save_file.empty()) {
    LCSM_RETURN_IF_ERROR(io::WriteFileAtomically(
        options.save_file,
        fmt::format("# {} channels, {} positions; for --plan\n{}\n",
                    made.plan.problem.channels, made.plan.problem.length,
                    made.plan.Levels())));
  }
  LCSM_RETURN_IF_ERROR(
      out.Write(options.json ? ToJson(made, report) : ToText(made, report)));
  return out.Flush();
}

std::string CheckOptions(const Options& options) {
  if (options.channels != 0 && !options.model.empty()) {
    return "--model has channels of its own; give it or --channels";
  }
  if (options.channels != 0 && options.length == 0) {
    return "--channels wants --length: for how many positions?";
  }
  if (options.channels == 0 &&
      (options.mixers != 1 || options.batch != 1 || options.taps != 0)) {
    return "--mixers, --batch and --taps go with --channels";
  }
  if (options.tune && options.execution.costs == "estimated") {
    return "--tune measures costs for plans, and --costs estimated says that "
           "they do not go by them; give one or the other";
  }
  const std::string& method = options.execution.method;
  if (options.save_file.empty()) return CheckExecution(options.execution);
  if (method == "lazy" || method == "eager") {
    return fmt::format("--save: --method {} has no levels", method);
  }
  return CheckExecution(options.execution);
}

}  // namespace

void AddPlan(App& root, Commands& commands) {
  auto options = std::make_shared<Options>();
  App app = root.add_subcommand(
      "plan", "Show how convolutions will be computed, and what it costs");
  app->add_option("--model", options->model,
                  "The convolutions of this model (default: the one in the "
                  "box)")
      ->type_name("DIR|NAME");
  app->add_option("--channels", options->channels,
                  "No model: convolutions of this many channels")
      ->type_name("C")
      ->check(WholeIn(1, UINT64_MAX));
  app->add_option("--length", options->length,
                  "Positions (default: the model's limit)")
      ->type_name("L")
      ->check(WholeIn(1, UINT64_MAX));
  app->add_option("--mixers", options->mixers, "Convolutions in a row (layers)")
      ->type_name("M")
      ->check(WholeIn(1, UINT64_MAX));
  app->add_option("--batch", options->batch, "Rows that share the filters")
      ->type_name("B")
      ->check(WholeIn(1, UINT64_MAX));
  app->add_option("--taps", options->taps,
                  "Taps of the filters (default: as many as positions)")
      ->type_name("H")
      ->check(WholeIn(1, UINT64_MAX));
  app->add_flag("--tune", options->tune,
                "Measure tiles on this machine (half a minute) and keep the "
                "results for all later runs");
  app->add_flag("--measure", options->measure,
                "Run the plan: check its answers and time each level");
  app->add_option("--save", options->save_file,
                  "Write the levels to FILE, for --plan")
      ->type_name("FILE");
  app->add_option("--svg", options->svg_file, "Draw the tiling into FILE")
      ->type_name("FILE");
  app->add_flag("--json", options->json, "JSON instead of a table");
  app->add_flag("--quiet", options->quiet, "No progress and no notes");
  AddExecutionOptions(*app, options->execution);
  app->footer(
      "Examples:\n"
      "  lcsm plan --channels 256 --length 65536 --svg tiling.svg\n"
      "  lcsm plan --model kjv-bytes --tune\n"
      "  lcsm plan --channels 256 --length 65536 --latency flat --save p.txt");
  AddCommand(
      commands, app, [options] { return CheckOptions(*options); },
      [options] { return Answer(Run(*options)); });
}

}  // namespace lcsm::cli
