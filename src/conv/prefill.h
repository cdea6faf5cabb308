// Causal convolution of inputs that are all known, and what they contribute to
// positions to come (design 3.7; the latter is "future fill", Agarwal et al.,
// arXiv 2410.03766).
//
// Inputs and outputs are cut into blocks of U positions. Each input block is
// transformed once, each output block is one sum of products and one inverse:
//   Y_j = sum_{i <= min(j, N-1)} X_i H_{j-i},
// where slice H_d holds the taps (d-1)U .. (d+1)U, those before the first being
// zero, so that wrapped terms land in the discarded half (design 4). Unlike the
// online tiling nothing waits for anything, so there is one block size, and it
// is as large as the caches like.
//
// Who owns what: the taps stay with their FilterBank; PrefillSpectra are made
// from them once and shared, or made anew for each call in the caller's
// scratch; inputs, outputs and pending contributions belong to the caller. What
// must never happen: an output that depends on a later input, bits that depend
// on threads.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "conv/filter_bank.h"
#include "kernels/fft_tables.h"
#include "kernels/tile_kernels.h"
#include "lcsm/status.h"

namespace lcsm::conv {

// How a call of `inputs` > 0 known positions and `following` ones is cut.
struct PrefillShape {
  size_t inputs = 1, following = 0;
  size_t block = FftTables::kMinBlock;  // U

  size_t outputs() const { return inputs + following; }
  size_t input_blocks() const { return (inputs + block - 1) / block; }
  size_t output_blocks() const { return (outputs() + block - 1) / block; }
  // Slices that it reads: distances 0 .. slices() - 1.
  size_t slices() const { return output_blocks(); }
  // Taps that those hold. Rounding depends on all of them, wanted or not: with
  // fewer in the bank the same call has other bits.
  size_t taps() const { return slices() * block; }
};

// Block sizes that calls use: few, so that spectra can be kept for each. A
// block that leaves L3 costs more than it saves.
inline constexpr size_t kSmallestPrefillBlock = 16;
inline constexpr size_t kLargestPrefillBlock = size_t{1} << 18;
inline constexpr size_t kPrefillBlockStep = 4;
// Slices that a call reads at most, but for one too long for the largest block.
inline constexpr size_t kPrefillSlices = 8;

// The block for which a call is cheapest: a function of the call alone, so that
// a sequence gets the same bits whatever longer ones its session is made for.
size_t PrefillBlock(size_t inputs, size_t following);

// Slices' spectra of filters, for one block size. Immutable once made; shared
// by threads.
class PrefillSpectra {
 public:
  PrefillSpectra() = default;
  // Of all mixers of the bank. Error: memory.
  static StatusOr<PrefillSpectra> Create(const FilterBank& filters,
                                         size_t block, size_t slices,
                                         ThreadPool& pool);
  static size_t BytesFor(size_t filter_groups, size_t block, size_t slices);

  size_t block() const { return block_; }
  size_t slices() const { return slices_; }
  // Of one filter group (mixer * groups + group), slice by slice.
  const float* Group(size_t filter_group) const {
    return buffer_.data() + filter_group * slices_ * stride_;
  }

 private:
  size_t block_ = 0, slices_ = 0, stride_ = 0;
  FloatBuffer buffer_;
};

// Does prefills with blocks of one size, group after group. One thread at a
// time may use one; its tables and scratch are its own.
class PrefillTile {
 public:
  // Room for the shape and any other that Fits says yes to; `remake`: also for
  // slices made for each group. Error: memory.
  static StatusOr<PrefillTile> Create(const PrefillShape& shape, bool remake);
  static size_t BytesFor(const PrefillShape& shape, bool remake);
  bool Fits(const PrefillShape& shape, bool remake) const;
  size_t block() const { return room_.block; }

  // Spectra of one filter group of the bank, for Run with this shape, until the
  // next call. Needs `remake`.
  const float* MakeSlices(const PrefillShape& shape, const FilterBank& filters,
                          size_t filter_group) noexcept;

  // One group. `lines` is [inputs][kLanes]: inputs on the way in, outputs on
  // the way out. `before` holds contributions of earlier inputs to these
  // positions and the following ones, [inputs + following][kLanes], or is null
  // for none; the outputs take them in. `after` gets the contributions of all
  // of them to the following positions, [following][kLanes], and may be the
  // same as `before`. `slices` are those of the group, at least
  // shape.slices().
  void Run(const PrefillShape& shape, const float* slices, float* lines,
           const float* before, float* after) noexcept;

 private:
  explicit PrefillTile(const PrefillShape& room);

  PrefillShape room_;
  FftTables tables_;
  const TileKernels* kernels_;
  size_t stride_;
  FloatBuffer memory_;
  float* scratch_ = nullptr;  // Of the transform.
  float* input_ = nullptr;    // A block filled up with zeros, [U][kLanes].
  float* output_ = nullptr;   // [U][kLanes]; [2U] where slices are made.
  float* kept_ = nullptr;     // Spectra of input blocks, [N][stride].
  float* made_ = nullptr;     // Slices, [slices][stride].
};

}  // namespace lcsm::conv
