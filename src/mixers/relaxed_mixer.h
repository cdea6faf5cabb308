// Convolution with a filter that the sequence itself makes, tap by tap:
//   y[t] = sum_{i <= t} x[i] rho[t - i],
// with rows x | rho of D + D floats: the input and the newest tap of each
// channel, which may depend on everything before. The work is that of
// conv::RelaxedConvolution.
//
// P1 holds. P2 holds for all but two contributions: i to t looks at positions
// up to max(i, t - i), which is t itself for i = 0 and i = t alone; these are
// the red cells, and the rest can be done before t is known. The state grows
// with the horizon. Immutable; may be shared by threads.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "conv/plan.h"
#include "lcsm/status.h"
#include "mixers/mixer.h"

namespace lcsm {

class RelaxedMixer : public Mixer {
 public:
  // By the planner's plan for its horizon, until Planned says otherwise. Error:
  // no channels.
  static StatusOr<std::shared_ptr<const RelaxedMixer>> Create(size_t channels);

  std::string Describe() const override;
  size_t in_width() const override { return 2 * channels_; }
  size_t out_width() const override { return channels_; }
  MixerTraits traits() const override { return {true, true, false}; }
  // Options as for conv::MakeRelaxedPlan, whose errors these are, and one for
  // flat latency, of which there is none. Per layer: tiles within the step.
  StatusOr<std::shared_ptr<const Mixer>> Planned(
      size_t horizon, const conv::PlanOptions& options) const override;
  const conv::Plan* plan() const override {
    return plan_.has_value() ? &*plan_ : nullptr;
  }
  bool defers() const override {
    return options_.schedule == conv::Schedule::kAcrossLayers;
  }
  // A state of 0 bytes where there is no plan for the horizon.
  MixerMemory Memory(size_t horizon, size_t threads) const override;
  StatusOr<std::unique_ptr<MixerState>> NewState(
      const Resources& resources) const override;

 private:
  RelaxedMixer() = default;
  StatusOr<conv::Plan> PlanFor(size_t horizon) const;

  size_t channels_ = 0;
  conv::PlanOptions options_;
  std::optional<conv::Plan> plan_;  // None where it has not been planned.
};

}  // namespace lcsm
