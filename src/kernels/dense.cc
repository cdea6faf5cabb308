#include "kernels/dense.h"

#include <algorithm>

#include "base/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/dense.cc"
#include "hwy/foreach_target.h"  // Compiles this file once a target.
// After foreach_target.
#include "kernels/cpu/dense_packed-inl.h"
#include "kernels/cpu/dense_panels-inl.h"
#include "kernels/cpu/dense_sums-inl.h"

#include "hwy/cache_control.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace lcsm {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// Four rows whose dot products are ready: adds what is left of `in` behind
// whole registers, then the bias, and stores the first `rows` of them.
HWY_INLINE void FinishQuad(QuadVec sums, const float* const w[4], size_t k,
                           size_t in, const float* x, const float* bias,
                           size_t rows, float* y) {
#if HWY_TARGET != HWY_SCALAR
  if (HWY_LIKELY(k == in && rows == 4)) {
    const QuadTag q;
    if (bias != nullptr) sums = hn::Add(sums, hn::LoadU(q, bias));
    hn::StoreU(sums, q, y);
    return;
  }
#endif
  alignas(16) float s[4];
  StoreQuad(sums, s);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t i = k; i < in; ++i) s[r] += w[r][i] * x[i];
    y[r] = bias != nullptr ? s[r] + bias[r] : s[r];
  }
}

// Rows beyond the last are replaced by it, and not stored: every row goes
// through the same instructions wherever a range ends.
HWY_INLINE void QuadRows(const float* w, size_t in, size_t rows,
                         const float* out[4]) {
  for (size_t r = 0; r < 4; ++r) out[r] = w + std::min(r, rows - 1) * in;
}

// Rows short enough that eight of them are asked for ahead, see EightRows.
constexpr size_t kShortRow = 512;
// How far ahead, in floats: 4 KiB.
constexpr size_t kAhead = 1024;

// Eight rows, one token: eight chains hide the latency of the multiply-add.
//
// Eight rows in memory order are one stretch, but they are read as eight
// streams, too short for the hardware's prefetchers; asking for the stretch
// line by line, some way ahead, lifts reading from L3 from 65 to 76 of the 80
// GB/s that a plain sum of the same bytes reaches (Zen 3, 256 columns, 6 MB).
// That is L3 at its best; at 25 MB, which other guests' data push out, sum and
// product fall alike (50 and 46 GB/s, docs/runtime.md). Long rows are better
// left to the hardware (66 GB/s at 1024 columns, 60 with this); asking for the
// same columns of the next eight rows is a disaster there (7 GB/s), because
// rows 4 KiB apart share one set of L1.
HWY_INLINE void EightRows(const float* HWY_RESTRICT w, size_t in,
                          const float* HWY_RESTRICT x, const float* bias,
                          float* HWY_RESTRICT y) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  const float* const r0[4] = {w, w + in, w + 2 * in, w + 3 * in};
  const float* const r1[4] = {w + 4 * in, w + 5 * in, w + 6 * in, w + 7 * in};
  FloatVec a0 = hn::Zero(d), a1 = a0, a2 = a0, a3 = a0;
  FloatVec b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  const size_t whole = in - in % lanes;
  const bool short_rows = in <= kShortRow;
  for (size_t k = 0; k < whole; k += lanes) {
    if (short_rows && k % 16 == 0) {  // Once a line of each row: eight lines.
      for (size_t r = 0; r < 8; ++r) {
        hwy::Prefetch(w + 8 * k + 16 * r + kAhead);
      }
    }
    const FloatVec xk = hn::LoadU(d, x + k);
    a0 = hn::MulAdd(hn::LoadU(d, r0[0] + k), xk, a0);
    a1 = hn::MulAdd(hn::LoadU(d, r0[1] + k), xk, a1);
    a2 = hn::MulAdd(hn::LoadU(d, r0[2] + k), xk, a2);
    a3 = hn::MulAdd(hn::LoadU(d, r0[3] + k), xk, a3);
    b0 = hn::MulAdd(hn::LoadU(d, r1[0] + k), xk, b0);
    b1 = hn::MulAdd(hn::LoadU(d, r1[1] + k), xk, b1);
    b2 = hn::MulAdd(hn::LoadU(d, r1[2] + k), xk, b2);
    b3 = hn::MulAdd(hn::LoadU(d, r1[3] + k), xk, b3);
  }
  FinishQuad(SumOfEach(a0, a1, a2, a3), r0, whole, in, x, bias, 4, y);
  FinishQuad(SumOfEach(b0, b1, b2, b3), r1, whole, in, x,
             bias != nullptr ? bias + 4 : nullptr, 4, y + 4);
}

// Up to four rows, kTokens tokens. Each accumulator sees the same products in
// the same order as in EightRows.
template <size_t kTokens>
HWY_INLINE void FourRows(const float* HWY_RESTRICT w, size_t in, size_t rows,
                         const float* HWY_RESTRICT x, size_t x_stride,
                         const float* bias, float* HWY_RESTRICT y,
                         size_t y_stride) {
  static_assert(kTokens >= 1 && kTokens <= 3);
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  const float* row[4];
  QuadRows(w, in, rows, row);
  const float* const xa = x;
  const float* const xb = x + (kTokens > 1 ? x_stride : 0);
  const float* const xc = x + (kTokens > 2 ? 2 * x_stride : 0);
  FloatVec a0 = hn::Zero(d), a1 = a0, a2 = a0, a3 = a0;
  FloatVec b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  FloatVec c0 = a0, c1 = a0, c2 = a0, c3 = a0;
  const size_t whole = in - in % lanes;
  for (size_t k = 0; k < whole; k += lanes) {
    const FloatVec va = hn::LoadU(d, xa + k);
    const FloatVec vb = kTokens > 1 ? hn::LoadU(d, xb + k) : va;
    const FloatVec vc = kTokens > 2 ? hn::LoadU(d, xc + k) : va;
    FloatVec wk = hn::LoadU(d, row[0] + k);
    a0 = hn::MulAdd(wk, va, a0);
    if (kTokens > 1) b0 = hn::MulAdd(wk, vb, b0);
    if (kTokens > 2) c0 = hn::MulAdd(wk, vc, c0);
    wk = hn::LoadU(d, row[1] + k);
    a1 = hn::MulAdd(wk, va, a1);
    if (kTokens > 1) b1 = hn::MulAdd(wk, vb, b1);
    if (kTokens > 2) c1 = hn::MulAdd(wk, vc, c1);
    wk = hn::LoadU(d, row[2] + k);
    a2 = hn::MulAdd(wk, va, a2);
    if (kTokens > 1) b2 = hn::MulAdd(wk, vb, b2);
    if (kTokens > 2) c2 = hn::MulAdd(wk, vc, c2);
    wk = hn::LoadU(d, row[3] + k);
    a3 = hn::MulAdd(wk, va, a3);
    if (kTokens > 1) b3 = hn::MulAdd(wk, vb, b3);
    if (kTokens > 2) c3 = hn::MulAdd(wk, vc, c3);
  }
  FinishQuad(SumOfEach(a0, a1, a2, a3), row, whole, in, xa, bias, rows, y);
  if (kTokens > 1) {
    FinishQuad(SumOfEach(b0, b1, b2, b3), row, whole, in, xb, bias, rows,
               y + y_stride);
  }
  if (kTokens > 2) {
    FinishQuad(SumOfEach(c0, c1, c2, c3), row, whole, in, xc, bias, rows,
               y + 2 * y_stride);
  }
}

HWY_NOINLINE void DenseOne(const float* w, const float* bias, size_t in,
                           size_t row_begin, size_t row_end, const float* x,
                           float* y) {
  size_t r = row_begin;
  for (; r + 8 <= row_end; r += 8) {
    EightRows(w + r * in, in, x, bias != nullptr ? bias + r : nullptr, y + r);
  }
  for (; r < row_end; r += 4) {
    FourRows<1>(w + r * in, in, std::min<size_t>(4, row_end - r), x, 0,
                bias != nullptr ? bias + r : nullptr, y + r, 0);
  }
}

HWY_NOINLINE void Dense(const float* w, const float* bias, size_t in,
                        size_t row_begin, size_t row_end, const float* x,
                        size_t x_stride, size_t tokens, float* y,
                        size_t y_stride) {
  if (tokens == 1) {
    DenseOne(w, bias, in, row_begin, row_end, x, y);
    return;
  }
  for (size_t begin = 0; begin < tokens; begin += kTokenPanel) {
    const size_t end = std::min(tokens, begin + kTokenPanel);
    for (size_t r = row_begin; r < row_end; r += 4) {
      const size_t rows = std::min<size_t>(4, row_end - r);
      const float* const b = bias != nullptr ? bias + r : nullptr;
      size_t t = begin;
      for (; t + kTokenTile <= end; t += kTokenTile) {
        FourRows<3>(w + r * in, in, rows, x + t * x_stride, x_stride, b,
                    y + t * y_stride + r, y_stride);
      }
      if (end - t == 2) {
        FourRows<2>(w + r * in, in, rows, x + t * x_stride, x_stride, b,
                    y + t * y_stride + r, y_stride);
      } else if (end - t == 1) {
        FourRows<1>(w + r * in, in, rows, x + t * x_stride, x_stride, b,
                    y + t * y_stride + r, y_stride);
      }
    }
  }
}

HWY_NOINLINE float Sum(const float* x, size_t n) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  FloatVec a = hn::Zero(d), b = a, c = a, e = a;
  size_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    a = hn::Add(a, hn::LoadU(d, x + i));
    b = hn::Add(b, hn::LoadU(d, x + i + lanes));
    c = hn::Add(c, hn::LoadU(d, x + i + 2 * lanes));
    e = hn::Add(e, hn::LoadU(d, x + i + 3 * lanes));
  }
  float sum =
      hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(a, b), hn::Add(c, e))));
  for (; i < n; ++i) sum += x[i];
  return sum;
}

// Four rows by three registers of columns; rows beyond the last repeat it.
HWY_NOINLINE void DenseF64(const double* HWY_RESTRICT w, const double* bias,
                           size_t in, size_t rows, const double* HWY_RESTRICT x,
                           double* HWY_RESTRICT y) {
  const hn::CappedTag<double, 8> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  static_assert(kPanel % (3 * hn::MaxLanes(hn::CappedTag<double, 8>())) == 0);
  for (size_t r = 0; r < rows; r += 4) {
    const size_t last = rows - 1;
    const size_t i1 = std::min(r + 1, last), i2 = std::min(r + 2, last),
                 i3 = std::min(r + 3, last);
    const double* const w0 = w + r * in;
    const double* const w1 = w + i1 * in;
    const double* const w2 = w + i2 * in;
    const double* const w3 = w + i3 * in;
    for (size_t p = 0; p < kPanel; p += 3 * lanes) {
      const auto start = [&](size_t row) HWY_ATTR {
        return bias != nullptr ? hn::Set(d, bias[row]) : hn::Zero(d);
      };
      V a0 = start(r), a1 = a0, a2 = a0;
      V b0 = start(i1), b1 = b0, b2 = b0;
      V c0 = start(i2), c1 = c0, c2 = c0;
      V e0 = start(i3), e1 = e0, e2 = e0;
      for (size_t k = 0; k < in; ++k) {
        const double* const xk = x + k * kPanel + p;
        const V x0 = hn::Load(d, xk), x1 = hn::Load(d, xk + lanes),
                x2 = hn::Load(d, xk + 2 * lanes);
        V wk = hn::Set(d, w0[k]);
        a0 = hn::MulAdd(wk, x0, a0);
        a1 = hn::MulAdd(wk, x1, a1);
        a2 = hn::MulAdd(wk, x2, a2);
        wk = hn::Set(d, w1[k]);
        b0 = hn::MulAdd(wk, x0, b0);
        b1 = hn::MulAdd(wk, x1, b1);
        b2 = hn::MulAdd(wk, x2, b2);
        wk = hn::Set(d, w2[k]);
        c0 = hn::MulAdd(wk, x0, c0);
        c1 = hn::MulAdd(wk, x1, c1);
        c2 = hn::MulAdd(wk, x2, c2);
        wk = hn::Set(d, w3[k]);
        e0 = hn::MulAdd(wk, x0, e0);
        e1 = hn::MulAdd(wk, x1, e1);
        e2 = hn::MulAdd(wk, x2, e2);
      }
      // A repeated row is stored again with the same values.
      const auto store = [&](size_t row, V v0, V v1, V v2) HWY_ATTR {
        double* const out = y + row * kPanel + p;
        hn::Store(v0, d, out);
        hn::Store(v1, d, out + lanes);
        hn::Store(v2, d, out + 2 * lanes);
      };
      store(r, a0, a1, a2);
      store(i1, b0, b1, b2);
      store(i2, c0, c1, c2);
      store(i3, e0, e1, e2);
    }
  }
}

const DenseKernels* DenseTable() {
  static const DenseKernels table = {hwy::TargetName(HWY_TARGET),
                                     Dense,
                                     DensePacked,
                                     DensePanels,
                                     AddPanels,
                                     Sum,
                                     DenseF64};
  return &table;
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace lcsm
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lcsm {
namespace {

HWY_EXPORT(DenseTable);

}  // namespace

const DenseKernels& GetDenseKernels() {
  return *HWY_DYNAMIC_DISPATCH(DenseTable)();
}

}  // namespace lcsm
#endif  // HWY_ONCE
