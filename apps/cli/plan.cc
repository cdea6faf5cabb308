// lcsm plan: how the convolutions of a problem will be computed, what each
// level costs and takes; and measuring the tiles that plans are made of.
#include <fmt/format.h>

#include <memory>
#include <string>
#include <utility>

#include "base/thread_pool.h"
#include "bench/plan_bench.h"
#include "command.h"
#include "conv/layout.h"
#include "conv/measure_tiles.h"
#include "conv/tuning.h"
#include "cuda/device.h"
#include "cuda/device_tuning.h"
#include "cuda/hyena_device_model.h"
#include "interrupt.h"
#include "io/atomic_file.h"
#include "model_options.h"
#include "output.h"
#include "plan_device.h"
#include "plan_report.h"
#include "progress.h"
#include "terminal.h"

namespace lcsm::cli {
namespace {

struct Options {
  ModelOption model;
  size_t channels = 0, length = 0, mixers = 1, batch = 1, taps = 0;
  ExecutionOptions execution;
  bool tune = false, measure = false, json = false, quiet = false;
  std::string svg_file, save_file;
};

conv::Problem BareProblem(const Options& options) {
  conv::Problem problem;
  problem.mixers = options.mixers;
  problem.channels = options.channels;
  problem.batch = options.batch;
  problem.length = options.length;
  problem.taps = options.taps != 0 ? options.taps : options.length;
  return problem;
}

// `model` is null for a bare problem.
Status MakePlanOf(const Options& options, const Model* model,
                  const PrepareOptions& prepare, MadePlan* made) {
  if (model != nullptr) {
    LCSM_ASSIGN_OR_RETURN(ModelMemory memory,
                          model->EstimateMemory(prepare, prepare.plan.threads));
    made->plan = std::move(memory.plan);
    made->schedule = std::move(memory.schedule);
    return OkStatus();
  }
  conv::PlanOptions plan = prepare.plan;
  plan.memory_limit = options.execution.memory_limit;
  LCSM_ASSIGN_OR_RETURN(made->plan, conv::MakePlan(BareProblem(options), plan));
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
      wanted, options.model.model));
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

StatusOr<MadePlan> Make(const Options& options, const Model* model) {
  MadePlan made;
  LCSM_ASSIGN_OR_RETURN(PrepareOptions prepare,
                        ToPrepareOptions(options.execution, options.length));
  LCSM_RETURN_IF_ERROR(MakePlanOf(options, model, prepare, &made));
  if (made.plan.problem.mixers == 0) {
    LCSM_RETURN_IF_ERROR(CheckNothingToPlan(options));
    return made;
  }
  if (options.tune) {
    LCSM_RETURN_IF_ERROR(Tune(options, made.plan.problem));
    LCSM_ASSIGN_OR_RETURN(prepare,
                          ToPrepareOptions(options.execution, options.length));
    LCSM_RETURN_IF_ERROR(MakePlanOf(options, model, prepare, &made));
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

// --svg and --save; `where` ends the latter's first line, which is for people.
Status WriteFiles(const Options& options, const conv::Plan& plan,
                  const std::string& where) {
  if (!options.svg_file.empty()) {
    LCSM_RETURN_IF_ERROR(
        io::WriteFileAtomically(options.svg_file, bench::PlanSvg(plan)));
  }
  if (options.save_file.empty()) return OkStatus();
  return io::WriteFileAtomically(
      options.save_file,
      fmt::format("# {} channels, {} positions{}; for --plan\n{}\n",
                  plan.problem.channels, plan.problem.length, where,
                  plan.Levels()));
}

// `model` is null for a bare problem.
Status RunOnCpu(const Options& options, const Model* model) {
  LCSM_ASSIGN_OR_RETURN(const MadePlan made, Make(options, model));
  Output out;
  if (made.plan.problem.mixers == 0) {
    LCSM_RETURN_IF_ERROR(out.Write(NothingPlanned(made, options.json)));
    return out.Flush();
  }
  bench::PlanReport report = bench::DescribePlan(made.plan, made.costs);
  if (options.measure) {
    ThreadPool pool(options.execution.threads);
    LCSM_RETURN_IF_ERROR(bench::MeasurePlan(made.plan, pool, report));
  }
  LCSM_RETURN_IF_ERROR(WriteFiles(options, made.plan, ""));
  LCSM_RETURN_IF_ERROR(out.Write(options.json ? PlanJson(made, report)
                                              : PlanText(made, report)));
  return out.Flush();
}

// `model` is on a device, or null for a bare problem on `device`.
Status RunOnDevice(const Options& options, const Model* model,
                   std::shared_ptr<cuda::Device> device) {
  // What follows takes seconds and writes at its end alone.
  LetInterruptsEnd();
  LCSM_ASSIGN_OR_RETURN(const PrepareOptions prepare,
                        ToPrepareOptions(options.execution, options.length,
                                         /*on_device=*/true));
  const DevicePlanWork work = {options.tune, options.measure};
  DevicePlan made;
  if (model != nullptr) {
    LCSM_ASSIGN_OR_RETURN(made, PlanModelOnDevice(*model, prepare, work));
  } else {
    cuda::DeviceCosts costs(device, cuda::DefaultTuningPath(device->info()));
    conv::Problem problem = BareProblem(options);
    problem.primed = true;  // Histories are whole on devices.
    LCSM_ASSIGN_OR_RETURN(
        made, PlanConvolutionOnDevice(costs, problem, prepare, work));
  }
  if (options.tune && !options.quiet) {
    Say("tile costs of {} are in {}\n", made.memory.device,
        made.memory.tile_costs->file);
  }
  LCSM_RETURN_IF_ERROR(
      WriteFiles(options, made.memory.plan, ", on " + made.memory.device));
  Output out;
  LCSM_RETURN_IF_ERROR(
      out.Write(options.json ? DevicePlanJson(made) : DevicePlanText(made)));
  return out.Flush();
}

Status Run(const Options& options) {
  if (options.channels == 0) {
    LCSM_ASSIGN_OR_RETURN(const LoadedModel loaded,
                          LoadNamedModel(options.model));
    return cuda::DevicesOf(*loaded.model).empty()
               ? RunOnCpu(options, loaded.model.get())
               : RunOnDevice(options, loaded.model.get(), nullptr);
  }
  LCSM_ASSIGN_OR_RETURN(const cuda::DeviceChoice choice,
                        cuda::ParseDevice(options.model.device));
  if (choice.kind == cuda::DeviceChoice::Kind::kCpu ||
      (choice.kind == cuda::DeviceChoice::Kind::kAuto &&
       cuda::CudaDeviceCount() == 0)) {
    return RunOnCpu(options, nullptr);
  }
  LCSM_ASSIGN_OR_RETURN(std::shared_ptr<cuda::Device> device,
                        cuda::OpenCudaDevice(choice.indices.front()));
  return RunOnDevice(options, nullptr, std::move(device));
}

// Of options that a GPU leaves nothing to say. With `auto` nobody knows yet.
std::string CheckDevice(const Options& options) {
  // The parser let only known names through.
  const auto choice = cuda::ParseDevice(options.model.device);
  if (!choice.ok() || choice->kind != cuda::DeviceChoice::Kind::kCuda) {
    return "";
  }
  if (options.channels != 0 && choice->indices.size() > 1) {
    return fmt::format(
        "--channels with --device {}: models are split among GPUs, bare "
        "convolutions are not; give --model or one GPU",
        options.model.device);
  }
  if (options.execution.threads != 0) {
    return fmt::format(
        "--threads is about plans for the CPU, and --device {} asks for a "
        "GPU's; give one or the other",
        options.model.device);
  }
  return "";
}

std::string CheckOptions(const Options& options) {
  if (options.channels != 0 && !options.model.model.empty()) {
    return "--model has channels of its own; give it or --channels";
  }
  if (options.channels != 0 && options.model.weights != "f32") {
    return "--weights is about a model's matrices, and --channels says that "
           "there is no model; give one or the other";
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
  if (std::string wrong = CheckDevice(options); !wrong.empty()) return wrong;
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
  AddModelOption(*app, options->model);
  AddDeviceOption(*app, options->model);
  app->get_option("--model")->description(
      "The convolutions of this model (default: the one in the box)");
  app->get_option("--device")
      ->description(
          "Where they are to run: cpu, cuda, cuda:N, cuda:N,M,.. (a model, "
          "split among these GPUs), or auto, the first GPU that can");
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
                "Measure tiles on this machine (half a minute) or this GPU "
                "(seconds) and keep the results for all later runs");
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
      "  lcsm plan --model kjv-bytes --length 8192 --device auto\n"
      "  lcsm plan --channels 256 --length 65536 --latency flat --save p.txt");
  AddCommand(
      commands, app, [options] { return CheckOptions(*options); },
      [options] { return Answer(Run(*options)); });
}

}  // namespace lcsm::cli
