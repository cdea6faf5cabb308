// The fused transform tile with Highway. Compiled once a target; contracts in
// tile_kernels.h, the mathematics in fft_tables.h.
//
// Work and spectra are [sub-group][n][re, im][lanes]: one register's worth of
// channels at a time, so that all butterflies are vertical and the working set
// is as small as the target allows. A tile of U points goes down depth first:
// split the block, finish each of the four parts (down to blocks of 4, where
// the product with the spectrum and the first inverse pass happen in
// registers), join on the way back. Once a part fits in a cache, all of its
// remaining passes run there.

#include <cstddef>

#include "kernels/fft_tables.h"
#include "kernels/lanes.h"

#if defined(LCSM_KERNELS_CPU_FFT_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LCSM_KERNELS_CPU_FFT_TILE_INL_H_
#undef LCSM_KERNELS_CPU_FFT_TILE_INL_H_
#else
#define LCSM_KERNELS_CPU_FFT_TILE_INL_H_
#endif

#include "hwy/cache_control.h"  // Prefetch
#include "hwy/highway.h"
#include "kernels/cpu/fft_passes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lcsm {
namespace HWY_NAMESPACE {

// Points ahead of which a leaf asks for the spectrum. Spectra stream past from
// L2 or beyond, in the order of the leaves, while the work stays near: asked
// for a block of 16 early, tiles of 128 to 8 192 positions take 5 to 8 % less
// (AVX-512 and AVX2; 64 and 256 points ahead, or into L2 only, gain less).
constexpr size_t kAhead = 16;

// A block of 4: split, product with the spectrum, join, all in registers.
HWY_INLINE void Leaf(LaneTag d, const float* roots,
                     const float* HWY_RESTRICT spectrum,
                     float* HWY_RESTRICT work) {
  const size_t point = 2 * hn::Lanes(d);
  // One request a line; behind the end there is nothing that could be hurt.
  for (size_t line = 0; line < 4 * point; line += kLanes) {
    hwy::Prefetch(spectrum + kAhead * point + line);
  }
  const Roots r = LoadRoots(d, roots);
  Complex b0, b1, b2, b3, a0, a1, a2, a3;
  SplitFour(d, LoadC(d, work), LoadC(d, work + point),
            LoadC(d, work + 2 * point), LoadC(d, work + 3 * point), r, b0, b1,
            b2, b3);
  b0 = MulC(b0, LoadC(d, spectrum));
  b1 = MulC(b1, LoadC(d, spectrum + point));
  b2 = MulC(b2, LoadC(d, spectrum + 2 * point));
  b3 = MulC(b3, LoadC(d, spectrum + 3 * point));
  InverseDft4(b0, b1, b2, b3, a0, a1, a2, a3);
  StoreC(d, a0, work);
  StoreC(d, MulConjC(a1, r.r1), work + point);
  StoreC(d, MulConjC(a2, r.r2), work + 2 * point);
  StoreC(d, MulConjC(a3, r.r3), work + 3 * point);
}

// Transform, product and inverse of block number `index` of `depth`, n points
// from `work` on.
void Descend(const FftTables& tables, size_t depth, size_t index, size_t n,
             const float* HWY_RESTRICT spectrum, float* HWY_RESTRICT work) {
  const LaneTag d;
  const size_t quarter = n / 4 * 2 * hn::Lanes(d);
  const float* roots = tables.Roots(depth) + 6 * index;
  if (n == 4) {
    Leaf(d, roots, spectrum, work);
    return;
  }
  SplitBlock(d, n, roots, work);
  if (n == 16) {  // The common bottom, without calls.
    const float* leaf_roots = tables.Roots(depth + 1) + 24 * index;
    for (size_t k = 0; k < 4; ++k) {
      Leaf(d, leaf_roots + 6 * k, spectrum + k * quarter, work + k * quarter);
    }
  } else {
    for (size_t k = 0; k < 4; ++k) {
      Descend(tables, depth + 1, 4 * index + k, n / 4, spectrum + k * quarter,
              work + k * quarter);
    }
  }
  JoinBlock(d, n, roots, work);
}

// Leaf with a second block, whose product joins that of the first.
HWY_INLINE void LeafTwo(LaneTag d, const float* roots,
                        const float* HWY_RESTRICT one,
                        const float* HWY_RESTRICT two, float* HWY_RESTRICT work,
                        const float* HWY_RESTRICT other) {
  const size_t point = 2 * hn::Lanes(d);
  const Roots r = LoadRoots(d, roots);
  Complex b0, b1, b2, b3, c0, c1, c2, c3;
  SplitFour(d, LoadC(d, work), LoadC(d, work + point),
            LoadC(d, work + 2 * point), LoadC(d, work + 3 * point), r, b0, b1,
            b2, b3);
  b0 = MulC(b0, LoadC(d, one));
  b1 = MulC(b1, LoadC(d, one + point));
  b2 = MulC(b2, LoadC(d, one + 2 * point));
  b3 = MulC(b3, LoadC(d, one + 3 * point));
  SplitFour(d, LoadC(d, other), LoadC(d, other + point),
            LoadC(d, other + 2 * point), LoadC(d, other + 3 * point), r, c0, c1,
            c2, c3);
  b0 = AddC(b0, MulC(c0, LoadC(d, two)));
  b1 = AddC(b1, MulC(c1, LoadC(d, two + point)));
  b2 = AddC(b2, MulC(c2, LoadC(d, two + 2 * point)));
  b3 = AddC(b3, MulC(c3, LoadC(d, two + 3 * point)));
  InverseDft4(b0, b1, b2, b3, c0, c1, c2, c3);
  StoreC(d, c0, work);
  StoreC(d, MulConjC(c1, r.r1), work + point);
  StoreC(d, MulConjC(c2, r.r2), work + 2 * point);
  StoreC(d, MulConjC(c3, r.r3), work + 3 * point);
}

// Two blocks down, their products' sum up.
void DescendTwo(const FftTables& tables, size_t depth, size_t index, size_t n,
                const float* HWY_RESTRICT one, const float* HWY_RESTRICT two,
                float* HWY_RESTRICT work, float* HWY_RESTRICT other) {
  const LaneTag d;
  const size_t quarter = n / 4 * 2 * hn::Lanes(d);
  const float* roots = tables.Roots(depth) + 6 * index;
  if (n == 4) {
    LeafTwo(d, roots, one, two, work, other);
    return;
  }
  SplitBlock(d, n, roots, work);
  SplitBlock(d, n, roots, other);
  for (size_t k = 0; k < 4; ++k) {
    const size_t at = k * quarter;
    DescendTwo(tables, depth + 1, 4 * index + k, n / 4, one + at, two + at,
               work + at, other + at);
  }
  JoinBlock(d, n, roots, work);
}

// x may be acc: it has been read when outputs are written, and each trip has
// lanes of its own.
HWY_NOINLINE void FftTile(const FftTables& tables, const float* x,
                          const float* HWY_RESTRICT spectrum, size_t n_out,
                          float* acc, Accumulators accumulators,
                          float* HWY_RESTRICT scratch) {
  const LaneTag d;
  const size_t step = hn::Lanes(d);
  const size_t point = 2 * step;
  const size_t block = tables.block();
  const Outer outer = OuterOf(tables);
  for (size_t lane = 0; lane < kLanes; lane += step) {
    SplitInput(d, tables, x + lane, scratch);
    const float* h = spectrum + lane * 2 * block;
    for (size_t k = 0; k < outer.parts; ++k) {
      const size_t offset = k * (block / outer.parts) * point;
      Descend(tables, outer.depth, k, block / outer.parts, h + offset,
              scratch + offset);
    }
    JoinOutput(d, tables, scratch, n_out, acc + lane, accumulators);
  }
}

HWY_NOINLINE void FftTileTwo(const FftTables& tables,
                             const float* HWY_RESTRICT x,
                             const float* HWY_RESTRICT one,
                             const float* HWY_RESTRICT y,
                             const float* HWY_RESTRICT two, size_t n_out,
                             float* HWY_RESTRICT acc,
                             float* HWY_RESTRICT scratch) {
  const LaneTag d;
  const size_t step = hn::Lanes(d);
  const size_t block = tables.block();
  const auto [parts, depth] = OuterOf(tables);
  float* const other = scratch + 2 * block * step;
  for (size_t lane = 0; lane < kLanes; lane += step) {
    SplitInput(d, tables, x + lane, scratch);
    SplitInput(d, tables, y + lane, other);
    const size_t from = lane * 2 * block;
    for (size_t k = 0; k < parts; ++k) {
      const size_t at = k * (block / parts) * 2 * step;
      DescendTwo(tables, depth, k, block / parts, one + from + at,
                 two + from + at, scratch + at, other + at);
    }
    JoinOutput<To::kSum>(d, tables, scratch, n_out, acc + lane);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lcsm
HWY_AFTER_NAMESPACE();

#endif  // LCSM_KERNELS_CPU_FFT_TILE_INL_H_
