// Sums of lanes that all matrix products share: their order is part of an
// output's bits. Compiled once a target.

#include <algorithm>
#include <cstddef>

// A per-target include guard: undefined on the way into each target.
#if defined(LCSM_KERNELS_CPU_DENSE_SUMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LCSM_KERNELS_CPU_DENSE_SUMS_INL_H_
#undef LCSM_KERNELS_CPU_DENSE_SUMS_INL_H_
#else
#define LCSM_KERNELS_CPU_DENSE_SUMS_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace lcsm {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using FloatVec = hn::Vec<FloatTag>;

// Tokens of a panel: with 256 inputs 24 KiB, so that a panel stays in L1 while
// the rows pass by; each row is read from further away once a panel.
constexpr size_t kTokenPanel = 24;
// Tokens of a register tile: 4 rows x 3 tokens are 12 accumulators, with 3
// inputs and one weight all 16 registers of AVX2.
constexpr size_t kTokenTile = 3;

#if HWY_TARGET == HWY_SCALAR

struct QuadVec {
  float v[4];
};
HWY_INLINE QuadVec SumOfEach(FloatVec a, FloatVec b, FloatVec c, FloatVec e) {
  return {{hn::GetLane(a), hn::GetLane(b), hn::GetLane(c), hn::GetLane(e)}};
}
HWY_INLINE void StoreQuad(QuadVec q, float* out) {
  std::copy(q.v, q.v + 4, out);
}

#else

using QuadTag = hn::Full128<float>;
using QuadVec = hn::Vec<QuadTag>;

// Halves until four lanes are left. The order of the additions is part of an
// output's bits, so all tiles come through here.
template <class D>
HWY_INLINE QuadVec FoldToQuad(D d, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(D()) <= 4) {
    return v;
  } else {
    const hn::Half<D> half;
    return FoldToQuad(half,
                      hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}

// The lane sums of four accumulators side by side: a transpose on the way
// costs a quarter of four separate sums.
HWY_INLINE QuadVec SumOfEach(FloatVec a, FloatVec b, FloatVec c, FloatVec e) {
  const FloatTag d;
  const QuadTag q;
  const QuadVec qa = FoldToQuad(d, a), qb = FoldToQuad(d, b);
  const QuadVec qc = FoldToQuad(d, c), qe = FoldToQuad(d, e);
  const QuadVec ab =
      hn::Add(hn::InterleaveLower(q, qa, qb), hn::InterleaveUpper(q, qa, qb));
  const QuadVec ce =
      hn::Add(hn::InterleaveLower(q, qc, qe), hn::InterleaveUpper(q, qc, qe));
  return hn::Add(hn::ConcatLowerLower(q, ce, ab),
                 hn::ConcatUpperUpper(q, ce, ab));
}
HWY_INLINE void StoreQuad(QuadVec q, float* out) {
  hn::StoreU(q, QuadTag(), out);
}

#endif  // HWY_TARGET == HWY_SCALAR

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace lcsm
HWY_AFTER_NAMESPACE();

#endif  // include guard
