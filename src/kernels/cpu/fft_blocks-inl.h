// The transform tile of many input blocks: one new spectrum, a sum of products,
// one inverse. Compiled once a target; contracts in tile_kernels.h.
//
// Depth first like the single tile, with the scratch holding the new block on
// the way down and the sum on the way up. The products take kChunk points at a
// time, between the last split and the first join: by then the chunk is in L1,
// and what streams past is one read of each older spectrum and of each slice of
// the filter.

#include <cstddef>

#include "kernels/fft_tables.h"
#include "kernels/lanes.h"
#include "kernels/tile_kernels.h"

#if defined(LCSM_KERNELS_CPU_FFT_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LCSM_KERNELS_CPU_FFT_BLOCKS_INL_H_
#undef LCSM_KERNELS_CPU_FFT_BLOCKS_INL_H_
#else
#define LCSM_KERNELS_CPU_FFT_BLOCKS_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/cpu/fft_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lcsm {
namespace HWY_NAMESPACE {

// Points of a chunk: on AVX2 4 KiB of scratch.
constexpr size_t kChunkPoints = 64;

// s += x h
HWY_INLINE void AddProduct(Complex x, Complex h, Complex& s) {
  s.re = hn::NegMulAdd(x.im, h.im, hn::MulAdd(x.re, h.re, s.re));
  s.im = hn::MulAdd(x.im, h.re, hn::MulAdd(x.re, h.im, s.im));
}

// The products of `n` points (even) from `offset` floats on. With kNext the
// sum for the output block after is made in the same pass: every spectrum and
// every slice that is read serves two products.
//
// Two points at a time: 4 sums of 2 registers and their operands are the 16
// registers of AVX2, and 8 chains hide the latency of the multiply-add.
template <bool kNext>
HWY_INLINE void Products(LaneTag d, const BlockSum& sum, size_t offset,
                         size_t n, float* HWY_RESTRICT work) {
  const size_t point = 2 * hn::Lanes(d);
  for (size_t p = 0; p < n; p += 2) {
    const size_t at = offset + p * point;
    float* const w = work + p * point;
    const float* h = sum.taps + at;
    const Complex x0 = LoadC(d, w), x1 = LoadC(d, w + point);
    Complex h0 = LoadC(d, h), h1 = LoadC(d, h + point);
    Complex s0, s1, t0 = {}, t1 = {};
    if (sum.continues) {
      const float* const before = sum.newest + at;
      s0 = LoadC(d, before);
      s1 = LoadC(d, before + point);
      AddProduct(x0, h0, s0);
      AddProduct(x1, h1, s1);
    } else {
      s0 = MulC(x0, h0);
      s1 = MulC(x1, h1);
    }
    if (sum.newest != nullptr) {
      StoreC(d, x0, sum.newest + at);
      StoreC(d, x1, sum.newest + at + point);
    }
    if constexpr (kNext) {
      h += sum.taps_stride;
      h0 = LoadC(d, h);
      h1 = LoadC(d, h + point);
      t0 = MulC(x0, h0);
      t1 = MulC(x1, h1);
    }
    const float* x = sum.older + at;
    for (size_t left = sum.older_terms, wrap = sum.wrapped_terms;;) {
      for (; left != 0; --left, x -= sum.stride) {
        h += sum.taps_stride;
        const Complex y0 = LoadC(d, x), y1 = LoadC(d, x + point);
        if constexpr (kNext) {
          AddProduct(y0, h0, s0);
          AddProduct(y1, h1, s1);
        }
        h0 = LoadC(d, h);
        h1 = LoadC(d, h + point);
        AddProduct(y0, h0, kNext ? t0 : s0);
        AddProduct(y1, h1, kNext ? t1 : s1);
      }
      if (wrap == 0) break;
      left = wrap;
      wrap = 0;
      x = sum.wrapped + at;
    }
    StoreC(d, s0, w);
    StoreC(d, s1, w + point);
    if constexpr (kNext) {
      StoreC(d, t0, sum.next + at);
      StoreC(d, t1, sum.next + at + point);
    }
  }
}

// The way back from SplitChunk.
HWY_INLINE void JoinChunk(LaneTag d, const FftTables& tables, size_t depth,
                          size_t index, size_t n, float* HWY_RESTRICT work) {
  size_t levels = 0;
  for (size_t m = n; m > 4; m /= 4) ++levels;
  for (size_t k = levels + 1; k-- > 0;) {
    const size_t blocks = size_t{1} << (2 * k);
    const size_t size = n >> (2 * k);
    const float* roots = tables.Roots(depth + k) + 6 * (index << (2 * k));
    for (size_t b = 0; b < blocks; ++b) {
      JoinBlock(d, size, roots + 6 * b, work + b * size * 2 * hn::Lanes(d));
    }
  }
}

HWY_INLINE void ChunkProducts(LaneTag d, const BlockSum& sum, size_t offset,
                              size_t n, float* HWY_RESTRICT work) {
  if (sum.next != nullptr) {
    Products<true>(d, sum, offset, n, work);
  } else {
    Products<false>(d, sum, offset, n, work);
  }
}

// Block number `index` of `depth`, n points from `offset` floats on.
void DescendSum(const FftTables& tables, const BlockSum& sum, size_t depth,
                size_t index, size_t n, size_t offset,
                float* HWY_RESTRICT scratch) {
  const LaneTag d;
  float* const work = scratch + offset;
  if (n <= kChunkPoints) {
    SplitChunk(d, tables, depth, index, n, work);
    ChunkProducts(d, sum, offset, n, work);
    JoinChunk(d, tables, depth, index, n, work);
    return;
  }
  const float* roots = tables.Roots(depth) + 6 * index;
  SplitBlock(d, n, roots, work);
  for (size_t k = 0; k < 4; ++k) {
    DescendSum(tables, sum, depth + 1, 4 * index + k, n / 4,
               offset + k * (n / 4) * 2 * hn::Lanes(d), scratch);
  }
  JoinBlock(d, n, roots, work);
}

// The same for two sums over blocks of their own, which become one before the
// way up: the first transforms in `first`, the second in `second`.
void DescendSums(const FftTables& tables, const BlockSum& one,
                 const BlockSum& two, size_t depth, size_t index, size_t n,
                 size_t offset, float* HWY_RESTRICT first,
                 float* HWY_RESTRICT second) {
  const LaneTag d;
  float* const work = first + offset;
  float* const other = second + offset;
  if (n <= kChunkPoints) {
    SplitChunk(d, tables, depth, index, n, work);
    ChunkProducts(d, one, offset, n, work);
    SplitChunk(d, tables, depth, index, n, other);
    ChunkProducts(d, two, offset, n, other);
    const size_t lanes = hn::Lanes(d);
    for (size_t i = 0; i < 2 * n * lanes; i += lanes) {
      hn::Store(hn::Add(hn::Load(d, work + i), hn::Load(d, other + i)), d,
                work + i);
    }
    JoinChunk(d, tables, depth, index, n, work);
    return;
  }
  const float* roots = tables.Roots(depth) + 6 * index;
  SplitBlock(d, n, roots, work);
  SplitBlock(d, n, roots, other);
  for (size_t k = 0; k < 4; ++k) {
    DescendSums(tables, one, two, depth + 1, 4 * index + k, n / 4,
                offset + k * (n / 4) * 2 * hn::Lanes(d), first, second);
  }
  JoinBlock(d, n, roots, work);
}

// The same sum for the register that starts with channel `lane`.
HWY_INLINE BlockSum AtLane(BlockSum sum, size_t block, size_t lane) {
  const size_t offset = 2 * block * lane;
  if (sum.newest != nullptr) sum.newest += offset;
  if (sum.next != nullptr) sum.next += offset;
  sum.older += offset;
  sum.wrapped += offset;
  sum.taps += offset;
  return sum;
}

// x may be acc: it has been read when outputs are written, and each trip has
// lanes of its own.
HWY_NOINLINE void FftBlocks(const FftTables& tables, const float* x,
                            const BlockSum& sum, size_t n_out, float* acc,
                            Accumulators accumulators,
                            float* HWY_RESTRICT scratch) {
  const LaneTag d;
  const size_t step = hn::Lanes(d);
  const size_t block = tables.block();
  const auto [parts, depth] = OuterOf(tables);
  for (size_t lane = 0; lane < kLanes; lane += step) {
    const BlockSum part = AtLane(sum, block, lane);
    SplitInput(d, tables, x + lane, scratch);
    for (size_t k = 0; k < parts; ++k) {
      DescendSum(tables, part, depth, k, block / parts,
                 k * (block / parts) * 2 * step, scratch);
    }
    JoinOutput(d, tables, scratch, n_out, acc + lane, accumulators);
  }
}

HWY_NOINLINE void FftBlocksTwo(const FftTables& tables,
                               const float* HWY_RESTRICT x, const BlockSum& one,
                               const float* HWY_RESTRICT y, const BlockSum& two,
                               size_t n_out, float* HWY_RESTRICT acc,
                               float* HWY_RESTRICT scratch) {
  const LaneTag d;
  const size_t step = hn::Lanes(d);
  const size_t block = tables.block();
  const auto [parts, depth] = OuterOf(tables);
  float* const second = scratch + 2 * block * step;
  for (size_t lane = 0; lane < kLanes; lane += step) {
    SplitInput(d, tables, x + lane, scratch);
    SplitInput(d, tables, y + lane, second);
    for (size_t k = 0; k < parts; ++k) {
      DescendSums(tables, AtLane(one, block, lane), AtLane(two, block, lane),
                  depth, k, block / parts, k * (block / parts) * 2 * step,
                  scratch, second);
    }
    JoinOutput<To::kSum>(d, tables, scratch, n_out, acc + lane);
  }
}

HWY_NOINLINE void FftBlocksPart(const FftTables& tables, const FftPart& part,
                                size_t lane, const float* HWY_RESTRICT x,
                                const BlockSum& sum, size_t n_out,
                                float* HWY_RESTRICT out,
                                float* HWY_RESTRICT scratch) {
  const LaneTag d;
  const size_t offset = part.index * part.points * 2 * hn::Lanes(d);
  const auto roots = [&]() {
    return tables.Roots(part.depth) + 6 * part.index;
  };
  switch (part.kind) {
    case FftPart::Kind::kInput:
      SplitInput(d, tables, x + lane, scratch, part.begin, part.end);
      return;
    case FftPart::Kind::kSplit:
      SplitBlock(d, part.points, roots(), scratch + offset, part.begin,
                 part.end);
      return;
    case FftPart::Kind::kDescend:
      DescendSum(tables, AtLane(sum, tables.block(), lane), part.depth,
                 part.index, part.points, offset, scratch);
      return;
    case FftPart::Kind::kJoin:
      JoinBlock(d, part.points, roots(), scratch + offset, part.begin,
                part.end);
      return;
    case FftPart::Kind::kOutput:
      JoinOutput<To::kPlace>(d, tables, scratch, n_out, out + lane, part.begin,
                             part.end);
      return;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lcsm
HWY_AFTER_NAMESPACE();

#endif  // LCSM_KERNELS_CPU_FFT_BLOCKS_INL_H_
