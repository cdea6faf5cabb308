#include "kernels/pointwise.h"

#include <cmath>

#include "base/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/pointwise.cc"
#include "hwy/foreach_target.h"  // Compiles this file once a target.
// After foreach_target.
#include "hwy/highway.h"
#include "kernels/cpu/exp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lcsm {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using DoubleTag = hn::ScalableTag<double>;

// As Exp in float64 for |x| <= 700, degree 13: remainder 0.347^14 / 14! =
// 4e-18.
template <class D>
HWY_INLINE hn::Vec<D> ExpF64(D d, hn::Vec<D> x) {
  const hn::Rebind<int64_t, D> di;
  x = hn::Max(hn::Min(x, hn::Set(d, 700.0)), hn::Set(d, -700.0));
  const auto magic = hn::Set(d, 6755399441055744.0);
  const auto shifted = hn::MulAdd(x, hn::Set(d, 1.4426950408889634), magic);
  const auto n = hn::Sub(shifted, magic);
  auto r = hn::NegMulAdd(n, hn::Set(d, 0x1.62e42feep-1), x);
  r = hn::NegMulAdd(n, hn::Set(d, 0x1.a39ef35793c76p-33), r);
  auto p = hn::Set(d, 1.0 / 6227020800.0);
  p = hn::MulAdd(p, r, hn::Set(d, 1.0 / 479001600));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0 / 39916800));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0 / 3628800));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0 / 362880));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0 / 40320));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0 / 5040));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0 / 720));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0 / 120));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0 / 24));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0 / 6));
  p = hn::MulAdd(p, r, hn::Set(d, 0.5));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0));
  return hn::BitCast(d, hn::Add(hn::BitCast(di, p),
                                hn::ShiftLeft<52>(hn::BitCast(di, shifted))));
}

// Largest argument that SinF64 takes: n = 2x/pi stays below 2^20, so that n
// times a constant of 33 bits is exact.
constexpr double kMaxSine = 1.0e6;

// sin(x) for |x| <= kMaxSine.
//
// x = n pi/2 + r, |r| <= pi/4. pi/2 is subtracted in three parts, 33 + 33 + 53
// bits: the first two products are exact without a fused multiply-add, the
// first difference is exact (Sterbenz), the second rounds once by 2^-53 |r|,
// the third moves below that. Taylor polynomials of degree 17 (sine) and 18
// (cosine): remainders (pi/4)^19 / 19! = 8.3e-20 and (pi/4)^20 / 20! = 3.3e-21.
// In all below 3e-16.
template <class D>
HWY_INLINE hn::Vec<D> SinF64(D d, hn::Vec<D> x) {
  const hn::Rebind<int64_t, D> di;
  const auto magic = hn::Set(d, 6755399441055744.0);  // 1.5 * 2^52
  const auto shifted = hn::MulAdd(x, hn::Set(d, 0.63661977236758134), magic);
  const auto n = hn::Sub(shifted, magic);
  auto r = hn::NegMulAdd(n, hn::Set(d, 0x1.921fb544p+0), x);
  r = hn::NegMulAdd(n, hn::Set(d, 0x1.0b4611a6p-34), r);
  r = hn::NegMulAdd(n, hn::Set(d, 0x1.3198a2e037073p-69), r);
  const auto z = hn::Mul(r, r);

  auto s = hn::Set(d, 1.0 / 355687428096000.0);
  s = hn::MulAdd(s, z, hn::Set(d, -1.0 / 1307674368000.0));
  s = hn::MulAdd(s, z, hn::Set(d, 1.0 / 6227020800.0));
  s = hn::MulAdd(s, z, hn::Set(d, -1.0 / 39916800));
  s = hn::MulAdd(s, z, hn::Set(d, 1.0 / 362880));
  s = hn::MulAdd(s, z, hn::Set(d, -1.0 / 5040));
  s = hn::MulAdd(s, z, hn::Set(d, 1.0 / 120));
  s = hn::MulAdd(s, z, hn::Set(d, -1.0 / 6));
  s = hn::MulAdd(hn::Mul(s, z), r, r);

  auto c = hn::Set(d, -1.0 / 6402373705728000.0);
  c = hn::MulAdd(c, z, hn::Set(d, 1.0 / 20922789888000.0));
  c = hn::MulAdd(c, z, hn::Set(d, -1.0 / 87178291200.0));
  c = hn::MulAdd(c, z, hn::Set(d, 1.0 / 479001600));
  c = hn::MulAdd(c, z, hn::Set(d, -1.0 / 3628800));
  c = hn::MulAdd(c, z, hn::Set(d, 1.0 / 40320));
  c = hn::MulAdd(c, z, hn::Set(d, -1.0 / 720));
  c = hn::MulAdd(c, z, hn::Set(d, 1.0 / 24));
  c = hn::MulAdd(c, z, hn::Set(d, -0.5));
  c = hn::MulAdd(c, z, hn::Set(d, 1.0));

  // n mod 4 stands in the low bits: sin, cos, -sin, -cos.
  const auto quadrant = hn::BitCast(di, shifted);
  const auto odd =
      hn::RebindMask(d, hn::TestBit(quadrant, hn::Set(di, int64_t{1})));
  const auto sign =
      hn::BitCast(d, hn::ShiftLeft<62>(hn::And(quadrant, hn::Set(di, 2))));
  return hn::Xor(hn::IfThenElse(odd, c, s), sign);
}

HWY_NOINLINE void LayerNorm(const float* x, const float* weight,
                            const float* bias, size_t width, float eps,
                            float* y) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  const size_t whole = width - width % lanes;
  auto sums = hn::Zero(d);
  for (size_t i = 0; i < whole; i += lanes) {
    sums = hn::Add(sums, hn::LoadU(d, x + i));
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, sums));
  for (size_t i = whole; i < width; ++i) sum += x[i];
  const float mean = sum / static_cast<float>(width);
  auto squares = hn::Zero(d);
  for (size_t i = 0; i < whole; i += lanes) {
    const auto v = hn::Sub(hn::LoadU(d, x + i), hn::Set(d, mean));
    squares = hn::MulAdd(v, v, squares);
  }
  float square = hn::GetLane(hn::SumOfLanes(d, squares));
  for (size_t i = whole; i < width; ++i) {
    square += (x[i] - mean) * (x[i] - mean);
  }
  const float scale =
      1.0f / std::sqrt(square / static_cast<float>(width) + eps);
  ForEach<float>(width, [=](auto tag, size_t i) HWY_ATTR {
    const auto v = hn::Mul(hn::Sub(hn::LoadU(tag, x + i), hn::Set(tag, mean)),
                           hn::Set(tag, scale));
    hn::StoreU(
        hn::MulAdd(v, hn::LoadU(tag, weight + i), hn::LoadU(tag, bias + i)),
        tag, y + i);
  });
}

// (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)), so one exponential and one division.
// Let w = 2u and s the quotient: an error of the exponent e(w) changes s by
// s (1 - s) e(w); e(w) is at most 3 * 2^-24 |w| and s (1 - s) |w| at most 0.23,
// that is 0.7 * 2^-24. The exponential, sum, and division add at most
// (2 (1 - s) + 1 + 1) * 2^-24 s. Together below 4 * 2^-24.
HWY_NOINLINE void Gelu(const float* x, size_t n, float* y) {
  ForEach<float>(n, [=](auto d, size_t i) HWY_ATTR {
    const auto a = hn::LoadU(d, x + i);
    // -2 sqrt(2/pi) (1 + 0.044715 a^2)
    const auto p = hn::MulAdd(hn::Mul(a, a), hn::Set(d, -0.0713548162726f),
                              hn::Set(d, -1.59576912160573f));
    const auto e = Exp(d, hn::Mul(a, p));
    hn::StoreU(hn::Div(a, hn::Add(e, hn::Set(d, 1.0f))), d, y + i);
  });
}

HWY_NOINLINE void Add(const float* a, const float* b, size_t n, float* y) {
  ForEach<float>(n, [=](auto d, size_t i) HWY_ATTR {
    hn::StoreU(hn::Add(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, y + i);
  });
}

HWY_NOINLINE void Multiply(const float* a, const float* b, size_t n, float* y) {
  ForEach<float>(n, [=](auto d, size_t i) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, y + i);
  });
}

HWY_NOINLINE void FirStep(const float* x, const float* w, const float* bias,
                          size_t taps, size_t stride, size_t n, float* tail,
                          float* y) {
  ForEach<float>(n, [=](auto d, size_t i) HWY_ATTR {
    auto sum = hn::LoadU(d, bias + i);
    const auto now = hn::LoadU(d, x + i);
    for (size_t j = 0; j + 1 < taps; ++j) {
      const auto past = hn::LoadU(d, tail + j * stride + i);
      sum = hn::MulAdd(hn::LoadU(d, w + j * stride + i), past, sum);
      if (j > 0) hn::StoreU(past, d, tail + (j - 1) * stride + i);
    }
    sum = hn::MulAdd(hn::LoadU(d, w + (taps - 1) * stride + i), now, sum);
    if (taps > 1) hn::StoreU(now, d, tail + (taps - 2) * stride + i);
    hn::StoreU(sum, d, y + i);
  });
}

// A vector of channels at a time down the rows. For three taps, as models have,
// the filters stay in registers and a step takes one load; two vectors at a
// time, a whole cache line on AVX2, were no faster.
HWY_NOINLINE void FirRows(const float* x, const float* w, const float* bias,
                          size_t taps, size_t stride, size_t n, size_t count,
                          const float* factor, size_t factor_stride, float* y,
                          size_t y_stride) {
  ForEach<float>(n, [=](auto d, size_t i) HWY_ATTR {
    const auto start = hn::LoadU(d, bias + i);
    const auto store = [&](size_t t, auto sum) HWY_ATTR {
      if (factor != nullptr) {
        sum = hn::Mul(hn::LoadU(d, factor + t * factor_stride + i), sum);
      }
      hn::StoreU(sum, d, y + t * y_stride + i);
    };
    if (taps == 3) {
      const auto w0 = hn::LoadU(d, w + i), w1 = hn::LoadU(d, w + stride + i),
                 w2 = hn::LoadU(d, w + 2 * stride + i);
      auto older = hn::LoadU(d, x - 2 * stride + i),
           old = hn::LoadU(d, x - stride + i);
      for (size_t t = 0; t < count; ++t) {
        const auto now = hn::LoadU(d, x + t * stride + i);
        const auto sum = hn::MulAdd(w1, old, hn::MulAdd(w0, older, start));
        store(t, hn::MulAdd(w2, now, sum));
        older = old;
        old = now;
      }
      return;
    }
    const float* const first = x - (taps - 1) * stride;
    for (size_t t = 0; t < count; ++t) {
      auto sum = start;
      for (size_t j = 0; j < taps; ++j) {
        sum = hn::MulAdd(hn::LoadU(d, w + j * stride + i),
                         hn::LoadU(d, first + (t + j) * stride + i), sum);
      }
      store(t, sum);
    }
  });
}

// Doubles below this in magnitude round to finite floats: half a unit above the
// largest. (Looking at what came out would not do: Highway's portable target
// gives the largest float for what is too large.)
constexpr double kRoundsToInfinity = 0x1.ffffffp+127;

HWY_NOINLINE bool RoundF64(const double* x, size_t n, float* y) {
  const DoubleTag d;
  const hn::Rebind<float, DoubleTag> df;
  const size_t lanes = hn::Lanes(d), whole = n - n % lanes;
  const auto limit = hn::Set(d, kRoundsToInfinity);
  auto small = hn::Lt(hn::Zero(d), limit);
  for (size_t i = 0; i < whole; i += lanes) {
    const auto v = hn::LoadU(d, x + i);
    small = hn::And(small, hn::Lt(hn::Abs(v), limit));
    hn::StoreU(hn::DemoteTo(df, v), df, y + i);
  }
  bool finite = hn::AllTrue(d, small);
  for (size_t i = whole; i < n; ++i) {
    const bool fits = std::abs(x[i]) < kRoundsToInfinity;
    y[i] = fits ? static_cast<float>(x[i]) : 0.0f;
    finite &= fits;
  }
  return finite;
}

HWY_NOINLINE void SineF64(double scale, size_t n, double* x) {
  ForEach<double>(n, [=](auto d, size_t i) HWY_ATTR {
    const auto a = hn::Mul(hn::LoadU(d, x + i), hn::Set(d, scale));
    if (HWY_LIKELY(hn::AllTrue(d, hn::Le(hn::Abs(a), hn::Set(d, kMaxSine))))) {
      hn::StoreU(SinF64(d, a), d, x + i);
    } else {
      // No model we know of comes here.
      for (size_t j = i; j < i + hn::Lanes(d); ++j) {
        x[j] = std::sin(x[j] * scale);
      }
    }
  });
}

HWY_NOINLINE void WindowF64(const double* t, double rate, double shift,
                            size_t n, double* g) {
  ForEach<double>(n, [=](auto d, size_t i) HWY_ATTR {
    const auto e = ExpF64(d, hn::Mul(hn::LoadU(d, t + i), hn::Set(d, -rate)));
    hn::StoreU(hn::Mul(hn::LoadU(d, g + i), hn::Add(e, hn::Set(d, shift))), d,
               g + i);
  });
}

const PointwiseKernels* PointwiseTable() {
  static const PointwiseKernels table = {
      hwy::TargetName(HWY_TARGET),
      LayerNorm,
      Gelu,
      Add,
      Multiply,
      FirStep,
      FirRows,
      SineF64,
      WindowF64,
      RoundF64,
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

HWY_EXPORT(PointwiseTable);

}  // namespace

const PointwiseKernels& GetPointwiseKernels() {
  return *HWY_DYNAMIC_DISPATCH(PointwiseTable)();
}

}  // namespace lcsm
#endif  // HWY_ONCE
