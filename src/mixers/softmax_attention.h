// Causal softmax attention with a cache of keys and values, for each head h and
// the head g = h / (heads / kv_heads) of keys and values that it shares:
//   score(i) = cap(scale q_h . k_g[i]) - slope[h] (t - i),  max(0, t-window+1)
//   <= i <= t,  y_h = sum_i softmax(score)(i) v_g[i],
// with rows q | k | v, heads side by side within each stream; cap(s) = c
// tanh(s / c) if there is a soft cap c (before the ALiBi bias).
//
// Rotary positions, if any, turn the first `rotary` elements of each head of q
// and k in two halves, as GPT-NeoX does: elements j and j + rotary/2 by the
// angle t / position_scale * base^(-2j/rotary). A file with interleaved pairs
// wants its rows of q and k permuted when it is read.
//
// P1 holds (aggregates are maximum, sum and weighted values), P2 does not:
// contributions look at the query. So nothing can be deferred, and the state
// grows with positions unless there is a window.
// Immutable; may be shared by threads.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "lcsm/status.h"
#include "mixers/mixer.h"

namespace lcsm {

struct SoftmaxAttentionOptions {
  size_t heads = 1;
  size_t kv_heads = 1;        // Divides heads.
  size_t key = 1;             // Width of a head of q and k.
  size_t value = 1;           // Width of a head of v and y.
  float scale = 0;            // 0: 1 / sqrt(key).
  size_t window = kNoWindow;  // Positions seen, this one included.
  size_t rotary = 0;          // Elements turned; even; 0: none.
  double rotary_base = 10000;
  double position_scale = 1;        // Positions are divided by it.
  std::vector<double> frequencies;  // [rotary / 2] instead of powers of base.
  std::vector<float> slopes;        // ALiBi, [heads], or empty.
  float soft_cap = 0;               // 0: none.

  static constexpr size_t kNoWindow = static_cast<size_t>(-1);
};

// ALiBi's slopes 2^(-8 (h+1) / heads), and for heads that are no power of two
// those of the power below, then every other one of the power above; times
// `factor`.
std::vector<float> AlibiSlopes(size_t heads, double factor = 1);

class SoftmaxAttention : public Mixer {
 public:
  // Errors: a width or window of 0; heads that kv_heads does not divide; an odd
  // rotary width or one beyond the head; a base, scale, frequency, slope or cap
  // that is not a finite number in its range, or too few of them.
  static StatusOr<std::shared_ptr<const SoftmaxAttention>> Create(
      SoftmaxAttentionOptions options);

  const SoftmaxAttentionOptions& options() const { return options_; }
  std::string Describe() const override;
  size_t in_width() const override;
  size_t out_width() const override { return options_.heads * options_.value; }
  MixerTraits traits() const override;
  MixerMemory Memory(size_t horizon, size_t threads) const override;
  StatusOr<std::unique_ptr<MixerState>> NewState(
      const Resources& resources) const override;

 private:
  SoftmaxAttention() = default;
  SoftmaxAttentionOptions options_;  // With all defaults filled in.
};

}  // namespace lcsm
