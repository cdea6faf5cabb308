#include "conv/reference.h"

#include <algorithm>
#include <cmath>

namespace lcsm::conv {

double ReferenceOutput(const float* x, size_t t, const float* rho,
                       size_t taps) {
  double sum = 0;
  const size_t first = t + 1 > taps ? t + 1 - taps : 0;
  for (size_t i = first; i <= t; ++i)
    sum += static_cast<double>(x[i]) * rho[t - i];
  return sum;
}

std::vector<double> ReferenceConvolution(const float* x, size_t length,
                                         const float* rho, size_t taps) {
  std::vector<double> y(length);
  for (size_t t = 0; t < length; ++t) y[t] = ReferenceOutput(x, t, rho, taps);
  return y;
}

double ErrorBound(const float* x, size_t length, const float* rho,
                  size_t taps) {
  double xx = 0, hh = 0;
  for (size_t i = 0; i < length; ++i) xx += static_cast<double>(x[i]) * x[i];
  for (size_t i = 0; i < std::min(taps, length); ++i)
    hh += static_cast<double>(rho[i]) * rho[i];
  return 2 * 0x1p-24 *
         std::log2(2.0 * static_cast<double>(std::max<size_t>(length, 1))) *
         std::sqrt(xx * hh);
}

}  // namespace lcsm::conv
