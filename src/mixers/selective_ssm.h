// The selective state space of Mamba (S6), for D channels of N states:
//   s[d][n] <- exp(delta[d] A[d][n]) s[d][n] + delta[d] B[n] x[d]
//   y[d] = sum_n C[n] s[d][n] + skip[d] x[d]
// with rows x | delta | B | C of D + D + N + N floats. Making delta (its
// projection, bias and softplus), B and C is the stack's matter, as are the
// short FIR before and the gate behind.
//
// P1 and P2 hold with maps s -> a s + b as contributions and their composition
// as the aggregate. The state is D N floats. Known positions are taken in by a
// scan along time for each range of channels: with a state of this size in the
// caches and all channels side by side in registers, a scan that is parallel
// along time would do twice the work.
// Immutable; may be shared by threads.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "lcsm/status.h"
#include "mixers/mixer.h"

namespace lcsm {

class SelectiveSsm : public Mixer {
 public:
  // `a` is [channels][states] (Mamba stores log(-a)), `skip` [channels] or
  // empty. Errors: no channels or states, sizes that do not meet, a rate that
  // is not finite or above 0 (the state would explode).
  static StatusOr<std::shared_ptr<const SelectiveSsm>> Create(
      size_t channels, size_t states, const std::vector<float>& a,
      const std::vector<float>& skip = {});

  std::string Describe() const override;
  size_t in_width() const override { return 2 * (channels_ + states_); }
  size_t out_width() const override { return channels_; }
  MixerTraits traits() const override { return {true, true, true}; }
  MixerMemory Memory(size_t horizon, size_t threads) const override;
  StatusOr<std::unique_ptr<MixerState>> NewState(
      const Resources& resources) const override;

 private:
  friend class SelectiveSsmState;
  SelectiveSsm() = default;
  size_t channels_ = 0, states_ = 0;
  FloatBuffer weights_;  // [1 + states][channels]: the skip, then A.
};

}  // namespace lcsm
