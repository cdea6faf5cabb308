#include "cuda/hyena_device_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cuda/hyena_device_state.h"
#include "cuda/measure.h"
#include "models/hyena_filter.h"

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

double GiB(size_t bytes) { return static_cast<double>(bytes) / 0x1p30; }

}  // namespace

HyenaDeviceModel::HyenaDeviceModel(
    std::shared_ptr<const HyenaModel> host,
    std::shared_ptr<const HyenaDeviceWeights> weights)
    : host_(std::move(host)),
      weights_(std::move(weights)),
      info_(host_->info()) {
  const DeviceInfo& device = weights_->device().info();
  info_.details.emplace_back("device",
                             fmt::format("{}, {}", device.label, device.name));
}

Status HyenaDeviceModel::CheckWeights() const {
  LCSM_RETURN_IF_ERROR(host_->CheckWeights());
  return weights_->device().status();
}

StatusOr<conv::Plan> HyenaDeviceModel::MakePlan(const PrepareOptions& options,
                                                size_t horizon) const {
  const HyenaConfig& config = weights_->config();
  conv::Problem problem;
  problem.mixers = config.layers * config.convolutions();
  problem.channels = config.width;
  problem.length = problem.taps = std::min(options.steps, horizon);
  // Histories are whole, and any session may begin with the contributions of
  // known tokens.
  problem.primed = true;
  conv::Plan plan;
  if (problem.length == 0) {
    plan.problem = problem;
    return plan;
  }
  conv::PlanOptions plan_options = options.plan;
  Device& device = weights_->device();
  LCSM_ASSIGN_OR_RETURN(const size_t left, device.FreeBytes());
  size_t limit = left;
  if (options.memory_limit != 0) {
    if (options.memory_limit <= weights_->bytes()) {
      return InvalidInput(fmt::format(
          "{}: weights alone take {:.2f} GiB on {}, and the memory limit is "
          "{:.2f} GiB",
          info_.name, GiB(weights_->bytes()), device.info().label,
          GiB(options.memory_limit)));
    }
    limit = std::min(limit, options.memory_limit - weights_->bytes());
  }
  if (plan_options.costs == nullptr) {
    // Neither the CPU's estimate nor its measurements say anything here.
    plan_options.costs = std::make_shared<const conv::TileCosts>(
        EstimateDeviceCosts(device.info(), problem));
  }
  LCSM_ASSIGN_OR_RETURN(plan, conv::MakePlan(problem, plan_options));
  size_t bytes = PreparedTiles::BytesFor(device.info(), plan);
  if (bytes > limit && plan_options.method == conv::Method::kPlanned &&
      plan_options.levels.empty()) {
    // The planner counts as the CPU does, but what it does to save bytes saves
    // them here as well.
    plan_options.memory_limit = limit;
    auto smaller = conv::MakePlan(problem, plan_options);
    if (smaller.ok()) {
      plan = std::move(smaller).value();
      bytes = PreparedTiles::BytesFor(device.info(), plan);
    }
  }
  if (bytes > limit) {
    return ResourceExhausted(fmt::format(
        "{}: {} positions by the plan '{}' take {:.2f} GiB on {} ({}), which "
        "has {:.2f} GiB left for them",
        info_.name, problem.length, plan.Print(), GiB(bytes),
        device.info().label, device.info().name, GiB(limit)));
  }
  return plan;
}

StatusOr<std::shared_ptr<const PreparedModel>> HyenaDeviceModel::Prepare(
    const PrepareOptions& options, ThreadPool& pool,
    const ModelState::Progress& progress) const {
  LCSM_RETURN_IF_ERROR(CheckNotGrowable(options, info_.name));
  const HyenaConfig& config = weights_->config();
  if (options.horizon > config.max_length) {
    return InvalidInput(fmt::format(
        "{} positions are wanted, and the model {} is made for at most {}",
        options.horizon, info_.name, config.max_length));
  }
  HyenaDeviceShared shared;
  shared.weights = weights_;
  shared.horizon = options.horizon != 0 ? options.horizon : config.max_length;
  const size_t steps = std::min(options.steps, shared.horizon);
  LCSM_ASSIGN_OR_RETURN(conv::Plan plan, MakePlan(options, shared.horizon));
  // Known tokens want the taps of all positions, steps those of theirs.
  LCSM_ASSIGN_OR_RETURN(
      std::unique_ptr<conv::FilterBank> filters,
      MakeHyenaFilters(weights_->host(), shared.horizon, pool, progress));
  if (steps != shared.horizon) {
    Device& device = weights_->device();
    const size_t n = filters->mixers() * filters->groups();
    shared.num_taps = shared.horizon;
    LCSM_ASSIGN_OR_RETURN(Array<float> taps,
                          device.NewArray<float>(n * shared.num_taps * kLanes,
                                                 "the filters' taps"));
    for (size_t f = 0; f < n; ++f) {
      LCSM_RETURN_IF_ERROR(device.Upload(
          taps.data() + f * shared.num_taps * kLanes, filters->FlatGroup(f),
          shared.num_taps * kLanes * sizeof(float)));
    }
    shared.taps = std::make_shared<const Array<float>>(std::move(taps));
  }
  if (steps != 0) {
    if (steps != filters->taps()) {
      LCSM_ASSIGN_OR_RETURN(filters, conv::FilterBank::First(*filters, steps));
    }
    LCSM_ASSIGN_OR_RETURN(
        shared.tiles,
        PreparedTiles::Create(weights_->shared_device(), plan, *filters));
  }
  // Filters made of a file that was cut short meanwhile are made of zeros.
  LCSM_RETURN_IF_ERROR(CheckWeights());
  return std::shared_ptr<const PreparedModel>(
      std::make_shared<HyenaDevicePrepared>(std::move(shared),
                                            std::move(plan)));
}

StatusOr<ModelMemory> HyenaDeviceModel::EstimateMemory(
    const PrepareOptions& options, size_t threads) const {
  LCSM_RETURN_IF_ERROR(CheckNotGrowable(options, info_.name));
  return host_->EstimateMemory(options, threads);
}

StatusOr<std::shared_ptr<const Model>> MakeDeviceModel(
    std::shared_ptr<const Model> model, std::shared_ptr<Device> device) {
  auto hyena = std::dynamic_pointer_cast<const HyenaModel>(model);
  if (hyena == nullptr) {
    return Unsupported(fmt::format(
        "models of the family {} run on the CPU only, and {} was asked for",
        model->info().family, device->info().label));
  }
  LCSM_ASSIGN_OR_RETURN(
      std::shared_ptr<const HyenaDeviceWeights> weights,
      HyenaDeviceWeights::Create(std::move(device), hyena->weights()));
  return std::shared_ptr<const Model>(
      std::make_shared<HyenaDeviceModel>(std::move(hyena), std::move(weights)));
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
  return MakeDeviceModel(std::move(model), std::move(device));
}

}  // namespace lcsm::cuda
