// A short causal depthwise FIR through the contract (the filter itself and its
// formula: short_fir.h). P1 and P2 hold; the state is the last taps - 1 rows.
// Immutable; may be shared by threads.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "lcsm/status.h"
#include "mixers/mixer.h"
#include "mixers/short_fir.h"

namespace lcsm {

class FirMixer : public Mixer {
 public:
  // `w` is [channels][taps], the last tap meeting the current input; `bias` is
  // [channels] or empty. Errors: no channels or taps, a wrong size, memory.
  static StatusOr<std::shared_ptr<const FirMixer>> Create(
      size_t channels, size_t taps, const std::vector<float>& w,
      std::vector<float> bias = {});

  std::string Describe() const override;
  size_t in_width() const override { return fir_.channels(); }
  size_t out_width() const override { return fir_.channels(); }
  MixerTraits traits() const override { return {true, true, true}; }
  MixerMemory Memory(size_t horizon, size_t threads) const override;
  StatusOr<std::unique_ptr<MixerState>> NewState(
      const Resources& resources) const override;

 private:
  FirMixer() = default;
  std::vector<float> bias_;
  ShortFir fir_;
};

}  // namespace lcsm
