#include "cuda/hyena_device_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/byte_text.h"
#include "cuda/device_plan.h"
#include "cuda/hyena_device_filters.h"
#include "cuda/hyena_device_prefill.h"
#include "cuda/hyena_device_state.h"
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
    size_t bytes = 0;
    for (const HyenaDeviceShared::Rank& rank : shared_.ranks) {
      if (rank.tiles != nullptr) bytes += rank.tiles->spectra_bytes();
    }
    return bytes;
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

// One sequence's: batch rows of a model that is split take their steps on all
// ranks.
StatusOr<Split> SplitOf(const HyenaConfig& config, size_t ranks) {
  return MakeSplit({.rows = 1,
                    .channels = config.width,
                    .inner = config.inner,
                    .layers = config.layers},
                   ranks);
}

// The filters of a rank's channels.
DeviceFilterPart FiltersOf(const HyenaDeviceWeights& rank, size_t lags) {
  DeviceFilterPart part = DeviceFilterPart::All(rank.config(), lags);
  part.first_channel = rank.share().first_channel;
  part.channels = rank.share().channels;
  return part;
}

}  // namespace

HyenaDeviceModel::HyenaDeviceModel(
    std::shared_ptr<const HyenaModel> host,
    std::vector<std::shared_ptr<const HyenaDeviceWeights>> weights,
    std::shared_ptr<Communicator> communicator,
    std::filesystem::path tuning_file)
    : host_(std::move(host)),
      weights_(std::move(weights)),
      communicator_(std::move(communicator)),
      info_(host_->info()),
      costs_(std::make_unique<DeviceCosts>(weights_.front()->shared_device(),
                                           std::move(tuning_file))) {
  for (size_t r = 0; r < weights_.size(); ++r) {
    const DeviceInfo& device = weights_[r]->device().info();
    std::string text = fmt::format("{}, {}", device.label, device.name);
    if (weights_.size() == 1) {
      info_.details.emplace_back("device", std::move(text));
      continue;
    }
    const Share& share = weights_[r]->share();
    // A label each: `inspect --json` keeps them by label.
    info_.details.emplace_back(
        fmt::format("device of rank {}", r),
        fmt::format("{}, channels {} to {}", text, share.first_channel,
                    share.first_channel + share.channels - 1));
  }
}

Status HyenaDeviceModel::CheckWeights() const {
  LCSM_RETURN_IF_ERROR(host_->CheckWeights());
  for (const auto& rank : weights_) {
    LCSM_RETURN_IF_ERROR(rank->device().status());
  }
  return OkStatus();
}

size_t HyenaDeviceModel::MostChannels() const {
  size_t most = 0;
  for (const auto& rank : weights_) {
    most = std::max(most, rank->share().channels);
  }
  return most;
}

conv::Problem HyenaDeviceModel::ProblemOf(const Extent& extent,
                                          size_t channels) const {
  conv::Problem problem;
  problem.mixers = config().layers * config().convolutions();
  problem.channels = channels;
  problem.length = problem.taps = extent.steps;
  // Histories are whole, and any session may begin with the contributions of
  // known tokens.
  problem.primed = true;
  return problem;
}

StatusOr<HyenaDeviceModel::Extent> HyenaDeviceModel::GetExtent(
    const PrepareOptions& options) const {
  const size_t most = config().max_length;
  LCSM_RETURN_IF_ERROR(CheckOneExecutor(info_.name, options));
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

StatusOr<ModelMemory> HyenaDeviceModel::Account(
    const Extent& extent, const conv::Plan& plan,
    const HyenaDeviceWeights& rank) const {
  const Share& share = rank.share();
  Device& device = rank.device();
  LCSM_ASSIGN_OR_RETURN(ModelMemory memory, MemoryOn(device));
  if (weights_.size() > 1) memory.uncounted += ", NCCL's buffers among it";
  memory.weights = rank.bytes();
  memory.activations =
      HyenaDeviceState::BytesFor(config(), share, extent.steps != 0);
  const DeviceFilterPart filters = FiltersOf(rank, extent.horizon);
  memory.host = DeviceFilterHostBytes(config(), filters);
  const size_t all_taps = DeviceTapsSize(config(), filters) * sizeof(float);
  // Filters are evaluated before anything is made of them.
  memory.preparing =
      memory.weights + all_taps + DeviceFilterBytes(config(), filters);
  size_t known_taps = 0;
  if (extent.steps != extent.horizon) {
    known_taps = all_taps;
    memory.prefill =
        known_taps + HyenaDevicePrefill::BytesFor(
                         device, config(), share,
                         rank.layers().front().in_proj.rounded(),
                         extent.horizon - extent.steps, extent.steps);
  }
  if (extent.steps != 0) {
    conv::Plan own = plan;
    own.problem.channels = share.channels;
    LCSM_ASSIGN_OR_RETURN(memory.convolution,
                          PreparedTiles::BytesFor(device, own));
    memory.preparing =
        std::max(memory.preparing,
                 memory.weights + known_taps + memory.convolution.taps +
                     memory.convolution.spectra + memory.convolution.making);
  }
  memory.plan = plan;
  return memory;
}

StatusOr<HyenaDeviceModel::Fit> HyenaDeviceModel::FitOf(
    const Extent& extent, const conv::Plan& plan,
    const std::vector<size_t>& rooms, size_t most) const {
  Fit fit;
  std::vector<ModelMemory> ranks;
  size_t tightest = 0, host = 0;
  for (size_t r = 0; r < weights_.size(); ++r) {
    LCSM_ASSIGN_OR_RETURN(ModelMemory memory,
                          Account(extent, plan, *weights_[r]));
    const size_t takes = memory.Total() - memory.weights + (most - rooms[r]);
    if (r == 0 || takes > fit.takes) {
      fit.takes = takes;
      fit.room = rooms[r];
      tightest = r;
    }
    host = std::max(host, memory.host);  // They take their turns.
    ranks.push_back(std::move(memory));
  }
  fit.memory = ranks[tightest];
  fit.memory.host = host;
  if (ranks.size() > 1) fit.memory.ranks = std::move(ranks);
  return fit;
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
  std::vector<size_t> rooms;
  for (const auto& rank : weights_) {
    LCSM_ASSIGN_OR_RETURN(size_t room, rank->device().FreeBytes());
    if (options.memory_limit != 0) {
      if (options.memory_limit <= rank->bytes()) {
        return InvalidInput(fmt::format(
            "{}: weights alone take {} on {}, and the memory limit is {}",
            info_.name, ByteText(rank->bytes()), rank->device().info().label,
            ByteText(options.memory_limit)));
      }
      room = std::min(room, options.memory_limit - rank->bytes());
    }
    rooms.push_back(room);
  }
  const size_t most = *std::max_element(rooms.begin(), rooms.end());
  conv::Plan plan;
  plan.problem = ProblemOf(extent, config().width);
  // Without steps, what a session file says is what a longer session goes by.
  plan.method = options.plan.method;
  plan.schedule = options.plan.schedule;
  if (extent.steps != 0) {
    // As a rank with the most channels wants it, and all have the same.
    const DeviceRoom room = {
        most, [&](const conv::Plan& candidate) -> StatusOr<size_t> {
          conv::Plan whole = candidate;
          whole.problem.channels = config().width;
          LCSM_ASSIGN_OR_RETURN(const Fit fit,
                                FitOf(extent, whole, rooms, most));
          return fit.takes;
        }};
    LCSM_ASSIGN_OR_RETURN(
        plan, ChooseDevicePlan(*costs_, ProblemOf(extent, MostChannels()),
                               options, room));
    plan.problem.channels = config().width;
  }
  LCSM_ASSIGN_OR_RETURN(Fit fit, FitOf(extent, plan, rooms, most));
  if (fit.takes > most) return TooLittle(fit.memory, fit.room);
  return std::move(fit.memory);
}

StatusOr<std::shared_ptr<const PreparedModel>> HyenaDeviceModel::Prepare(
    const PrepareOptions& options, ThreadPool& pool,
    const ModelState::Progress& progress) const {
  LCSM_RETURN_IF_ERROR(CheckNotGrowable(options, info_.name));
  LCSM_ASSIGN_OR_RETURN(const Extent extent, GetExtent(options));
  LCSM_ASSIGN_OR_RETURN(ModelMemory outline, Outline(options, extent));
  conv::Plan plan = std::move(outline.plan);
  HyenaDeviceShared shared;
  shared.communicator = communicator_;
  shared.horizon = extent.horizon;
  const size_t steps = extent.steps;
  // Known tokens want the taps of all positions, steps those of theirs.
  // Each rank evaluates the filters of its own channels.
  const double ranks = static_cast<double>(weights_.size());
  for (const auto& weights : weights_) {
    const double before = static_cast<double>(shared.ranks.size());
    const auto told = [&](double done) {
      return !progress || progress((before + done) / ranks);
    };
    HyenaDeviceShared::Rank& rank = shared.ranks.emplace_back();
    rank.weights = weights;
    const std::shared_ptr<Device>& device = weights->shared_device();
    LCSM_ASSIGN_OR_RETURN(
        Array<float> taps,
        MakeDeviceTaps(device, weights->host(),
                       FiltersOf(*weights, shared.horizon), pool, told));
    if (steps != shared.horizon) {
      shared.num_taps = shared.horizon;
      rank.taps = std::make_shared<const Array<float>>(std::move(taps));
      if (steps != 0) {
        LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<Queue> queue,
                              device->NewQueue(false));
        const size_t filters = rank.taps->size() / (shared.num_taps * kLanes);
        LCSM_ASSIGN_OR_RETURN(
            taps, FirstTaps(*device, *rank.taps, filters, steps, *queue));
      }
    }
    if (steps != 0) {
      conv::Plan own = plan;
      own.problem.channels = weights->share().channels;
      LCSM_ASSIGN_OR_RETURN(
          rank.tiles,
          PreparedTiles::Create(device, std::move(own), std::move(taps)));
    }
  }
  // Each rank has read all positions, and nobody reads them again.
  for (size_t layer = 0; layer < config().layers; ++layer) {
    DropHyenaPositions(*host_->weights(), layer, shared.horizon);
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
  if (extent.steps != 0) {
    memory.tile_costs = TileCostsOf(*costs_, ProblemOf(extent, MostChannels()),
                                    options.device_costs);
  }
  return memory;
}

Status HyenaDeviceModel::MeasureTilesAnew(const PrepareOptions& options) const {
  LCSM_ASSIGN_OR_RETURN(const Extent extent, GetExtent(options));
  return costs_->MeasureAnew(ProblemOf(extent, MostChannels()),
                             TilesOf(options.plan));
}

std::vector<std::shared_ptr<Device>> HyenaDeviceModel::devices() const {
  std::vector<std::shared_ptr<Device>> devices;
  for (const auto& rank : weights_) devices.push_back(rank->shared_device());
  return devices;
}

std::vector<std::shared_ptr<Device>> DevicesOf(const Model& model) {
  const auto* const hyena = dynamic_cast<const HyenaDeviceModel*>(&model);
  return hyena == nullptr ? std::vector<std::shared_ptr<Device>>()
                          : hyena->devices();
}

Status MeasureTilesAnew(const Model& model, const PrepareOptions& options) {
  const auto* const hyena = dynamic_cast<const HyenaDeviceModel*>(&model);
  if (hyena == nullptr) {
    return InvalidInput(
        fmt::format("the model {} runs on the CPU, expected one on a device",
                    model.info().name));
  }
  return hyena->MeasureTilesAnew(options);
}

StatusOr<std::shared_ptr<const Model>> MakeDeviceModel(
    std::shared_ptr<const Model> model, std::shared_ptr<Device> device,
    std::filesystem::path tuning_file) {
  return MakeDeviceModel(std::move(model), std::span(&device, 1),
                         std::move(tuning_file));
}

StatusOr<std::shared_ptr<const Model>> MakeDeviceModel(
    std::shared_ptr<const Model> model,
    std::span<const std::shared_ptr<Device>> devices,
    std::filesystem::path tuning_file) {
  auto hyena = std::dynamic_pointer_cast<const HyenaModel>(model);
  if (hyena == nullptr) {
    return Unsupported(fmt::format(
        "models of the family {} run on the CPU only, and {} was asked for",
        model->info().family, devices.front()->info().label));
  }
  LCSM_ASSIGN_OR_RETURN(const Split split,
                        SplitOf(hyena->weights()->config(), devices.size()));
  std::shared_ptr<Communicator> communicator;
  if (devices.size() > 1) {
    LCSM_ASSIGN_OR_RETURN(communicator,
                          devices.front()->NewCommunicator(devices));
  }
  std::vector<std::shared_ptr<const HyenaDeviceWeights>> ranks;
  for (size_t r = 0; r < devices.size(); ++r) {
    LCSM_ASSIGN_OR_RETURN(std::shared_ptr<const HyenaDeviceWeights> rank,
                          HyenaDeviceWeights::Create(
                              devices[r], hyena->weights(), split.shares[r]));
    ranks.push_back(std::move(rank));
  }
  return std::shared_ptr<const Model>(std::make_shared<HyenaDeviceModel>(
      std::move(hyena), std::move(ranks), std::move(communicator),
      std::move(tuning_file)));
}

StatusOr<std::shared_ptr<const Model>> PlaceModel(
    std::shared_ptr<const Model> model, const DeviceChoice& choice) {
  if (choice.kind == DeviceChoice::Kind::kCpu) return model;
  const auto hyena = std::dynamic_pointer_cast<const HyenaModel>(model);
  if (choice.kind == DeviceChoice::Kind::kAuto) {
    const bool runs =
        hyena != nullptr && model->info().weight_format != "int8" &&
        model->info().order + 1 <= LinearKernel<float, 1>::kMaxStreams;
    if (!runs || CudaDeviceCount() == 0) return model;
  }
  if (hyena != nullptr) {
    // Before any device is opened, which takes a while.
    LCSM_RETURN_IF_ERROR(
        SplitOf(hyena->weights()->config(), choice.indices.size()).status());
  }
  std::vector<std::shared_ptr<Device>> devices;
  for (const int index : choice.indices) {
    LCSM_ASSIGN_OR_RETURN(std::shared_ptr<Device> device,
                          OpenCudaDevice(index));
    devices.push_back(std::move(device));
  }
  std::filesystem::path file = DefaultTuningPath(devices.front()->info());
  return MakeDeviceModel(std::move(model), devices, std::move(file));
}

}  // namespace lcsm::cuda
