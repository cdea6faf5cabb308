// The Hyena family on a device, behind the Model interface: whoever runs models
// need not know where they run.
#pragma once

#include <filesystem>
#include <memory>

#include "cuda/device_tuning.h"
#include "cuda/hyena_device_weights.h"
#include "cuda/tiles.h"
#include "lcsm/status.h"
#include "models/hyena_model.h"
#include "runtime/model.h"

namespace lcsm::cuda {

class HyenaDeviceModel : public Model {
 public:
  // `tuning_file` as DeviceCosts has it.
  HyenaDeviceModel(std::shared_ptr<const HyenaModel> host,
                   std::shared_ptr<const HyenaDeviceWeights> weights,
                   std::filesystem::path tuning_file);

  const ModelInfo& info() const override { return info_; }
  // Errors besides those of HyenaModel: too little device memory, with the
  // numbers; plans with ways to compute tiles that devices do not have.
  StatusOr<std::shared_ptr<const PreparedModel>> Prepare(
      const PrepareOptions& options, ThreadPool& pool,
      const ModelState::Progress& progress) const override;
  // The device's memory, each byte that we ask for; and the host's.
  StatusOr<ModelMemory> EstimateMemory(const PrepareOptions& options,
                                       size_t threads) const override;
  // The host's weights, and the device: what a step's launches met is said
  // here, once a token.
  Status CheckWeights() const override;

 private:
  struct Extent {
    size_t horizon = 0, steps = 0;
  };
  StatusOr<Extent> GetExtent(const PrepareOptions& options) const;
  // The plan that Prepare follows, and what it takes. Error: too little memory,
  // with the numbers.
  StatusOr<ModelMemory> Outline(const PrepareOptions& options,
                                const Extent& extent) const;
  StatusOr<ModelMemory> Account(const Extent& extent, conv::Plan plan) const;
  Status TooLittle(const ModelMemory& memory, size_t room) const;
  // Levels by what is known of tiles on this device, or is measured now.
  StatusOr<conv::Plan> LevelsFor(const conv::Problem& problem,
                                 const conv::PlanOptions& options,
                                 bool measure) const;

  const std::shared_ptr<const HyenaModel> host_;
  const std::shared_ptr<const HyenaDeviceWeights> weights_;
  ModelInfo info_;
  const std::unique_ptr<DeviceCosts> costs_;
};

// What states of one preparation share.
struct HyenaDeviceShared {
  std::shared_ptr<const HyenaDeviceWeights> weights;
  std::shared_ptr<const PreparedTiles>
      tiles;  // Null where no steps are to come.
  // Taps for known tokens, [mixer][group][num_taps][kLanes]; none where all may
  // come by steps.
  std::shared_ptr<const Array<float>> taps;
  size_t num_taps = 0;
  size_t horizon = 0;
  size_t steps() const {
    return tiles == nullptr ? 0 : tiles->plan().problem.length;
  }
};

// A model like `model` whose states live on `device`; where its plans may be
// measured, costs are kept in `tuning_file`, or nowhere. Errors: families that
// run on the CPU only; those of HyenaDeviceWeights.
StatusOr<std::shared_ptr<const Model>> MakeDeviceModel(
    std::shared_ptr<const Model> model, std::shared_ptr<Device> device,
    std::filesystem::path tuning_file = {});

// What --device says: the model itself for the CPU; for `auto` the first device
// there is if the family runs on one, else the CPU. Costs are kept in
// DefaultTuningPath.
StatusOr<std::shared_ptr<const Model>> PlaceModel(
    std::shared_ptr<const Model> model, const DeviceChoice& choice);

}  // namespace lcsm::cuda
