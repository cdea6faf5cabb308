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
    Dft4(LoadC(d, p), MulC(LoadC(d, p + quarter), r.r1),
         MulC(LoadC(d, p + 2 * quarter), r.r2),
         MulC(LoadC(d, p + 3 * quarter), r.r3), b0, b1, b2, b3);
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

// A block of 4: split, product with the spectrum, join, all in registers.
HWY_INLINE void Leaf(LaneTag d, const float* roots,
                     const float* HWY_RESTRICT spectrum,
                     float* HWY_RESTRICT work) {
  const size_t point = 2 * hn::Lanes(d);
  const Roots r = LoadRoots(d, roots);
  Complex b0, b1, b2, b3, a0, a1, a2, a3;
  Dft4(LoadC(d, work), MulC(LoadC(d, work + point), r.r1),
       MulC(LoadC(d, work + 2 * point), r.r2),
       MulC(LoadC(d, work + 3 * point), r.r3), b0, b1, b2, b3);
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
  Dft4(LoadC(d, work), MulC(LoadC(d, work + point), r.r1),
       MulC(LoadC(d, work + 2 * point), r.r2),
       MulC(LoadC(d, work + 3 * point), r.r3), b0, b1, b2, b3);
  b0 = MulC(b0, LoadC(d, one));
  b1 = MulC(b1, LoadC(d, one + point));
  b2 = MulC(b2, LoadC(d, one + 2 * point));
  b3 = MulC(b3, LoadC(d, one + 3 * point));
  Dft4(LoadC(d, other), MulC(LoadC(d, other + point), r.r1),
       MulC(LoadC(d, other + 2 * point), r.r2),
       MulC(LoadC(d, other + 3 * point), r.r3), c0, c1, c2, c3);
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

// Parts of the first and the last pass.
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

HWY_INLINE void SplitInput(LaneTag d, const FftTables& tables,
                           const float* HWY_RESTRICT x,
                           float* HWY_RESTRICT work) {
  SplitInput(d, tables, x, work, 0, tables.block() / OuterParts(tables));
}

// One line of outputs: added to what is there, or in its place.
template <bool kAdd>
HWY_INLINE void Output(LaneTag d, LaneVec v, size_t n, size_t n_out,
                       float* HWY_RESTRICT out) {
  if (n >= n_out) return;
  if constexpr (kAdd) v = hn::Add(hn::Load(d, out + n * kLanes), v);
  hn::Store(v, d, out + n * kLanes);
}

// Last pass: joins and keeps the imaginary parts (the wanted half of the
// product); points as in the first pass.
template <bool kAdd>
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
      Output<kAdd>(d, hn::Add(a.im, b.im), n, n_out, out);
      const Complex s =
          SubC(a, b);  // Times conj(r) = (1 - i) kHalf; its imaginary part:
      Output<kAdd>(d, hn::Mul(c, hn::Sub(s.im, s.re)), n + half, n_out, out);
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
    Output<kAdd>(d, a0.im, n, n_out, out);
    Output<kAdd>(d, ImagMulConj(a1, r.r1), n + quarter, n_out, out);
    Output<kAdd>(d, ImagMulConj(a2, r.r2), n + 2 * quarter, n_out, out);
    Output<kAdd>(d, ImagMulConj(a3, r.r3), n + 3 * quarter, n_out, out);
  }
}

HWY_INLINE void JoinOutput(LaneTag d, const FftTables& tables,
                           const float* HWY_RESTRICT work, size_t n_out,
                           float* HWY_RESTRICT acc) {
  JoinOutput<true>(d, tables, work, n_out, acc, 0,
                   tables.block() / OuterParts(tables));
}

HWY_NOINLINE void FftTile(const FftTables& tables, const float* HWY_RESTRICT x,
                          const float* HWY_RESTRICT spectrum, size_t n_out,
                          float* HWY_RESTRICT acc,
                          float* HWY_RESTRICT scratch) {
  const LaneTag d;
  const size_t step = hn::Lanes(d);
  const size_t point = 2 * step;
  const size_t block = tables.block();
  for (size_t lane = 0; lane < kLanes; lane += step) {
    SplitInput(d, tables, x + lane, scratch);
    const float* h = spectrum + lane * 2 * block;
    if (tables.starts_with_two()) {
      for (size_t k = 0; k < 2; ++k) {
        const size_t offset = k * (block / 2) * point;
        Descend(tables, 0, k, block / 2, h + offset, scratch + offset);
      }
    } else {
      for (size_t k = 0; k < 4; ++k) {
        const size_t offset = k * (block / 4) * point;
        Descend(tables, 1, k, block / 4, h + offset, scratch + offset);
      }
    }
    JoinOutput(d, tables, scratch, n_out, acc + lane);
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
  const size_t parts = OuterParts(tables);
  const size_t depth = tables.starts_with_two() ? 0 : 1;
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
    JoinOutput(d, tables, scratch, n_out, acc + lane);
  }
}

HWY_NOINLINE void FftSpectrum(const FftTables& tables,
                              const float* HWY_RESTRICT taps, size_t num_taps,
                              float* HWY_RESTRICT spectrum) {
  const LaneTag d;
  const size_t step = hn::Lanes(d);
  const size_t point = 2 * step;
  const size_t block = tables.block();
  const auto scale = hn::Set(d, 1.0f / static_cast<float>(block));
  const auto tap = [&](size_t n, size_t lane) HWY_ATTR {
    return n < num_taps ? hn::Mul(scale, hn::Load(d, taps + n * kLanes + lane))
                        : hn::Zero(d);
  };
  for (size_t lane = 0; lane < kLanes; lane += step) {
    float* h = spectrum + lane * 2 * block;
    for (size_t n = 0; n < block; ++n) {
      StoreC(d, {tap(n, lane), tap(n + block, lane)}, h + n * point);
    }
    size_t n = block, blocks = 1;
    if (tables.starts_with_two()) {
      const size_t half = block / 2;
      const Complex r = {hn::Set(d, FftTables::kHalf),
                         hn::Set(d, FftTables::kHalf)};
      for (size_t k = 0; k < half; ++k) {
        const Complex a = LoadC(d, h + k * point);
        const Complex b = MulC(LoadC(d, h + (k + half) * point), r);
        StoreC(d, AddC(a, b), h + k * point);
        StoreC(d, SubC(a, b), h + (k + half) * point);
      }
      n = half;
      blocks = 2;
    }
    for (size_t depth = 0; n >= 4; ++depth, n /= 4, blocks *= 4) {
      for (size_t b = 0; b < blocks; ++b) {
        SplitBlock(d, n, tables.Roots(depth) + 6 * b, h + b * n * point);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lcsm
HWY_AFTER_NAMESPACE();

#endif  // LCSM_KERNELS_CPU_FFT_TILE_INL_H_
