// Diagonal state space models with fixed modes (S4D, H3, the modal filters of
// StripedHyena 1 and 2), per channel c:
//   s_k[t] = p_k s_k[t-1] + x[t],  y[t] = skip x[t] + Re sum_k R_k s_k[t],
// which is the convolution with h[n] = Re sum_k R_k p_k^n. By recurrence
// (DiagonalSsm) or, at choice, as that long convolution (ModesAsConvolution):
// the same answers but for rounding.
// P1 and P2 hold; the state is one complex or real number a mode and channel.
// Immutable; may be shared by threads.
#pragma once

#include <complex>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "lcsm/status.h"
#include "mixers/long_convolution.h"
#include "mixers/mixer.h"

namespace lcsm {

struct DiagonalModes {
  size_t channels = 1, modes = 1;
  // [channels][modes]. Real modes have imaginary parts of zero everywhere and
  // cost half.
  std::vector<std::complex<double>> poles, residues;
  std::vector<float> skip;  // [channels] or empty.
};

// s'(t) = a s(t) + b x(t), y = 2 Re sum c s: half of conjugate pairs, as S4D
// and H3 store them.
struct ContinuousModes {
  size_t channels = 1, modes = 1;
  std::vector<std::complex<double>> a, b, c;  // [channels][modes]
  std::vector<double> dt;                     // [channels]
  std::vector<float> skip;                    // [channels] or empty.
};
enum class Discretization {
  kBilinear,       // p = (1 + a dt/2) / (1 - a dt/2), B = b dt / (1 - a dt/2)
  kZeroOrderHold,  // p = exp(a dt), B = b (p - 1) / a
};
// Residues 2 c B. Errors: sizes that do not meet.
StatusOr<DiagonalModes> Discretize(const ContinuousModes& modes,
                                   Discretization how);

// Errors, for both: no channels or modes, sizes that do not meet, a pole or
// residue that is not finite.
StatusOr<std::shared_ptr<const LongConvolution>> ModesAsConvolution(
    DiagonalModes modes);

class DiagonalSsm : public Mixer {
 public:
  static StatusOr<std::shared_ptr<const DiagonalSsm>> Create(
      const DiagonalModes& modes);

  std::string Describe() const override;
  size_t in_width() const override { return channels_; }
  size_t out_width() const override { return channels_; }
  MixerTraits traits() const override { return {true, true, true}; }
  MixerMemory Memory(size_t horizon, size_t threads) const override;
  StatusOr<std::unique_ptr<MixerState>> NewState(
      const Resources& resources) const override;

 private:
  friend class DiagonalSsmState;
  DiagonalSsm() = default;
  size_t StateFloats() const { return modes_ * channels_ * (real_ ? 1 : 2); }

  size_t channels_ = 0, modes_ = 0;
  bool real_ = false;
  // The skip, [channels]; then real parts of poles and residues and, but for
  // real modes, their imaginary parts, [modes][channels] each.
  FloatBuffer weights_;
};

}  // namespace lcsm
