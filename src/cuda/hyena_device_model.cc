#include "cuda/hyena_device_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/byte_text.h"
#include "conv/planner.h"
#include "cuda/hyena_device_filters.h"
#include "cuda/hyena_device_prefill.h"
#include "cuda/hyena_device_state.h"
#include "cuda/measure.h"

namespace lcsm::cuda {
namespace {

class HyenaDevicePrepared final : public PreparedModel {
 public:
  HyenaDevicePrepared(HyenaDeviceShared shared, conv::Plan plan)
      : shared_(std::move(shared)), plan_(std::move(plan)) {}

  const conv::Plan& plan() const override { return plan_; }
  size_t horizon() const override { return shared_.horizon; }
  size_t SpectraBytes() const override {
    return shared_.tiles == nullptr ? 0 : shared_.tiles->spectra_bytes();
  }
  StatusOr<std::unique_ptr<ModelState>> NewState(
      ThreadPool& pool) const override {
    LCSM_ASSIGN_OR_RETURN(std::unique_ptr<HyenaDeviceState> state,
                          HyenaDeviceState::Create(shared_, pool));
    return std::unique_ptr<ModelState>(std::move(state));
  }

 private:
  const HyenaDeviceShared shared_;
  const conv::Plan plan_;
};

Status CheckNotGrowable(const PrepareOptions& options,
                        const std::string& model) {
  if (!options.growable) return OkStatus();
  return Unsupported(fmt::format(
      "{}: sessions on a GPU cannot grow; a longer one can take the tokens in "
      "again",
      model));
}

}  // namespace

HyenaDeviceModel::HyenaDeviceModel(
    std::shared_ptr<const HyenaModel> host,
    std::shared_ptr<const HyenaDeviceWeights> weights,
    std::filesystem::path tuning_file)
    : host_(std::move(host)),
      weights_(std::move(weights)),
      info_(host_->info()),
      costs_(std::make_unique<DeviceCosts>(weights_->shared_device(),
                                           std::move(tuning_file))) {
  const DeviceInfo& device = weights_->device().info();
  info_.details.emplace_back("device",
                             fmt::format("{}, {}", device.label, device.name));
}

Status HyenaDeviceModel::CheckWeights() const {
  LCSM_RETURN_IF_ERROR(host_->CheckWeights());
  return weights_->device().status();
}

StatusOr<conv::Plan> HyenaDeviceModel::LevelsFor(
    const conv::Problem& problem, const conv::PlanOptions& options,
    bool measure) const {
  const DeviceInfo& info = weights_->device().info();
  const bool planned = options.method == conv::Method::kPlanned;
  const bool hybrid = options.method == conv::Method::kPaper &&
                      options.tau == conv::Tau::kHybrid;
  // Where nothing is to be chosen, nothing is measured.
  if (!options.levels.empty() || options.costs != nullptr ||
      !(planned || hybrid)) {
    return conv::MakePlan(problem, options);
  }
  const conv::TileCosts measured = costs_->For(
      problem, planned ? TilesFor::kPlanned : TilesFor::kHybrid, measure);
  if (hybrid) {
    // Untuned, the CPU's hybrid: a function of the block alone.
    return measured.measured()
               ? HybridPlan(info, problem, measured, options.schedule)
               : conv::MakePlan(problem, options);
  }
  // Neither the CPU's estimate nor its measurements say anything here.
  conv::PlanOptions with_costs = options;
  with_costs.costs = std::make_shared<const conv::TileCosts>(
      FillDeviceCosts(info, problem, measured));
  return conv::MakePlan(problem, with_costs);
}

StatusOr<HyenaDeviceModel::Extent> HyenaDeviceModel::GetExtent(
    const PrepareOptions& options) const {
  const size_t most = weights_->config().max_length;
  if (options.horizon > most) {
    return InvalidInput(fmt::format(
        "{} positions are wanted, and the model {} is made for at most {}",
        options.horizon, info_.name, most));
  }
  Extent extent;
  extent.horizon = options.horizon != 0 ? options.horizon : most;
  extent.steps = std::min(options.steps, extent.horizon);
  return extent;
}

StatusOr<ModelMemory> HyenaDeviceModel::Account(const Extent& extent,
                                                conv::Plan plan) const {
  const HyenaConfig& config = weights_->config();
  Device& device = weights_->device();
  ModelMemory memory;
  memory.device =
      fmt::format("{} ({})", device.info().label, device.info().name);
  LCSM_ASSIGN_OR_RETURN(memory.device_free, device.FreeBytes());
  memory.uncounted =
      "the driver's context, kernels and graphs, and what libraries keep "
      "besides scratch memory";
  memory.weights = weights_->bytes();
  memory.activations = HyenaDeviceState::BytesFor(config, extent.steps != 0);
  const DeviceFilterPart filters =
      DeviceFilterPart::All(config, extent.horizon);
  memory.host = DeviceFilterHostBytes(config, filters);
  const size_t all_taps = DeviceTapsSize(config, filters) * sizeof(float);
  // Filters are evaluated before anything is made of them.
  memory.preparing =
      memory.weights + all_taps + DeviceFilterBytes(config, filters);
  size_t known_taps = 0;
  if (extent.steps != extent.horizon) {
    known_taps = all_taps;
    memory.prefill =
        known_taps + HyenaDevicePrefill::BytesFor(
                         device, config,
                         weights_->layers().front().in_proj.rounded(),
                         extent.horizon - extent.steps, extent.steps);
  }
  if (extent.steps != 0) {
    LCSM_ASSIGN_OR_RETURN(memory.convolution,
                          PreparedTiles::BytesFor(device, plan));
    memory.preparing =
        std::max(memory.preparing,
                 memory.weights + known_taps + memory.convolution.taps +
                     memory.convolution.spectra + memory.convolution.making);
  }
  memory.plan = std::move(plan);
  return memory;
}

Status HyenaDeviceModel::TooLittle(const ModelMemory& memory,
                                   size_t room) const {
  const conv::MemoryEstimate& bytes = memory.convolution;
  return ResourceExhausted(fmt::format(
      "{}: {} positions by steps take {} on {} beside the weights' {} (taps "
      "{}, spectra {}, histories {}, kept blocks {}, scratch {}, activations "
      "{}, known tokens {}) by the plan '{}', and {} are left for them",
      info_.name, memory.plan.problem.length,
      ByteText(memory.Total() - memory.weights), memory.device,
      ByteText(memory.weights), ByteText(bytes.taps), ByteText(bytes.spectra),
      ByteText(bytes.histories), ByteText(bytes.blocks),
      ByteText(bytes.scratch), ByteText(memory.activations),
      ByteText(memory.prefill), memory.plan.Print(), ByteText(room)));
}

StatusOr<ModelMemory> HyenaDeviceModel::Outline(const PrepareOptions& options,
                                                const Extent& extent) const {
  const HyenaConfig& config = weights_->config();
  conv::Problem problem;
  problem.mixers = config.layers * config.convolutions();
  problem.channels = config.width;
  problem.length = problem.taps = extent.steps;
  // Histories are whole, and any session may begin with the contributions of
  // known tokens.
  problem.primed = true;
  const size_t weights = weights_->bytes();
  LCSM_ASSIGN_OR_RETURN(size_t room, weights_->device().FreeBytes());
  if (options.memory_limit != 0) {
    if (options.memory_limit <= weights) {
      return InvalidInput(fmt::format(
          "{}: weights alone take {} on {}, and the memory limit is {}",
          info_.name, ByteText(weights), weights_->device().info().label,
          ByteText(options.memory_limit)));
    }
    room = std::min(room, options.memory_limit - weights);
  }
  const auto takes = [&](const ModelMemory& memory) {
    return memory.Total() - weights;
  };
  conv::Plan plan;
  plan.problem = problem;
  if (extent.steps != 0) {
    LCSM_ASSIGN_OR_RETURN(plan,
                          LevelsFor(problem, options.plan, options.measure));
  }
  LCSM_ASSIGN_OR_RETURN(ModelMemory memory, Account(extent, std::move(plan)));
  if (takes(memory) <= room) return memory;
  if (extent.steps == 0 || options.plan.method != conv::Method::kPlanned ||
      !options.plan.levels.empty()) {
    return TooLittle(memory, room);
  }
  // The fastest plan does not fit. The planner knows slower ones that may, if
  // it is told what plans take here.
  conv::PlanOptions within = options.plan;
  within.memory_limit = room;
  within.bytes = [&](const conv::Plan& candidate) {
    const auto account = Account(extent, candidate);
    return account.ok() ? takes(*account) : SIZE_MAX;
  };
  auto smaller = LevelsFor(problem, within, options.measure);
  if (!smaller.ok()) return TooLittle(memory, room);
  LCSM_ASSIGN_OR_RETURN(memory, Account(extent, std::move(smaller).value()));
  return takes(memory) <= room ? StatusOr<ModelMemory>(std::move(memory))
                               : TooLittle(memory, room);
}

StatusOr<std::shared_ptr<const PreparedModel>> HyenaDeviceModel::Prepare(
    const PrepareOptions& options, ThreadPool& pool,
    const ModelState::Progress& progress) const {
  LCSM_RETURN_IF_ERROR(CheckNotGrowable(options, info_.name));
  LCSM_ASSIGN_OR_RETURN(const Extent extent, GetExtent(options));
  LCSM_ASSIGN_OR_RETURN(ModelMemory outline, Outline(options, extent));
  conv::Plan plan = std::move(outline.plan);
  HyenaDeviceShared shared;
  shared.weights = weights_;
  shared.horizon = extent.horizon;
  const size_t steps = extent.steps;
  // Known tokens want the taps of all positions, steps those of theirs.
  const std::shared_ptr<Device>& device = weights_->shared_device();
  const DeviceFilterPart part =
      DeviceFilterPart::All(weights_->config(), shared.horizon);
  LCSM_ASSIGN_OR_RETURN(
      Array<float> taps,
      MakeDeviceTaps(device, weights_->host(), part, pool, progress));
  if (steps != shared.horizon) {
    shared.num_taps = shared.horizon;
    shared.taps = std::make_shared<const Array<float>>(std::move(taps));
    if (steps != 0) {
      LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<Queue> queue,
                            device->NewQueue(false));
      const size_t filters = shared.taps->size() / (shared.num_taps * kLanes);
      LCSM_ASSIGN_OR_RETURN(
          taps, FirstTaps(*device, *shared.taps, filters, steps, *queue));
    }
  }
  if (steps != 0) {
    LCSM_ASSIGN_OR_RETURN(shared.tiles,
                          PreparedTiles::Create(device, plan, std::move(taps)));
  }
  // Filters made of a file that was cut short meanwhile are made of zeros.
  LCSM_RETURN_IF_ERROR(CheckWeights());
  return std::shared_ptr<const PreparedModel>(
      std::make_shared<HyenaDevicePrepared>(std::move(shared),
                                            std::move(plan)));
}

StatusOr<ModelMemory> HyenaDeviceModel::EstimateMemory(
    const PrepareOptions& options, size_t /*threads*/) const {
  LCSM_RETURN_IF_ERROR(CheckNotGrowable(options, info_.name));
  LCSM_ASSIGN_OR_RETURN(const Extent extent, GetExtent(options));
  LCSM_ASSIGN_OR_RETURN(ModelMemory memory, Outline(options, extent));
  const conv::Problem& problem = memory.plan.problem;
  const conv::TileCosts measured =
      costs_->For(problem, TilesFor::kPlanned, false);
  if (measured.measured()) {
    memory.mixers_ns = conv::PlanNs(
        memory.plan,
        FillDeviceCosts(weights_->device().info(), problem, measured));
  }
  return memory;
}

StatusOr<std::shared_ptr<const Model>> MakeDeviceModel(
    std::shared_ptr<const Model> model, std::shared_ptr<Device> device,
    std::filesystem::path tuning_file) {
  auto hyena = std::dynamic_pointer_cast<const HyenaModel>(model);
  if (hyena == nullptr) {
    return Unsupported(fmt::format(
        "models of the family {} run on the CPU only, and {} was asked for",
        model->info().family, device->info().label));
  }
  LCSM_ASSIGN_OR_RETURN(
      std::shared_ptr<const HyenaDeviceWeights> weights,
      HyenaDeviceWeights::Create(std::move(device), hyena->weights()));
  return std::shared_ptr<const Model>(std::make_shared<HyenaDeviceModel>(
      std::move(hyena), std::move(weights), std::move(tuning_file)));
}

StatusOr<std::shared_ptr<const Model>> PlaceModel(
    std::shared_ptr<const Model> model, const DeviceChoice& choice) {
  if (choice.kind == DeviceChoice::Kind::kCpu) return model;
  if (choice.kind == DeviceChoice::Kind::kAuto) {
    const bool runs =
        std::dynamic_pointer_cast<const HyenaModel>(model) != nullptr &&
        model->info().weight_format != "int8" &&
        model->info().order + 1 <= LinearKernel<float, 1>::kMaxStreams;
    if (!runs || CudaDeviceCount() == 0) return model;
  }
  LCSM_ASSIGN_OR_RETURN(std::shared_ptr<Device> device,
                        OpenCudaDevice(choice.index));
  std::filesystem::path file = DefaultTuningPath(device->info());
  return MakeDeviceModel(std::move(model), std::move(device), std::move(file));
}

}  // namespace lcsm::cuda
