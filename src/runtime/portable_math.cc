#include "runtime/portable_math.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace lcsm {
namespace {

// ln 2 in two parts; the first has 21 trailing zero bits, so that its product
// with an exponent is exact.
constexpr double kLn2High = 0x1.62e42feep-1, kLn2Low = 0x1.a39ef35793c76p-33;

constexpr double kMagic = 6755399441055744.0;  // 1.5 * 2^52

constexpr double kInverseFactorials[] = {1.0,
                                         1.0,
                                         1.0 / 2,
                                         1.0 / 6,
                                         1.0 / 24,
                                         1.0 / 120,
                                         1.0 / 720,
                                         1.0 / 5040,
                                         1.0 / 40320,
                                         1.0 / 362880,
                                         1.0 / 3628800,
                                         1.0 / 39916800,
                                         1.0 / 479001600,
                                         1.0 / 6227020800.0};

}  // namespace

double PortableExp(double x) {
  if (std::isnan(x)) return x;
  if (x > 709.0) return std::numeric_limits<double>::infinity();
  if (x < -708.0) return 0;
  // x = n ln 2 + r, |r| <= 0.347. Adding 1.5 * 2^52 rounds to a whole number
  // and leaves it in the low bits, without a call of floor or ldexp: a sampler
  // does this for every id.
  const double shifted = x * 1.4426950408889634 + kMagic;
  const double n = shifted - kMagic;
  const double r = (x - n * kLn2High) - n * kLn2Low;
  // Taylor to degree 13, remainder 4e-18.
  double p = kInverseFactorials[13];
  for (int k = 12; k >= 0; --k) p = p * r + kInverseFactorials[k];
  // Times 2^n, by adding n to the exponent; the result is a normal number.
  return std::bit_cast<double>(std::bit_cast<uint64_t>(p) +
                               (std::bit_cast<uint64_t>(shifted) << 52));
}

double PortableLog(double x) {
  int exponent = 0;
  double m = std::frexp(x, &exponent);  // [0.5, 1)
  if (m < 0.70710678118654752) {
    m *= 2;
    --exponent;
  }
  // log m = 2 atanh(s), s = (m - 1) / (m + 1), |s| <= 0.1716; terms up to
  // s^23 / 23 (remainder 2e-20).
  const double s = (m - 1) / (m + 1);
  const double z = s * s;
  double sum = 0;
  for (int k = 23; k >= 3; k -= 2) sum = (sum + 1.0 / k) * z;
  const double log_m = 2 * s + 2 * s * sum;
  return exponent * kLn2High + (exponent * kLn2Low + log_m);
}

}  // namespace lcsm
