// Any model that a description says (stack_description.h), behind the Model
// interface.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lcsm/status.h"
#include "mixers/mixer_set.h"
#include "models/stack_state.h"
#include "models/stack_weights.h"
#include "runtime/model.h"

namespace lcsm {

// The stack as lines for people, a label and what stands beside it: a line for
// each part of a block, blocks that are alike together.
std::vector<std::pair<std::string, std::string>> DrawStack(
    const StackWeights& weights);

class StackModel : public Model {
 public:
  StackModel(std::shared_ptr<const StackWeights> weights, std::string name);

  const ModelInfo& info() const override { return info_; }
  StatusOr<std::shared_ptr<const PreparedModel>> Prepare(
      const PrepareOptions& options, ThreadPool& pool,
      const ModelState::Progress& progress) const override;
  StatusOr<ModelMemory> EstimateMemory(const PrepareOptions& options,
                                       size_t threads) const override;
  Status CheckWeights() const override {
    return weights_->tensors().CheckIntact();
  }

 private:
  // What the mixers are prepared with, and what known tokens' own matrices take
  // (StackPanels; 0: there are none).
  struct Extent {
    MixerSetOptions mixers;
    size_t panel_bytes = 0;
  };
  StatusOr<Extent> GetExtent(const PrepareOptions& options) const;
  Status Named(const Status& status) const;

  std::shared_ptr<const StackWeights> weights_;
  ModelInfo info_;
};

class StackPrepared : public PreparedModel {
 public:
  StackPrepared(std::shared_ptr<const StackWeights> weights,
                std::shared_ptr<const PreparedMixers> mixers,
                std::shared_ptr<const StackPanels> panels, conv::Plan plan,
                PreparedPlans plans, size_t spectra)
      : weights_(std::move(weights)),
        mixers_(std::move(mixers)),
        panels_(std::move(panels)),
        plan_(std::move(plan)),
        plans_(std::move(plans)),
        spectra_(spectra) {}

  const StackWeights& weights() const { return *weights_; }
  const PreparedMixers& mixers() const { return *mixers_; }
  const conv::Plan& plan() const override { return plan_; }
  PreparedPlans plans() const override { return plans_; }
  size_t horizon() const override { return mixers_->horizon(); }
  size_t SpectraBytes() const override { return spectra_; }
  StatusOr<std::unique_ptr<ModelState>> NewState(
      ThreadPool& pool) const override;
  StatusOr<std::unique_ptr<ModelState>> Grow(
      const ModelState& shorter) const override;

 private:
  const std::shared_ptr<const StackWeights> weights_;
  const std::shared_ptr<const PreparedMixers> mixers_;
  const std::shared_ptr<const StackPanels> panels_;  // Null: none.
  const conv::Plan plan_;  // Of the first group of long convolutions.
  const PreparedPlans plans_;
  const size_t spectra_;
};

}  // namespace lcsm
