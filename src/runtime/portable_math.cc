#include "runtime/portable_math.h"

#include <cmath>
#include <limits>

namespace lcsm {
namespace {

// ln 2 in two parts; the first has 21 trailing zero bits, so that its product
// with an exponent is exact.
constexpr double kLn2High = 0x1.62e42feep-1, kLn2Low = 0x1.a39ef35793c76p-33;

}  // namespace

double PortableExp(double x) {
  if (std::isnan(x)) return x;
  if (x > 709.0) return std::numeric_limits<double>::infinity();
  if (x < -708.0) return 0;
  // x = n ln 2 + r, |r| <= 0.347; Taylor to degree 14 (remainder 1e-19).
  const double n = std::floor(x * 1.4426950408889634 + 0.5);
  const double r = (x - n * kLn2High) - n * kLn2Low;
  double p = 1;
  for (int k = 14; k >= 1; --k) p = p * r / k + 1;
  return std::ldexp(p, static_cast<int>(n));
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
