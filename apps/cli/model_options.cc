#include "model_options.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <charconv>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <memory>
#include <system_error>
#include <utility>

#include "base/cpu_info.h"
#include "base/thread_pool.h"
#include "cuda/device.h"
#include "cuda/hyena_device_model.h"
#include "io/atomic_file.h"
#include "model_lookup.h"
#include "models/load_model.h"
#include "terminal.h"

namespace lcsm::cli {

Check WholeIn(uint64_t lo, uint64_t hi) {
  return Check([lo, hi](std::string& text) -> std::string {
    uint64_t value = 0;
    const char* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, value);
    if (error == std::errc() && rest == end && value >= lo && value <= hi) {
      return "";
    }
    if (error == std::errc::result_out_of_range && rest == end) {
      return fmt::format("{} is larger than {}", text, hi);
    }
    return hi == UINT64_MAX
               ? fmt::format("{} is not a whole number from {} up", text, lo)
               : fmt::format("{} is not a whole number from {} to {}", text, lo,
                             hi);
  });
}

Check FiniteIn(double lo, double hi, const char* description) {
  return Check([lo, hi, description](std::string& text) -> std::string {
    char* end = nullptr;
    const double value = strtod(text.c_str(), &end);
    if (!text.empty() && *end == '\0' && std::isfinite(value) && value >= lo &&
        value <= hi) {
      return "";
    }
    return fmt::format("{} is not {}", text, description);
  });
}

// A plan has a handful of lines.
static constexpr size_t kMaxPlanBytes = size_t{1} << 16;

void AddModelOption(App& app, ModelOption& option) {
  app.add_option("--model", option.model,
                 std::string("Model folder, or the name of an installed model "
                             "(default: ") +
                     kDefaultModel + ")")
      ->type_name("DIR|NAME")
      // A script's empty variable must not mean another model.
      ->check(Check([](std::string& text) -> std::string {
        return text.empty() ? "is empty, expected a folder or a name" : "";
      }));
  app.add_option("--weights", option.weights,
                 "The blocks' matrices in memory: f32 is exact, bf16 and int8 "
                 "round them and are faster")
      ->type_name("FORMAT")
      ->check(OneOf({"f32", "bf16", "int8"}))
      ->capture_default_str();
}

void AddDeviceOption(App& app, ModelOption& option) {
  app.add_option("--device", option.device,
                 "Where the model runs: cpu, cuda, cuda:N, cuda:N,M,.. (split "
                 "among these GPUs), or auto, the first GPU that can")
      ->type_name("NAME")
      ->check(Check([](std::string& text) -> std::string {
        return cuda::ParseDevice(text).status().message();
      }))
      ->capture_default_str();
}

void AddRequiredModel(App& app, ModelOption& option, const char* description) {
  AddModelOption(app, option);
  AddDeviceOption(app, option);
  app.get_option("--model")->required()->description(description);
}

Option AddQuietOption(App& app, bool& quiet) {
  return app.add_flag("--quiet", quiet,
                      "No notes, progress or summary on stderr");
}

void AddExecutionOptions(App& app, ExecutionOptions& options) {
  const std::string group = "How it is computed (never what)";
  app.add_option("--method", options.method,
                 "planned: the best for the problem; paper: binary tiling; "
                 "lazy, eager: the quadratic baselines; futurefill, gardner: "
                 "other published schemes")
      ->type_name("NAME")
      ->check(
          OneOf({"planned", "paper", "lazy", "eager", "futurefill", "gardner"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--tau", options.tau,
                 "How one tile is computed (default: hybrid, by tile size)")
      ->type_name("NAME")
      ->check(OneOf(
          {"direct", "direct-blocked", "fft-library", "fft-fused", "hybrid"}))
      ->group(group);
  app.add_option("--schedule", options.schedule,
                 "When tiles are computed: after all layers on all threads, or "
                 "within each layer")
      ->type_name("NAME")
      ->check(OneOf({"across-layers", "per-layer"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--latency", options.latency,
                 "best: least work in all; flat: nearly the same work in every "
                 "step")
      ->type_name("NAME")
      ->check(OneOf({"best", "flat"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--plan", options.plan_file,
                 "Exactly the levels in this file, see 'lcsm plan --save'")
      ->type_name("FILE")
      ->group(group);
  app.add_option("--costs", options.costs,
                 "What plans go by: tiles as measured (on a GPU now, where it "
                 "lacks), or estimates")
      ->type_name("NAME")
      ->check(OneOf({"measured", "estimated"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--memory-limit", options.memory_limit,
                 "Bytes (or 500M, 20GiB) that the run may take; one that "
                 "cannot is refused before it starts")
      ->type_name("SIZE")
      ->transform(SizeInBytes())
      ->check(WholeIn(1, UINT64_MAX))
      ->group(group);
  app.add_option("--threads", options.threads,
                 "Threads (default: one for each processor)")
      ->type_name("N")
      ->check(WholeIn(1, ThreadPool::kMaxThreads))
      ->group(group);
}

std::string CheckExecution(const ExecutionOptions& options) {
  if (!options.plan_file.empty() &&
      (options.method != "planned" || !options.tau.empty() ||
       options.latency != "best")) {
    return "--plan says all that --method, --tau and --latency would; give one "
           "or the other";
  }
  if (options.latency == "flat") {
    if (options.method != "planned" || !options.tau.empty()) {
      return "--latency flat is something the planner does, so it goes with "
             "--method planned and no --tau";
    }
    if (options.schedule == "per-layer") {
      return "--latency flat spreads work over steps across all layers, which "
             "--schedule per-layer cannot";
    }
  }
  if (options.method == "gardner" && options.schedule == "per-layer") {
    return "--method gardner defers work across layers, which --schedule "
           "per-layer cannot";
  }
  const bool tiled = options.method == "planned" || options.method == "paper";
  if (!tiled && !options.tau.empty()) {
    return fmt::format(
        "--tau {} says how tiles are computed, and --method {} has none",
        options.tau, options.method);
  }
  return "";
}

std::shared_ptr<const conv::Tuning> LoadTuning(Status* unusable) {
  const std::filesystem::path path = conv::DefaultTuningPath();
  if (path.empty()) return nullptr;
  auto tuning = conv::Tuning::Load(path);
  if (tuning.ok()) {
    return std::make_shared<const conv::Tuning>(std::move(tuning).value());
  }
  if (unusable != nullptr && tuning.status().code() != StatusCode::kNotFound) {
    *unusable = tuning.status();
  }
  return nullptr;
}

StatusOr<PrepareOptions> ToPrepareOptions(const ExecutionOptions& options,
                                          size_t horizon, bool on_device) {
  PrepareOptions prepare;
  prepare.horizon = horizon;
  prepare.memory_limit = options.memory_limit;
  conv::PlanOptions& plan = prepare.plan;
  // The parser let only known names through. A forced tau is one of the
  // paper's tiling; the planner would choose its own.
  plan.method = conv::MethodFromName(options.method).value_or(plan.method);
  if (!options.tau.empty()) {
    plan.method = conv::Method::kPaper;
    plan.tau = conv::TauFromName(options.tau).value_or(plan.tau);
  }
  plan.schedule =
      conv::ScheduleFromName(options.schedule).value_or(plan.schedule);
  plan.latency = conv::LatencyFromName(options.latency).value_or(plan.latency);
  plan.threads = options.threads != 0 ? options.threads : GetCpuInfo().cpus;
  if (!options.plan_file.empty()) {
    LCSM_ASSIGN_OR_RETURN(const std::string text,
                          io::ReadFile(options.plan_file, kMaxPlanBytes));
    LCSM_ASSIGN_OR_RETURN(plan.levels,
                          conv::ParseLevels(text, options.plan_file));
    if (plan.levels.empty()) {
      return InvalidInput(options.plan_file +
                          " holds no level, expected a plan such as 'lcsm "
                          "plan --save' writes");
    }
  }
  if (options.costs == "estimated") {
    prepare.device_costs = DeviceCostSource::kEstimates;
    return prepare;
  }
  prepare.device_costs = DeviceCostSource::kMeasured;
  if (plan.method == conv::Method::kPlanned && !on_device) {
    Status unusable;
    plan.tuning = LoadTuning(&unusable);
    if (!unusable.ok()) {
      Say("lcsm: {}; planning with estimates\n", unusable.message());
    }
  }
  return prepare;
}

WeightFormat ToWeightFormat(const ModelOption& option) {
  // The parser let only known names through.
  return WeightFormatFromName(option.weights).value_or(WeightFormat::kFloat32);
}

StatusOr<LoadedModel> LoadNamedModel(const ModelOption& option) {
  LoadedModel loaded;
  LCSM_ASSIGN_OR_RETURN(loaded.folder, FindModel(option.model));
  LCSM_ASSIGN_OR_RETURN(loaded.model,
                        LoadModel(loaded.folder, ToWeightFormat(option)));
  // The parser let only known names through.
  LCSM_ASSIGN_OR_RETURN(const cuda::DeviceChoice device,
                        cuda::ParseDevice(option.device));
  LCSM_ASSIGN_OR_RETURN(loaded.model,
                        cuda::PlaceModel(std::move(loaded.model), device));
  return loaded;
}

std::string Digits(size_t n) {
  const std::string plain = fmt::format("{}", n);
  std::string digits;
  for (size_t i = 0; i < plain.size(); ++i) {
    if (i > 0 && (plain.size() - i) % 3 == 0) digits += ' ';
    digits += plain[i];
  }
  return digits;
}

std::string Count(size_t n, const char* singular) {
  return fmt::format("{} {}{}", Digits(n), singular, n == 1 ? "" : "s");
}

}  // namespace lcsm::cli
