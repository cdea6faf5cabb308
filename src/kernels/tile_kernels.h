// Kernels of online convolution over one group of kLanes channels, for the SIMD
// target in force.
//
// A tile takes n_in inputs x that end just before the n_out accumulators acc
// and adds
//     acc[j] += sum_{i < n_in} x[i] * taps[n_in + j - i]        (0 <= j <
//     n_out)
// to them, taps at or beyond num_taps counting as zero. x, acc and taps are
// [time][kLanes], 64-byte aligned; taps must be followed by kTapSlack lines of
// zeros. x and acc do not overlap, but for Accumulators::kFresh.
//
// All kernels are pure functions of their arguments; nothing is shared. An
// output's bits depend on n_in, on its own j and on the target, never on n_out:
// cutting a tile short changes nothing. Slow twin: ref/tile_ref.h.
#pragma once

#include <cstddef>

#include "kernels/fft_parts.h"
#include "kernels/fft_tables.h"
#include "kernels/lanes.h"

namespace lcsm {

// How many products are summed before their sum joins the next one up. A plain
// float32 running sum over 2^20 terms misses the error bound of design 6 (1e-5
// of max |y|); with blocks of 256 below it is sums of 256 and then of 4096
// terms, whose rounding errors are 1/45 of that.
inline constexpr size_t kSumBlock = 256;

// Spectra of blocks of U inputs and of slices of a filter, for fft_blocks. All
// pointers are to SpectrumFloats() floats of one group in the target's order.
struct BlockSum {
  // Where the new block's spectrum goes; null if nobody will want it again.
  float* newest = nullptr;
  // `newest` already holds the sum over all older blocks (left there by the
  // tile before through `next`); no older terms are then wanted.
  bool continues = false;
  // Null, or where the same blocks' sum for the output block after this one
  // goes. Wants one slice more.
  float* next = nullptr;
  // The block before the new one, and older ones each `stride` floats lower;
  // after them, blocks from `wrapped` downward (a ring's other end).
  const float* older = nullptr;
  size_t older_terms = 0;
  const float* wrapped = nullptr;
  size_t wrapped_terms = 0;
  size_t stride = 0;
  // The slice that meets the new block; those of older blocks follow, each
  // `taps_stride` floats higher.
  const float* taps = nullptr;
  size_t taps_stride = 0;
};

// What stands in the accumulators of a transform's tile.
enum class Accumulators {
  kOpen,   // Sums so far, which the tile adds to.
  kFresh,  // Anything: the tile writes what it would have added to zeros. They
           // may then be the very lines of its inputs.
};

struct TileKernels {
  const char* target;  // "AVX2" and so on, as Highway names it.
  size_t lanes;  // Floats in a register; kLanes / lanes passes over a group.

  // Output by output, one dot product each. The lazy method is this with n_out
  // = 1.
  void (*direct)(const float* x, const float* taps, size_t num_taps,
                 size_t n_in, size_t n_out, float* acc);
  // The same sums with several outputs and inputs held in registers at a time.
  void (*direct_blocked)(const float* x, const float* taps, size_t num_taps,
                         size_t n_in, size_t n_out, float* acc);
  // One input to many outputs (n_in = 1), streaming. The eager method.
  void (*scatter)(const float* x, const float* taps, size_t num_taps,
                  size_t n_out, float* acc);

  // Red cells of `groups` groups, and with them the tile that falls due right
  // after if it is tiny: y = line + x * head[0], line becomes x, and
  //   kOne:      next line       += x * head[1]                        (U = 1)
  //   kTwo:      next line       += before * head[2] + x * head[1]     (U = 2)
  //              the one after   += before * head[3] + x * head[2]
  //   kTwoToOne: kTwo without its second line, at the end of a sequence
  // where `before` is the line before. A pass of their own over all histories
  // would cost these blocks more than their arithmetic. `line` points at the
  // first group's line of this position, the others follow at `stride` floats;
  // x and y are [groups][kLanes], unaligned, y may be x; head is
  // [groups][kHeadTaps][kLanes].
  enum class Follow { kNone, kOne, kTwo, kTwoToOne };
  void (*red)(const float* x, const float* head, size_t groups, size_t stride,
              Follow follow, float* line, float* y);

  // Spectrum of taps[0 .. 2U) (zero from num_taps on), scaled by 1/U, in the
  // order and shape that fft_tile reads: tables.SpectrumFloats() floats,
  // private to the target. Scratch not needed.
  void (*fft_spectrum)(const FftTables& tables, const float* taps,
                       size_t num_taps, float* spectrum);
  // The tile with n_in = U = tables.block() and n_out <= U: forward transform,
  // product and inverse in one depth-first descent. scratch:
  // FftScratchFloats(block) floats.
  void (*fft_tile)(const FftTables& tables, const float* x,
                   const float* spectrum, size_t n_out, float* acc,
                   Accumulators accumulators, float* scratch);

  // A tile of an R-ary tiling (design 3.5; semi-relaxed products, van der
  // Hoeven 1997): transforms the U inputs x, adds its product with the first
  // slice to those of older blocks with theirs, and the inverse of that sum to
  // acc. Slice d is fft_spectrum of the taps from (d - 1) U on. Scratch as for
  // fft_tile.
  void (*fft_blocks)(const FftTables& tables, const float* x,
                     const BlockSum& sum, size_t n_out, float* acc,
                     Accumulators accumulators, float* scratch);

  // The same tile in pieces: all of MakeFftParts(tables, ..) in order for lane
  // 0, then for lane `lanes` and so on while it is below kLanes, with the same
  // arguments throughout and nobody else writing to scratch. The outputs are
  // stored in `out`, not added, and have the bits that fft_blocks adds.
  void (*fft_blocks_part)(const FftTables& tables, const FftPart& part,
                          size_t lane, const float* x, const BlockSum& sum,
                          size_t n_out, float* out, float* scratch);

  // Two tiles of the same outputs over blocks and slices of their own: what
  // fft_blocks adds for (x, one) and for (y, two), up to rounding, by a single
  // inverse transform. Relaxed products, where both operands stream. The two
  // keep and leave spectra as in fft_blocks. Scratch: that of two.
  void (*fft_blocks_two)(const FftTables& tables, const float* x,
                         const BlockSum& one, const float* y,
                         const BlockSum& two, size_t n_out, float* acc,
                         float* scratch);
  // The same with one block each, as fft_tile: x with the spectrum `one`, y
  // with `two`.
  void (*fft_tile_two)(const FftTables& tables, const float* x,
                       const float* one, const float* y, const float* two,
                       size_t n_out, float* acc, float* scratch);

  // One register's worth of channels at a time.
  size_t FftScratchFloats(size_t block) const { return 2 * block * lanes; }
};

// The table for the best target this CPU has, or the one forced. Valid for
// ever.
const TileKernels& GetTileKernels();

}  // namespace lcsm
