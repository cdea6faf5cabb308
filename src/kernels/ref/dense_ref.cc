#include "kernels/ref/dense_ref.h"

#include <cmath>

namespace lcsm::ref {

void Dense(const float* w, const float* bias, size_t in, size_t rows,
           const float* x, double* y, double* magnitude) {
  for (size_t r = 0; r < rows; ++r) {
    double sum = bias != nullptr ? bias[r] : 0.0;
    double size = std::abs(sum);
    for (size_t k = 0; k < in; ++k) {
      const double product = static_cast<double>(w[r * in + k]) * x[k];
      sum += product;
      size += std::abs(product);
    }
    y[r] = sum;
    if (magnitude != nullptr) magnitude[r] = size;
  }
}

}  // namespace lcsm::ref
