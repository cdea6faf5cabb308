#include "kernels/ref/activation_ref.h"

#include <algorithm>
#include <cmath>

namespace lcsm::ref {

double Sigmoid(float x) { return 1 / (1 + std::exp(-double{x})); }

double GeluErf(float x) {
  // erfc keeps its precision where 1 + erf would lose all of it.
  return double{x} / 2 * std::erfc(-double{x} / std::sqrt(2.0));
}

double Softplus(float x) {
  return std::max(double{x}, 0.0) + std::log1p(std::exp(-std::abs(double{x})));
}

void RmsNorm(const float* x, const float* weight, const float* bias,
             size_t width, double eps, bool eps_outside, double* y) {
  double square = 0;
  for (size_t i = 0; i < width; ++i) square += double{x[i]} * x[i];
  square /= static_cast<double>(width);
  const double divisor =
      eps_outside ? std::sqrt(square) + eps : std::sqrt(square + eps);
  for (size_t i = 0; i < width; ++i) {
    y[i] = divisor > 0 ? x[i] / divisor : 0;
    if (weight != nullptr) y[i] *= weight[i];
    if (bias != nullptr) y[i] += bias[i];
  }
}

}  // namespace lcsm::ref
