#include "kernels/ref/pointwise_ref.h"

#include <cmath>

namespace lcsm::ref {

void LayerNorm(const float* x, const float* weight, const float* bias,
               size_t width, float eps, double* y) {
  double mean = 0;
  for (size_t i = 0; i < width; ++i) mean += x[i];
  mean /= static_cast<double>(width);
  double variance = 0;
  for (size_t i = 0; i < width; ++i) variance += (x[i] - mean) * (x[i] - mean);
  variance /= static_cast<double>(width);
  const double scale = 1 / std::sqrt(variance + eps);
  for (size_t i = 0; i < width; ++i) {
    y[i] = (x[i] - mean) * scale * weight[i] + bias[i];
  }
}

double Gelu(float x) {
  const double a = x;
  const double pi = 3.14159265358979323846;
  // As a quotient: 1 + tanh loses all digits where tanh is near -1.
  const double u = std::sqrt(2 / pi) * (a + 0.044715 * a * a * a);
  return a / (1 + std::exp(-2 * u));
}

void FirStep(const float* x, const float* w, const float* bias, size_t taps,
             size_t stride, size_t n, const float* tail, double* y) {
  for (size_t i = 0; i < n; ++i) {
    double sum = bias[i];
    for (size_t j = 0; j < taps; ++j) {
      const double past = j + 1 < taps ? tail[j * stride + i] : x[i];
      sum += w[j * stride + i] * past;
    }
    y[i] = sum;
  }
}

}  // namespace lcsm::ref
