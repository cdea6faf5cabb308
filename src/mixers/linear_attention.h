// Linear attention and its gated variants, for each head:
//   S <- diag(g) S + f(k) v^T,   z <- g z + f(k)
//   y = f(scale q) S  or, normalised,  f(scale q) S / (f(scale q) . z +
//   epsilon)
// with rows q | k | v | g, heads side by side within each stream; f maps
// elements. The gate g, if there is one, is in [0, 1] and one of: a constant of
// the head (RetNet), one number a head (Mamba-2, with q, k, v = C, B, dt x), or
// one for each element of the key (GLA).
//
// P1 and P2 hold, as for a selective SSM. The state is key x value floats a
// head, and a key more if normalised.
// Immutable; may be shared by threads.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "lcsm/status.h"
#include "mixers/mixer.h"

namespace lcsm {

struct LinearAttentionOptions {
  enum class Feature {
    kIdentity,
    kRelu,
    kEluPlusOne,  // x + 1 for x > 0, exp(x) below.
  };
  enum class Gate {
    kNone,
    kConstant,  // decay[head]
    kHead,      // A stream of [heads].
    kKey,       // A stream of [heads][key].
  };
  size_t heads = 1;
  size_t key = 1, value = 1;  // Of one head.
  Feature feature = Feature::kIdentity;
  Gate gate = Gate::kNone;
  std::vector<float> decay;  // [heads], of kConstant.
  float scale = 1;
  bool normalise = false;
  float epsilon = 1e-6f;
};

class LinearAttention : public Mixer {
 public:
  // Errors: a width of 0, decays of another number than heads or outside [0,
  // 1], an epsilon below 0.
  static StatusOr<std::shared_ptr<const LinearAttention>> Create(
      LinearAttentionOptions options);

  const LinearAttentionOptions& options() const { return options_; }
  std::string Describe() const override;
  size_t in_width() const override;
  size_t out_width() const override { return options_.heads * options_.value; }
  MixerTraits traits() const override { return {true, true, true}; }
  MixerMemory Memory(size_t horizon, size_t threads) const override;
  StatusOr<std::unique_ptr<MixerState>> NewState(
      const Resources& resources) const override;

 private:
  LinearAttention() = default;
  LinearAttentionOptions options_;
};

}  // namespace lcsm
