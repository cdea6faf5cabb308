// The Hyena family on a device, or split among several, behind the Model
// interface: whoever runs models need not know where they run.
//
// Rank r of a model is the r-th of its devices and has the r-th share of its
// split (split.h); the first one leads. A model on one device has one rank,
// whose share is all.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "cuda/device_tuning.h"
#include "cuda/hyena_device_weights.h"
#include "cuda/tiles.h"
#include "lcsm/status.h"
#include "models/hyena_model.h"
#include "runtime/model.h"

namespace lcsm::cuda {

class HyenaDeviceModel : public Model {
 public:
  // `weights` are the ranks'; `communicator` is null where there is one.
  // `tuning_file` as DeviceCosts has it, for the first rank's device.
  HyenaDeviceModel(
      std::shared_ptr<const HyenaModel> host,
      std::vector<std::shared_ptr<const HyenaDeviceWeights>> weights,
      std::shared_ptr<Communicator> communicator,
      std::filesystem::path tuning_file);

  const ModelInfo& info() const override { return info_; }
  // Errors besides those of HyenaModel: too little device memory, with the
  // numbers; plans with ways to compute tiles that devices do not have.
  StatusOr<std::shared_ptr<const PreparedModel>> Prepare(
      const PrepareOptions& options, ThreadPool& pool,
      const ModelState::Progress& progress) const override;
  // The devices' memory, each byte that we ask for; and the host's.
  StatusOr<ModelMemory> EstimateMemory(const PrepareOptions& options,
                                       size_t threads) const override;
  // The host's weights, and the devices: what a step's launches met is said
  // here, once a token.
  Status CheckWeights() const override;
  // As the functions below have it.
  std::vector<std::shared_ptr<Device>> devices() const;
  Status MeasureTilesAnew(const PrepareOptions& options) const;

 private:
  struct Extent {
    size_t horizon = 0, steps = 0;
  };
  StatusOr<Extent> GetExtent(const PrepareOptions& options) const;
  const HyenaConfig& config() const { return weights_.front()->config(); }
  // Of the rank that has the most channels.
  size_t MostChannels() const;
  // The plan that Prepare follows, and what it takes. Error: too little memory,
  // with the numbers.
  StatusOr<ModelMemory> Outline(const PrepareOptions& options,
                                const Extent& extent) const;
  // Of one rank.
  StatusOr<ModelMemory> Account(const Extent& extent, const conv::Plan& plan,
                                const HyenaDeviceWeights& rank) const;
  // Of all ranks: what is told of them, and of the one with the least to spare
  // its room beside the weights, and what it takes were that `most`.
  struct Fit {
    ModelMemory memory;
    size_t room = 0, takes = 0;
  };
  // `rooms` are the ranks', at most `most`.
  StatusOr<Fit> FitOf(const Extent& extent, const conv::Plan& plan,
                      const std::vector<size_t>& rooms, size_t most) const;
  Status TooLittle(const ModelMemory& memory, size_t room) const;
  // Of the steps.
  conv::Problem ProblemOf(const Extent& extent, size_t channels) const;

  const std::shared_ptr<const HyenaModel> host_;
  const std::vector<std::shared_ptr<const HyenaDeviceWeights>> weights_;
  const std::shared_ptr<Communicator> communicator_;
  ModelInfo info_;
  const std::unique_ptr<DeviceCosts> costs_;
};

// What states of one preparation share.
struct HyenaDeviceShared {
  struct Rank {
    std::shared_ptr<const HyenaDeviceWeights> weights;
    std::shared_ptr<const PreparedTiles>
        tiles;  // Null where no steps are to come.
    // Taps for known tokens, [mixer][group][num_taps][kLanes]; none where all
    // may come by steps.
    std::shared_ptr<const Array<float>> taps;
  };
  std::vector<Rank> ranks;  // At least one.
  std::shared_ptr<Communicator> communicator;
  size_t num_taps = 0;
  size_t horizon = 0;

  const HyenaConfig& config() const { return ranks.front().weights->config(); }
  bool has_steps() const { return ranks.front().tiles != nullptr; }
  size_t steps() const {
    return has_steps() ? ranks.front().tiles->plan().problem.length : 0;
  }
};

// A model like `model` whose states live on `device`; where its plans may be
// measured, costs are kept in `tuning_file`, or nowhere. Errors: families that
// run on the CPU only; those of HyenaDeviceWeights.
StatusOr<std::shared_ptr<const Model>> MakeDeviceModel(
    std::shared_ptr<const Model> model, std::shared_ptr<Device> device,
    std::filesystem::path tuning_file = {});
// The same, split among `devices`, at least one and each another. Errors
// besides: more of them than the model's channels can be shared out among; no
// library that sums over them.
StatusOr<std::shared_ptr<const Model>> MakeDeviceModel(
    std::shared_ptr<const Model> model,
    std::span<const std::shared_ptr<Device>> devices,
    std::filesystem::path tuning_file = {});

// Where a model runs, its ranks' devices in their order; none: on the CPU.
std::vector<std::shared_ptr<Device>> DevicesOf(const Model& model);
// Measures what tiles of such a preparation cost, whatever was measured before,
// and keeps that for all later ones. Errors: a model on the CPU; those of
// DeviceCosts::MeasureAnew.
Status MeasureTilesAnew(const Model& model, const PrepareOptions& options);

// What --device says: the model itself for the CPU; for `auto` the first device
// there is if the family runs on one, else the CPU. Costs are kept in
// DefaultTuningPath.
StatusOr<std::shared_ptr<const Model>> PlaceModel(
    std::shared_ptr<const Model> model, const DeviceChoice& choice);

}  // namespace lcsm::cuda
