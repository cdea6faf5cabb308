// The Hyena family behind the Model interface: HyenaDNA and safari-style
// language models of any order N >= 2 (docs/models.md).
#pragma once

#include <memory>
#include <string>

#include "conv/online_convolution.h"
#include "lcsm/status.h"
#include "models/hyena_state.h"
#include "models/hyena_weights.h"
#include "runtime/model.h"

namespace lcsm {

class HyenaPrepared;

class HyenaModel : public Model {
 public:
  HyenaModel(std::shared_ptr<const HyenaWeights> weights, std::string name);

  const ModelInfo& info() const override { return info_; }
  StatusOr<std::shared_ptr<const PreparedModel>> Prepare(
      const PrepareOptions& options, ThreadPool& pool,
      const ModelState::Progress& progress) const override;
  StatusOr<ModelMemory> EstimateMemory(const PrepareOptions& options,
                                       size_t threads) const override;
  Status CheckWeights() const override {
    return weights_->source().CheckIntact();
  }
  // For devices, which keep weights of their own made of these.
  const std::shared_ptr<const HyenaWeights>& weights() const {
    return weights_;
  }

 private:
  // What options come to.
  struct Extent {
    size_t horizon = 0;  // Not 0.
    size_t steps = 0;    // At most the horizon.
    HyenaPrefillLimits limits;
    bool growable = false;
    const HyenaPrepared* shorter = nullptr;
  };
  // Errors: a horizon beyond the model's limit; growth with fewer steps than
  // positions, or from what is no shorter preparation.
  StatusOr<Extent> GetExtent(const PrepareOptions& options) const;
  // Of the steps; a plan without levels where there are none. Errors: beyond
  // the memory limit.
  StatusOr<conv::Plan> MakePlan(const PrepareOptions& options,
                                const Extent& extent) const;
  // Bytes of a run but for the convolutions of its steps.
  size_t ActivationBytes(const Extent& extent, size_t threads) const;
  size_t PrefillBytes(const Extent& extent, size_t threads) const;

  std::shared_ptr<const HyenaWeights> weights_;
  ModelInfo info_;
};

class HyenaPrepared : public PreparedModel {
 public:
  HyenaPrepared(HyenaState::Shared shared, conv::Plan plan)
      : shared_(std::move(shared)), plan_(std::move(plan)) {}

  const HyenaState::Shared& shared() const { return shared_; }
  const conv::Plan& plan() const override { return plan_; }
  size_t horizon() const override { return shared_.horizon; }
  size_t SpectraBytes() const override { return plan_.Memory(1).spectra; }
  StatusOr<std::unique_ptr<ModelState>> NewState(
      ThreadPool& pool) const override;
  StatusOr<std::unique_ptr<ModelState>> Grow(
      const ModelState& shorter) const override;

 private:
  const HyenaState::Shared shared_;
  const conv::Plan plan_;
};

}  // namespace lcsm
