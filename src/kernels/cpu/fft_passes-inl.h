// Passes of the tile transform with Highway: what splits a block and what joins
// it again. Compiled once a target; the mathematics is in fft_tables.h.
//
// Work is [n][re, im][lanes]: one register's worth of channels at a time, so
// that all butterflies are vertical and the working set is as small as the
// target allows. Two passes taken at once have the bits of one behind another.

#include <cstddef>

#include "kernels/fft_tables.h"
#include "kernels/lanes.h"

#if defined(LCSM_KERNELS_CPU_FFT_PASSES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LCSM_KERNELS_CPU_FFT_PASSES_INL_H_
#undef LCSM_KERNELS_CPU_FFT_PASSES_INL_H_
#else
#define LCSM_KERNELS_CPU_FFT_PASSES_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/cpu/direct-inl.h"  // LaneTag

HWY_BEFORE_NAMESPACE();
namespace lcsm {
namespace HWY_NAMESPACE {

using LaneVec = hn::Vec<LaneTag>;

struct Complex {
  LaneVec re, im;
};

HWY_INLINE Complex LoadC(LaneTag d, const float* p) {
  return {hn::Load(d, p), hn::Load(d, p + hn::Lanes(d))};
}
HWY_INLINE void StoreC(LaneTag d, Complex a, float* p) {
  hn::Store(a.re, d, p);
  hn::Store(a.im, d, p + hn::Lanes(d));
}
HWY_INLINE Complex AddC(Complex a, Complex b) {
  return {hn::Add(a.re, b.re), hn::Add(a.im, b.im)};
}
HWY_INLINE Complex SubC(Complex a, Complex b) {
  return {hn::Sub(a.re, b.re), hn::Sub(a.im, b.im)};
}
HWY_INLINE Complex MulC(Complex a, Complex b) {
  return {hn::NegMulAdd(a.im, b.im, hn::Mul(a.re, b.re)),
          hn::MulAdd(a.im, b.re, hn::Mul(a.re, b.im))};
}
// a times the conjugate of b.
HWY_INLINE Complex MulConjC(Complex a, Complex b) {
  return {hn::MulAdd(a.im, b.im, hn::Mul(a.re, b.re)),
          hn::NegMulAdd(a.re, b.im, hn::Mul(a.im, b.re))};
}
HWY_INLINE LaneVec ImagMulConj(Complex a, Complex b) {
  return hn::NegMulAdd(a.re, b.im, hn::Mul(a.im, b.re));
}

// The powers r, r^2, r^3 of one block, in all lanes.
struct Roots {
  Complex r1, r2, r3;
};
HWY_INLINE Roots LoadRoots(LaneTag d, const float* p) {
  return {{hn::Set(d, p[0]), hn::Set(d, p[1])},
          {hn::Set(d, p[2]), hn::Set(d, p[3])},
          {hn::Set(d, p[4]), hn::Set(d, p[5])}};
}

// b_k = sum_j t_j i^(jk), t_0 = a_0 and t_j = a_j r^j already multiplied in.
HWY_INLINE void Dft4(Complex t0, Complex t1, Complex t2, Complex t3,
                     Complex& b0, Complex& b1, Complex& b2, Complex& b3) {
  const Complex s0 = AddC(t0, t2), s1 = SubC(t0, t2), s2 = AddC(t1, t3),
                s3 = SubC(t1, t3);
  b0 = AddC(s0, s2);
  b2 = SubC(s0, s2);
  b1 = {hn::Sub(s1.re, s3.im), hn::Add(s1.im, s3.re)};  // s1 + i s3
  b3 = {hn::Add(s1.re, s3.im), hn::Sub(s1.im, s3.re)};  // s1 - i s3
}
// a_j = sum_k b_k i^(-jk), before the division by r^j (and by 4, which the
// spectrum holds).
HWY_INLINE void InverseDft4(Complex b0, Complex b1, Complex b2, Complex b3,
                            Complex& a0, Complex& a1, Complex& a2,
                            Complex& a3) {
  const Complex s0 = AddC(b0, b2), s1 = SubC(b0, b2), s2 = AddC(b1, b3),
                s3 = SubC(b1, b3);
  a0 = AddC(s0, s2);
  a2 = SubC(s0, s2);
  a1 = {hn::Add(s1.re, s3.im), hn::Sub(s1.im, s3.re)};  // s1 - i s3
  a3 = {hn::Sub(s1.re, s3.im), hn::Add(s1.im, s3.re)};  // s1 + i s3
}

// b_k = sum_j a_j (i^k r)^j: Dft4 behind its multiplications, as splits in two,
// a + c b and 2 a - (a + c b), which are six multiply-adds each: 24 operations
// where the textbook has 28. It needs r and r^2 only. (On targets without fused
// multiply-adds it would be 48 for 34.)
HWY_INLINE void SplitFour(LaneTag d, Complex a0, Complex a1, Complex a2,
                          Complex a3, const Roots& r, Complex& b0, Complex& b1,
                          Complex& b2, Complex& b3) {
#if HWY_NATIVE_FMA
  const LaneVec two = hn::Set(d, 2.0f);
  // a + c b, and what that leaves of 2 a.
  const auto add = [](Complex a, Complex b, Complex c) HWY_ATTR -> Complex {
    return {hn::NegMulAdd(b.im, c.im, hn::MulAdd(b.re, c.re, a.re)),
            hn::MulAdd(b.im, c.re, hn::MulAdd(b.re, c.im, a.im))};
  };
  const auto rest = [two](Complex a, Complex sum) HWY_ATTR -> Complex {
    return {hn::MulSub(two, a.re, sum.re), hn::MulSub(two, a.im, sum.im)};
  };
  const Complex s0 = add(a0, a2, r.r2), s1 = rest(a0, s0);
  const Complex s2 = add(a1, a3, r.r2), s3 = rest(a1, s2);
  b0 = add(s0, s2, r.r1);
  b2 = rest(s0, b0);
  // s1 + i r s3
  b1 = {hn::NegMulAdd(s3.im, r.r1.re, hn::NegMulAdd(s3.re, r.r1.im, s1.re)),
        hn::NegMulAdd(s3.im, r.r1.im, hn::MulAdd(s3.re, r.r1.re, s1.im))};
  b3 = rest(s1, b1);
#else
  Dft4(a0, MulC(a1, r.r1), MulC(a2, r.r2), MulC(a3, r.r3), b0, b1, b2, b3);
#endif
}

// Splits a block of n complex points into four of n/4, in place; of each
// quarter only the points [begin, end).
HWY_INLINE void SplitBlock(LaneTag d, size_t n, const float* roots,
                           float* HWY_RESTRICT work, size_t begin, size_t end) {
  const size_t point = 2 * hn::Lanes(d);
  const size_t quarter = n / 4 * point;
  const Roots r = LoadRoots(d, roots);
  for (float *p = work + begin * point, *stop = work + end * point; p != stop;
       p += point) {
    Complex b0, b1, b2, b3;
    SplitFour(d, LoadC(d, p), LoadC(d, p + quarter), LoadC(d, p + 2 * quarter),
              LoadC(d, p + 3 * quarter), r, b0, b1, b2, b3);
    StoreC(d, b0, p);
    StoreC(d, b1, p + quarter);
    StoreC(d, b2, p + 2 * quarter);
    StoreC(d, b3, p + 3 * quarter);
  }
}

HWY_INLINE void SplitBlock(LaneTag d, size_t n, const float* roots,
                           float* HWY_RESTRICT work) {
  SplitBlock(d, n, roots, work, 0, n / 4);
}

// All passes of a block that are left, one behind another: for blocks that the
// nearest cache holds.
HWY_INLINE void SplitChunk(LaneTag d, const FftTables& tables, size_t depth,
                           size_t index, size_t n, float* HWY_RESTRICT work) {
  for (size_t blocks = 1; n >= 4; n /= 4, blocks *= 4, ++depth, index *= 4) {
    const float* roots = tables.Roots(depth) + 6 * index;
    for (size_t b = 0; b < blocks; ++b) {
      SplitBlock(d, n, roots + 6 * b, work + b * n * 2 * hn::Lanes(d));
    }
  }
}

// Joins four blocks of n/4 into one of n, in place; points as above.
HWY_INLINE void JoinBlock(LaneTag d, size_t n, const float* roots,
                          float* HWY_RESTRICT work, size_t begin, size_t end) {
  const size_t point = 2 * hn::Lanes(d);
  const size_t quarter = n / 4 * point;
  const Roots r = LoadRoots(d, roots);
  for (float *p = work + begin * point, *stop = work + end * point; p != stop;
       p += point) {
    Complex a0, a1, a2, a3;
    InverseDft4(LoadC(d, p), LoadC(d, p + quarter), LoadC(d, p + 2 * quarter),
                LoadC(d, p + 3 * quarter), a0, a1, a2, a3);
    StoreC(d, a0, p);
    StoreC(d, MulConjC(a1, r.r1), p + quarter);
    StoreC(d, MulConjC(a2, r.r2), p + 2 * quarter);
    StoreC(d, MulConjC(a3, r.r3), p + 3 * quarter);
  }
}

HWY_INLINE void JoinBlock(LaneTag d, size_t n, const float* roots,
                          float* HWY_RESTRICT work) {
  JoinBlock(d, n, roots, work, 0, n / 4);
}

// Parts of the first and the last pass, taken by themselves.
HWY_INLINE size_t OuterParts(const FftTables& tables) {
  return tables.starts_with_two() ? 2 : 4;
}

// First pass: U real inputs, one lane offset of [n][kLanes], into `work`; of
// each part only the points [begin, end). No twist and half the
// multiplications of a complex pass.
HWY_INLINE void SplitInput(LaneTag d, const FftTables& tables,
                           const float* HWY_RESTRICT x,
                           float* HWY_RESTRICT work, size_t begin, size_t end) {
  const size_t point = 2 * hn::Lanes(d);
  if (tables.starts_with_two()) {
    const size_t half = tables.block() / 2;
    const auto c = hn::Set(d, FftTables::kHalf);
    for (size_t n = begin; n < end; ++n) {
      const auto a = hn::Load(d, x + n * kLanes);
      const auto b = hn::Mul(hn::Load(d, x + (n + half) * kLanes), c);
      StoreC(d, {hn::Add(a, b), b},
             work + n * point);  // a + b r, r = (1 + i) kHalf
      StoreC(d, {hn::Sub(a, b), hn::Neg(b)}, work + (n + half) * point);
    }
    return;
  }
  const size_t quarter = tables.block() / 4;
  const Roots r = LoadRoots(d, tables.Roots(0));
  for (size_t n = begin; n < end; ++n) {
    const auto x0 = hn::Load(d, x + n * kLanes);
    const auto x1 = hn::Load(d, x + (n + quarter) * kLanes);
    const auto x2 = hn::Load(d, x + (n + 2 * quarter) * kLanes);
    const auto x3 = hn::Load(d, x + (n + 3 * quarter) * kLanes);
    Complex b0, b1, b2, b3;
    Dft4({x0, hn::Zero(d)}, {hn::Mul(x1, r.r1.re), hn::Mul(x1, r.r1.im)},
         {hn::Mul(x2, r.r2.re), hn::Mul(x2, r.r2.im)},
         {hn::Mul(x3, r.r3.re), hn::Mul(x3, r.r3.im)}, b0, b1, b2, b3);
    StoreC(d, b0, work + n * point);
    StoreC(d, b1, work + (n + quarter) * point);
    StoreC(d, b2, work + (n + 2 * quarter) * point);
    StoreC(d, b3, work + (n + 3 * quarter) * point);
  }
}

// The same in eight parts, for blocks that start with two: two passes at once,
// with their bits.
HWY_INLINE void SplitInput8(LaneTag d, const FftTables& tables,
                            const float* HWY_RESTRICT x,
                            float* HWY_RESTRICT work) {
  const size_t point = 2 * hn::Lanes(d);
  const size_t row = tables.block() / 8;
  const auto c = hn::Set(d, FftTables::kHalf);
  const Roots r[2] = {LoadRoots(d, tables.Roots(0)),
                      LoadRoots(d, tables.Roots(0) + 6)};
  for (size_t n = 0; n < row; ++n) {
    Complex t[2][4];
    for (size_t q = 0; q < 4; ++q) {
      const auto a = hn::Load(d, x + (n + q * row) * kLanes);
      const auto b = hn::Mul(hn::Load(d, x + (n + (q + 4) * row) * kLanes), c);
      t[0][q] = {hn::Add(a, b), b};
      t[1][q] = {hn::Sub(a, b), hn::Neg(b)};
    }
    for (size_t h = 0; h < 2; ++h) {
      float* to = work + (n + 4 * h * row) * point;
      Complex b0, b1, b2, b3;
      SplitFour(d, t[h][0], t[h][1], t[h][2], t[h][3], r[h], b0, b1, b2, b3);
      StoreC(d, b0, to);
      StoreC(d, b1, to + row * point);
      StoreC(d, b2, to + 2 * row * point);
      StoreC(d, b3, to + 3 * row * point);
    }
  }
}

// How a whole tile begins and ends: parts, and the depth of what is below.
struct Outer {
  size_t parts, depth;
};
// Eight at once from this block on, where the work no longer fits into L1:
// one trip through L2 less each way, 10 % of such a tile's time.
constexpr size_t kMinEight = 512;
HWY_INLINE Outer OuterOf(const FftTables& tables) {
  if (!tables.starts_with_two()) return {4, 1};
  if (tables.block() < kMinEight) return {2, 0};
  return {8, 1};
}

HWY_INLINE void SplitInput(LaneTag d, const FftTables& tables,
                           const float* HWY_RESTRICT x,
                           float* HWY_RESTRICT work) {
  if (OuterOf(tables).parts == 8) {
    SplitInput8(d, tables, x, work);
  } else {
    SplitInput(d, tables, x, work, 0, tables.block() / OuterParts(tables));
  }
}

// What becomes of a line of outputs.
enum class To {
  kSum,    // Added to what is there.
  kZeros,  // The same bits as if zeros were there.
  kPlace,  // Put there as it is.
};

template <To kTo>
HWY_INLINE void Output(LaneTag d, LaneVec v, size_t n, size_t n_out,
                       float* HWY_RESTRICT out) {
  if (n >= n_out) return;
  if constexpr (kTo == To::kSum) v = hn::Add(hn::Load(d, out + n * kLanes), v);
  // Not nothing: it makes zeros of negative ones.
  if constexpr (kTo == To::kZeros) v = hn::Add(hn::Zero(d), v);
  hn::Store(v, d, out + n * kLanes);
}

// Last pass: joins and keeps the imaginary parts (the wanted half of the
// product); points as in the first pass.
template <To kTo>
HWY_INLINE void JoinOutput(LaneTag d, const FftTables& tables,
                           const float* HWY_RESTRICT work, size_t n_out,
                           float* HWY_RESTRICT out, size_t begin, size_t end) {
  const size_t point = 2 * hn::Lanes(d);
  if (tables.starts_with_two()) {
    const size_t half = tables.block() / 2;
    const auto c = hn::Set(d, FftTables::kHalf);
    for (size_t n = begin; n < end && n < n_out; ++n) {
      const Complex a = LoadC(d, work + n * point);
      const Complex b = LoadC(d, work + (n + half) * point);
      Output<kTo>(d, hn::Add(a.im, b.im), n, n_out, out);
      const Complex s =
          SubC(a, b);  // Times conj(r) = (1 - i) kHalf; its imaginary part:
      Output<kTo>(d, hn::Mul(c, hn::Sub(s.im, s.re)), n + half, n_out, out);
    }
    return;
  }
  const size_t quarter = tables.block() / 4;
  const Roots r = LoadRoots(d, tables.Roots(0));
  for (size_t n = begin; n < end && n < n_out; ++n) {
    Complex a0, a1, a2, a3;
    InverseDft4(LoadC(d, work + n * point),
                LoadC(d, work + (n + quarter) * point),
                LoadC(d, work + (n + 2 * quarter) * point),
                LoadC(d, work + (n + 3 * quarter) * point), a0, a1, a2, a3);
    Output<kTo>(d, a0.im, n, n_out, out);
    Output<kTo>(d, ImagMulConj(a1, r.r1), n + quarter, n_out, out);
    Output<kTo>(d, ImagMulConj(a2, r.r2), n + 2 * quarter, n_out, out);
    Output<kTo>(d, ImagMulConj(a3, r.r3), n + 3 * quarter, n_out, out);
  }
}

// Last pass from eight parts.
template <To kTo>
HWY_INLINE void JoinOutput8(LaneTag d, const FftTables& tables,
                            const float* HWY_RESTRICT work, size_t n_out,
                            float* HWY_RESTRICT acc) {
  const size_t point = 2 * hn::Lanes(d);
  const size_t row = tables.block() / 8;
  const auto c = hn::Set(d, FftTables::kHalf);
  const Roots r[2] = {LoadRoots(d, tables.Roots(0)),
                      LoadRoots(d, tables.Roots(0) + 6)};
  for (size_t n = 0; n < row && n < n_out; ++n) {
    Complex t[2][4];
    for (size_t h = 0; h < 2; ++h) {
      const float* from = work + (n + 4 * h * row) * point;
      Complex a1, a2, a3;
      InverseDft4(LoadC(d, from), LoadC(d, from + row * point),
                  LoadC(d, from + 2 * row * point),
                  LoadC(d, from + 3 * row * point), t[h][0], a1, a2, a3);
      t[h][1] = MulConjC(a1, r[h].r1);
      t[h][2] = MulConjC(a2, r[h].r2);
      t[h][3] = MulConjC(a3, r[h].r3);
    }
    for (size_t q = 0; q < 4; ++q) {
      Output<kTo>(d, hn::Add(t[0][q].im, t[1][q].im), n + q * row, n_out, acc);
      const Complex s = SubC(t[0][q], t[1][q]);
      Output<kTo>(d, hn::Mul(c, hn::Sub(s.im, s.re)), n + (q + 4) * row, n_out,
                  acc);
    }
  }
}

template <To kTo>
HWY_INLINE void JoinOutput(LaneTag d, const FftTables& tables,
                           const float* HWY_RESTRICT work, size_t n_out,
                           float* HWY_RESTRICT acc) {
  if (OuterOf(tables).parts == 8) {
    JoinOutput8<kTo>(d, tables, work, n_out, acc);
  } else {
    JoinOutput<kTo>(d, tables, work, n_out, acc, 0,
                    tables.block() / OuterParts(tables));
  }
}

HWY_INLINE void JoinOutput(LaneTag d, const FftTables& tables,
                           const float* HWY_RESTRICT work, size_t n_out,
                           float* HWY_RESTRICT acc, Accumulators accumulators) {
  if (accumulators == Accumulators::kFresh) {
    JoinOutput<To::kZeros>(d, tables, work, n_out, acc);
  } else {
    JoinOutput<To::kSum>(d, tables, work, n_out, acc);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lcsm
HWY_AFTER_NAMESPACE();

#endif  // LCSM_KERNELS_CPU_FFT_PASSES_INL_H_
