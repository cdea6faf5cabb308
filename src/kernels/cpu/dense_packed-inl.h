// Products with matrices in fewer bits (dense_weights.h). Compiled once a
// target; see dense.h for the contract.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/dense_weights.h"

// A per-target include guard: undefined on the way into each target.
#if defined(LCSM_KERNELS_CPU_DENSE_PACKED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LCSM_KERNELS_CPU_DENSE_PACKED_INL_H_
#undef LCSM_KERNELS_CPU_DENSE_PACKED_INL_H_
#else
#define LCSM_KERNELS_CPU_DENSE_PACKED_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/cpu/dense_sums-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lcsm {
namespace HWY_NAMESPACE {
namespace {

// Columns [j, j + lanes) and [16 + j, 16 + j + lanes) of a tile's row as
// float32, for j < 16: in pairs, since bfloat16 has them in the same words.
struct Bf16Tiles {
  using Unit = uint32_t;
  static constexpr size_t kRowUnits = kTileColumns / 2;
  static constexpr bool kScaled = false;
  static HWY_INLINE void Load(const uint32_t* row, size_t j, FloatVec& low,
                              FloatVec& high) {
    const FloatTag d;
    const hn::RebindToUnsigned<FloatTag> du;
    const auto words = hn::LoadU(du, row + j);
    low = hn::BitCast(d, hn::ShiftLeft<16>(words));
    high = hn::BitCast(d, hn::And(words, hn::Set(du, 0xFFFF0000u)));
  }
};

struct Int8Tiles {
  using Unit = int8_t;
  static constexpr size_t kRowUnits = kTileColumns;
  static constexpr bool kScaled = true;
  static HWY_INLINE void Load(const int8_t* row, size_t j, FloatVec& low,
                              FloatVec& high) {
    const FloatTag d;
    const hn::RebindToSigned<FloatTag> di;
    const hn::Rebind<int8_t, FloatTag> d8;
    low = hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(d8, row + j)));
    high = hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(d8, row + 16 + j)));
  }
};
static_assert(hn::MaxLanes(FloatTag()) <= kTileColumns / 2);

// Sums of rows [0, 4) of a quad, of which [begin, end) are wanted, times their
// scales if there are any, plus bias. bias and y are those of row 0 and only
// touched where wanted.
template <class Tiles>
HWY_INLINE void FinishPacked(QuadVec sums, const float* scales,
                             const float* bias, size_t begin, size_t end,
                             float* y) {
#if HWY_TARGET != HWY_SCALAR
  if (HWY_LIKELY(begin == 0 && end == 4)) {
    const QuadTag q;
    if (Tiles::kScaled) sums = hn::Mul(sums, hn::LoadU(q, scales));
    if (bias != nullptr) sums = hn::Add(sums, hn::LoadU(q, bias));
    hn::StoreU(sums, q, y);
    return;
  }
#endif
  alignas(16) float s[4];
  StoreQuad(sums, s);
  for (size_t r = begin; r < end; ++r) {
    if (Tiles::kScaled) s[r] *= scales[r];
    y[r] = bias != nullptr ? s[r] + bias[r] : s[r];
  }
}

// A row of tiles, one token: one stream of memory, for which the hardware needs
// no prefetches from us (1 to 8 KiB ahead changed nothing). `rest` is what x
// has behind whole tiles, filled up with zeros.
template <class Tiles>
HWY_INLINE void EightPacked(const typename Tiles::Unit* HWY_RESTRICT w,
                            const float* scales, size_t in,
                            const float* HWY_RESTRICT x,
                            const float* HWY_RESTRICT rest, const float* bias,
                            size_t begin, size_t end, float* HWY_RESTRICT y) {
  const FloatTag d;
  constexpr size_t kRow = Tiles::kRowUnits;
  FloatVec a0 = hn::Zero(d), a1 = a0, a2 = a0, a3 = a0;
  FloatVec b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  for (size_t k = 0; k < in; k += kTileColumns, w += kTileRows * kRow) {
    const float* const xk = k + kTileColumns <= in ? x + k : rest;
    for (size_t j = 0; j < kTileColumns / 2; j += hn::Lanes(d)) {
      const FloatVec v0 = hn::LoadU(d, xk + j);
      const FloatVec v1 = hn::LoadU(d, xk + kTileColumns / 2 + j);
      const auto row = [&](size_t r, FloatVec& sum) HWY_ATTR {
        FloatVec low, high;
        Tiles::Load(w + r * kRow, j, low, high);
        sum = hn::MulAdd(high, v1, hn::MulAdd(low, v0, sum));
      };
      row(0, a0), row(1, a1), row(2, a2), row(3, a3);
      row(4, b0), row(5, b1), row(6, b2), row(7, b3);
    }
  }
  if (begin < 4) {
    FinishPacked<Tiles>(SumOfEach(a0, a1, a2, a3), scales, bias, begin,
                        std::min<size_t>(end, 4), y);
  }
  if (end > 4) {
    FinishPacked<Tiles>(SumOfEach(b0, b1, b2, b3),
                        Tiles::kScaled ? scales + 4 : nullptr,
                        bias != nullptr ? bias + 4 : nullptr,
                        std::max<size_t>(begin, 4) - 4, end - 4, y + 4);
  }
}

// Half the rows of a row of tiles (w points at the first of them), kTokens
// tokens. Each accumulator sees the same products in the same order as in
// EightPacked.
template <class Tiles, size_t kTokens>
HWY_INLINE void FourPacked(const typename Tiles::Unit* HWY_RESTRICT w,
                           const float* scales, size_t in,
                           const float* HWY_RESTRICT x, size_t x_stride,
                           const float* HWY_RESTRICT rest, const float* bias,
                           size_t begin, size_t end, float* HWY_RESTRICT y,
                           size_t y_stride) {
  static_assert(kTokens >= 1 && kTokens <= 3);
  const FloatTag d;
  constexpr size_t kRow = Tiles::kRowUnits;
  FloatVec a0 = hn::Zero(d), a1 = a0, a2 = a0, a3 = a0;
  FloatVec b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  FloatVec c0 = a0, c1 = a0, c2 = a0, c3 = a0;
  for (size_t k = 0; k < in; k += kTileColumns, w += kTileRows * kRow) {
    const bool whole = k + kTileColumns <= in;
    const float* const xa = whole ? x + k : rest;
    const size_t stride = whole ? x_stride : kTileColumns;
    for (size_t j = 0; j < kTileColumns / 2; j += hn::Lanes(d)) {
      const float* const xj = xa + j;
      const auto row = [&](size_t r, FloatVec& a, FloatVec& b,
                           FloatVec& c) HWY_ATTR {
        FloatVec low, high;
        Tiles::Load(w + r * kRow, j, low, high);
        const auto token = [&](size_t t, FloatVec& sum) HWY_ATTR {
          const FloatVec v0 = hn::LoadU(d, xj + t * stride);
          const FloatVec v1 = hn::LoadU(d, xj + t * stride + kTileColumns / 2);
          sum = hn::MulAdd(high, v1, hn::MulAdd(low, v0, sum));
        };
        token(0, a);
        if (kTokens > 1) token(1, b);
        if (kTokens > 2) token(2, c);
      };
      row(0, a0, b0, c0), row(1, a1, b1, c1);
      row(2, a2, b2, c2), row(3, a3, b3, c3);
    }
  }
  FinishPacked<Tiles>(SumOfEach(a0, a1, a2, a3), scales, bias, begin, end, y);
  if (kTokens > 1) {
    FinishPacked<Tiles>(SumOfEach(b0, b1, b2, b3), scales, bias, begin, end,
                        y + y_stride);
  }
  if (kTokens > 2) {
    FinishPacked<Tiles>(SumOfEach(c0, c1, c2, c3), scales, bias, begin, end,
                        y + 2 * y_stride);
  }
}

// Copies what each token has behind whole tiles.
HWY_INLINE void CopyRest(const float* x, size_t x_stride, size_t tokens,
                         size_t in, float* rest) {
  const size_t left = in % kTileColumns;
  if (left == 0) return;
  for (size_t t = 0; t < tokens; ++t, rest += kTileColumns) {
    std::copy_n(x + t * x_stride + in - left, left, rest);
    std::fill(rest + left, rest + kTileColumns, 0.0f);
  }
}

template <class Tiles>
HWY_INLINE void DensePackedAs(const typename Tiles::Unit* w,
                              const float* scales, const float* bias, size_t in,
                              size_t row_begin, size_t row_end, const float* x,
                              size_t x_stride, size_t tokens, float* y,
                              size_t y_stride) {
  const size_t row_of_tiles =
      PackedMatrix::Tiles(in) * kTileRows * Tiles::kRowUnits;
  alignas(64) float rest[kTokenPanel * kTileColumns];
  // Pointers to the row `first`, a whole number of tiles or halves of them.
  const auto at = [](const float* p, size_t first) {
    return p != nullptr ? p + first : nullptr;
  };
  if (tokens == 1) {
    CopyRest(x, x_stride, 1, in, rest);
    for (size_t first = row_begin / kTileRows * kTileRows; first < row_end;
         first += kTileRows) {
      EightPacked<Tiles>(w + first / kTileRows * row_of_tiles,
                         at(scales, first), in, x, rest, at(bias, first),
                         std::max(first, row_begin) - first,
                         std::min(row_end - first, kTileRows), y + first);
    }
    return;
  }
  for (size_t t0 = 0; t0 < tokens; t0 += kTokenPanel) {
    const size_t t1 = std::min(tokens, t0 + kTokenPanel);
    CopyRest(x + t0 * x_stride, x_stride, t1 - t0, in, rest);
    for (size_t first = row_begin / 4 * 4; first < row_end; first += 4) {
      const auto* const tile = w + first / kTileRows * row_of_tiles +
                               first % kTileRows * Tiles::kRowUnits;
      const size_t begin = std::max(first, row_begin) - first;
      const size_t end = std::min<size_t>(row_end - first, 4);
      const auto some = [&](auto count, size_t t) HWY_ATTR {
        FourPacked<Tiles, decltype(count)::value>(
            tile, at(scales, first), in, x + t * x_stride, x_stride,
            rest + (t - t0) * kTileColumns, at(bias, first), begin, end,
            y + t * y_stride + first, y_stride);
      };
      size_t t = t0;
      for (; t + kTokenTile <= t1; t += kTokenTile) {
        some(std::integral_constant<size_t, 3>(), t);
      }
      if (t1 - t == 2) some(std::integral_constant<size_t, 2>(), t);
      if (t1 - t == 1) some(std::integral_constant<size_t, 1>(), t);
    }
  }
}

HWY_NOINLINE void DensePacked(const PackedMatrix& w, const float* bias,
                              size_t row_begin, size_t row_end, const float* x,
                              size_t x_stride, size_t tokens, float* y,
                              size_t y_stride) {
  if (w.format() == WeightFormat::kBf16) {
    DensePackedAs<Bf16Tiles>(w.bf16(), nullptr, bias, w.in(), row_begin,
                             row_end, x, x_stride, tokens, y, y_stride);
  } else {
    DensePackedAs<Int8Tiles>(w.int8(), w.scales(), bias, w.in(), row_begin,
                             row_end, x, x_stride, tokens, y, y_stride);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace lcsm
HWY_AFTER_NAMESPACE();

#endif  // include guard
