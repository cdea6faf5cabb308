// The loop over elements and the exponential that kernels share: their
// instructions are part of an element's bits. Compiled once a target.

#include <cstddef>
#include <cstdint>

// A per-target include guard: undefined on the way into each target.
#if defined(LCSM_KERNELS_CPU_EXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LCSM_KERNELS_CPU_EXP_INL_H_
#undef LCSM_KERNELS_CPU_EXP_INL_H_
#else
#define LCSM_KERNELS_CPU_EXP_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace lcsm {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// Calls body(tag, i) for whole registers, then for single elements. The single
// ones go through the same instructions (multiply-adds stay fused where they
// are), so an element's bits do not depend on where the range ends.
template <typename T, typename Body>
HWY_INLINE void ForEach(size_t n, const Body& body) {
  const hn::ScalableTag<T> d;
  size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) body(d, i);
  const hn::CappedTag<T, 1> one;
  for (; i < n; ++i) body(one, i);
}

// exp(x) for |x| <= 87; beyond, exp(+-87).
//
// x = n ln 2 + r with |r| <= ln 2 / 2 = 0.347: n ln 2 is subtracted in two
// parts, the first with 9 trailing zero bits so that its product with n is
// exact. exp(r) by its Taylor polynomial of degree 7, whose remainder is below
// 0.347^8 / 8! = 5.2e-9 of the result, under a tenth of 2^-24. With the
// roundings of Horner's rule (each shrunk by |r|) and of r: below 2 * 2^-24.
template <class D>
HWY_INLINE hn::Vec<D> Exp(D d, hn::Vec<D> x) {
  const hn::Rebind<int32_t, D> di;
  x = hn::Max(hn::Min(x, hn::Set(d, 87.0f)), hn::Set(d, -87.0f));
  // Adding 1.5 * 2^23 rounds to a whole number and leaves it in the low bits.
  const auto magic = hn::Set(d, 12582912.0f);
  const auto shifted = hn::MulAdd(x, hn::Set(d, 1.44269504f), magic);
  const auto n = hn::Sub(shifted, magic);
  auto r = hn::NegMulAdd(n, hn::Set(d, 0.693145752f), x);
  r = hn::NegMulAdd(n, hn::Set(d, 1.42860677e-6f), r);
  auto p = hn::Set(d, 1.0f / 5040);
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 720));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 120));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 24));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 6));
  p = hn::MulAdd(p, r, hn::Set(d, 0.5f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  // Times 2^n: adds n to the exponent. The bits of 1.5 * 2^23 above n leave at
  // the top.
  return hn::BitCast(d, hn::Add(hn::BitCast(di, p),
                                hn::ShiftLeft<23>(hn::BitCast(di, shifted))));
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace lcsm
HWY_AFTER_NAMESPACE();

#endif  // include guard
