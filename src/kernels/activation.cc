#include "kernels/activation.h"

#include <cmath>

#include "base/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/activation.cc"
#include "hwy/foreach_target.h"  // Compiles this file once a target.
// After foreach_target.
#include "hwy/highway.h"
#include "kernels/cpu/exp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lcsm {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// 1 + exp(-x). Relative error of the exponential below 2 u, of the sum 3 u.
template <class D>
HWY_INLINE hn::Vec<D> OnePlusExpMinus(D d, hn::Vec<D> x) {
  return hn::Add(hn::Set(d, 1.0f), Exp(d, hn::Neg(x)));
}

HWY_NOINLINE void Sigmoid(const float* x, size_t n, float* y) {
  ForEach<float>(n, [=](auto d, size_t i) HWY_ATTR {
    const auto a = hn::LoadU(d, x + i);
    const auto share = hn::Div(hn::Set(d, 1.0f), OnePlusExpMinus(d, a));
    // Exp takes what is no number for its largest argument.
    hn::StoreU(hn::IfThenElse(hn::IsNaN(a), a, share), d, y + i);
  });
}

HWY_NOINLINE void Silu(const float* x, size_t n, float* y) {
  ForEach<float>(n, [=](auto d, size_t i) HWY_ATTR {
    const auto a = hn::LoadU(d, x + i);
    hn::StoreU(hn::Div(a, OnePlusExpMinus(d, a)), d, y + i);
  });
}

// With z = |x| / sqrt(2): x - x erfc(z) / 2 for x >= 0, else x erfc(z) / 2.
// erfc(z) = t exp(-z^2 + P(t)), t = 1 / (1 + z / 2), with the Chebyshev fit of
// Numerical Recipes (erfcc), whose relative error is below 1.2e-7 = 2 u. The
// exponent is off by a few u times its size e, and exp by as much relatively;
// e exp(-e) is at most 0.37, so that half of erfc is off by 4 u altogether, and
// the difference from 1 rounds once more.
HWY_NOINLINE void GeluErf(const float* x, size_t n, float* y) {
  ForEach<float>(n, [=](auto d, size_t i) HWY_ATTR {
    const auto a = hn::LoadU(d, x + i);
    const auto z = hn::Mul(hn::Abs(a), hn::Set(d, 0.70710678f));
    const auto one = hn::Set(d, 1.0f), half = hn::Set(d, 0.5f);
    const auto t = hn::Div(one, hn::MulAdd(z, half, one));
    auto p = hn::Set(d, 0.17087277f);
    p = hn::MulAdd(p, t, hn::Set(d, -0.82215223f));
    p = hn::MulAdd(p, t, hn::Set(d, 1.48851587f));
    p = hn::MulAdd(p, t, hn::Set(d, -1.13520398f));
    p = hn::MulAdd(p, t, hn::Set(d, 0.27886807f));
    p = hn::MulAdd(p, t, hn::Set(d, -0.18628806f));
    p = hn::MulAdd(p, t, hn::Set(d, 0.09678418f));
    p = hn::MulAdd(p, t, hn::Set(d, 0.37409196f));
    p = hn::MulAdd(p, t, hn::Set(d, 1.00002368f));
    p = hn::MulAdd(p, t, hn::Set(d, -1.26551223f));
    const auto tail = hn::Mul(hn::Mul(half, t), Exp(d, hn::NegMulAdd(z, z, p)));
    const auto share =
        hn::IfThenElse(hn::Lt(a, hn::Zero(d)), tail, hn::Sub(one, tail));
    hn::StoreU(hn::Mul(a, share), d, y + i);
  });
}

// max(x, 0) + log1p(e), e = exp(-|x|) <= 1. With s = e / (2 + e) <= 1/3,
// log1p(e) = 2 atanh(s) = 2 s (1 + s^2 / 3 + .. + s^12 / 13), remainder below
// (1/9)^7 / 15 * 9/8 = 1.6e-8 = 0.3 u.
HWY_NOINLINE void Softplus(const float* x, size_t n, float* y) {
  ForEach<float>(n, [=](auto d, size_t i) HWY_ATTR {
    const auto a = hn::LoadU(d, x + i);
    const auto e = Exp(d, hn::Neg(hn::Abs(a)));
    const auto s = hn::Div(e, hn::Add(e, hn::Set(d, 2.0f)));
    const auto z = hn::Mul(s, s);
    auto p = hn::Set(d, 1.0f / 13);
    p = hn::MulAdd(p, z, hn::Set(d, 1.0f / 11));
    p = hn::MulAdd(p, z, hn::Set(d, 1.0f / 9));
    p = hn::MulAdd(p, z, hn::Set(d, 1.0f / 7));
    p = hn::MulAdd(p, z, hn::Set(d, 1.0f / 5));
    p = hn::MulAdd(p, z, hn::Set(d, 1.0f / 3));
    p = hn::MulAdd(p, z, hn::Set(d, 1.0f));
    const auto sum = hn::MulAdd(hn::Add(s, s), p, hn::Max(a, hn::Zero(d)));
    hn::StoreU(hn::IfThenElse(hn::IsNaN(a), a, sum), d, y + i);
  });
}

template <bool kWeight, bool kBias>
HWY_INLINE void Scale(const float* x, const float* weight, const float* bias,
                      size_t width, float scale, float* y) {
  ForEach<float>(width, [=](auto d, size_t i) HWY_ATTR {
    auto v = hn::Mul(hn::LoadU(d, x + i), hn::Set(d, scale));
    if constexpr (kWeight && kBias) {
      v = hn::MulAdd(v, hn::LoadU(d, weight + i), hn::LoadU(d, bias + i));
    } else if constexpr (kWeight) {
      v = hn::Mul(v, hn::LoadU(d, weight + i));
    } else if constexpr (kBias) {
      v = hn::Add(v, hn::LoadU(d, bias + i));
    }
    hn::StoreU(v, d, y + i);
  });
}

HWY_NOINLINE void RmsNorm(const float* x, const float* weight,
                          const float* bias, size_t width, double eps,
                          bool eps_outside, float* y) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> half;
  const size_t lanes = hn::Lanes(d);
  auto a = hn::Zero(d), b = a;  // Two chains hide half of the latency.
  size_t i = 0;
  for (; i + 2 * lanes <= width; i += 2 * lanes) {
    const auto v = hn::PromoteTo(d, hn::LoadU(half, x + i));
    const auto w = hn::PromoteTo(d, hn::LoadU(half, x + i + lanes));
    a = hn::MulAdd(v, v, a);
    b = hn::MulAdd(w, w, b);
  }
  double square = hn::GetLane(hn::SumOfLanes(d, hn::Add(a, b)));
  for (; i < width; ++i) square += static_cast<double>(x[i]) * x[i];
  square /= static_cast<double>(width);
  const double divisor =
      eps_outside ? std::sqrt(square) + eps : std::sqrt(square + eps);
  const float scale = divisor > 0 ? static_cast<float>(1 / divisor) : 0;
  if (weight != nullptr && bias != nullptr) {
    Scale<true, true>(x, weight, bias, width, scale, y);
  } else if (weight != nullptr) {
    Scale<true, false>(x, weight, bias, width, scale, y);
  } else if (bias != nullptr) {
    Scale<false, true>(x, weight, bias, width, scale, y);
  } else {
    Scale<false, false>(x, weight, bias, width, scale, y);
  }
}

const ActivationKernels* ActivationTable() {
  static const ActivationKernels table = {
      hwy::TargetName(HWY_TARGET), Sigmoid, Silu, GeluErf, Softplus, RmsNorm,
  };
  return &table;
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace lcsm
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lcsm {
namespace {

HWY_EXPORT(ActivationTable);

}  // namespace

const ActivationKernels& GetActivationKernels() {
  return *HWY_DYNAMIC_DISPATCH(ActivationTable)();
}

}  // namespace lcsm
#endif  // HWY_ONCE
