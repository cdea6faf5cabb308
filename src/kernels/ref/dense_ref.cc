#include "kernels/ref/dense_ref.h"

#include <cmath>
#include <cstring>

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

double Weight(const PackedMatrix& w, size_t row, size_t k) {
  const size_t tile = row / 8 * ((w.in() + 31) / 32) + k / 32;
  if (w.format() == WeightFormat::kInt8) {
    return static_cast<double>(w.int8()[(tile * 8 + row % 8) * 32 + k % 32]) *
           w.scales()[row];
  }
  const uint32_t word = w.bf16()[(tile * 8 + row % 8) * 16 + k % 16];
  const uint32_t bits = k % 32 < 16 ? word << 16 : word & 0xFFFF0000u;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

}  // namespace lcsm::ref
