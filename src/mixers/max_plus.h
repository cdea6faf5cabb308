// Max-plus convolution, a mixer far from linear that the tiling takes all the
// same:
//   y[t][c] = max_{i <= t} (x[i][c] + f[t - i][c]).
// A decaying f makes it a running maximum that forgets; as a layer it is a
// dilation of the signal, the morphological cousin of a convolution.
//
// Tiles of any filter cost U x U sums. Where a channel's filter is concave, the
// matrix x[i] + f[t - i] of a tile is totally monotone: the last best input of
// an output moves on with the output. So every 16th output is searched by
// divide and conquer, in O(U log U) for all, and the others between their
// neighbours' inputs. "Concave" allows for rounding: a filter within kSlack *
// 2^-24 max |f| of a concave one. A maximum may then be missed by at most that
// much and two roundings for each level of the search; never is it exceeded.
//
// P1 and P2 hold. The state is two floats a position and channel. A TiledMixer.
// Immutable; may be shared by threads.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "lcsm/status.h"
#include "mixers/mixer.h"
#include "mixers/tiled.h"

namespace lcsm {

class MaxPlusConvolution {
 public:
  using Input = float;
  using Partial = float;
  using Output = float;

  static constexpr double kSlack = 8;

  // `taps` is [count][channels], finite; inputs further back count as nothing.
  // Errors: no channels or taps, a size that is no multiple, a tap that is not
  // finite, memory.
  static StatusOr<std::shared_ptr<const MaxPlusConvolution>> Create(
      size_t channels, const std::vector<float>& taps);

  size_t units() const noexcept { return channels_; }
  size_t taps() const { return taps_; }
  bool concave(size_t channel) const { return concave_[channel]; }
  size_t bytes() const { return forward_.bytes() + backward_.bytes(); }
  float None() const noexcept;
  void Aggregate(const float& later, float* earlier) const noexcept {
    if (later > *earlier) *earlier = later;
  }
  void Cont(size_t unit, size_t first_in, std::span<const float> in,
            size_t first_out, std::span<float> out) const noexcept;
  // By U x U sums: the slow twin of the search.
  void ContDirect(size_t unit, size_t first_in, std::span<const float> in,
                  size_t first_out, std::span<float> out) const noexcept;
  float Read(size_t, const float&, const float& partial) const noexcept {
    return partial;
  }

 private:
  struct Tile;
  MaxPlusConvolution() = default;
  Tile MakeTile(size_t unit, size_t first_in, std::span<const float> in,
                size_t first_out, std::span<float> out) const noexcept;
  // Blocks of rows [from, to), the best inputs of which are in [low, high].
  void Search(const Tile& tile, size_t from, size_t to, size_t low,
              size_t high) const noexcept;
  // One block of rows by all inputs in [low, high].
  void Rows(const Tile& tile, size_t block, size_t low,
            size_t high) const noexcept;

  size_t channels_ = 0, taps_ = 0;
  // [channels][taps + kMaxPlusRows], -infinity behind the taps, and backwards,
  // [channels][taps], the first tap last.
  FloatBuffer forward_, backward_;
  std::vector<bool> concave_;
};

static_assert(TiledMixer<MaxPlusConvolution>);

// Under the contract. Errors: as Create's.
StatusOr<std::shared_ptr<const Mixer>> MaxPlusMixer(
    size_t channels, const std::vector<float>& taps,
    Tiling tiling = Tiling::kBinary);

}  // namespace lcsm
