#include "kernels/ref/tile_ref.h"

#include <numbers>

#include "kernels/lanes.h"

namespace lcsm::ref {

void Tile(const float* x, const float* taps, size_t num_taps, size_t n_in,
          size_t n_out, double* acc) {
  for (size_t j = 0; j < n_out; ++j) {
    for (size_t i = 0; i < n_in; ++i) {
      const size_t tap = n_in + j - i;
      if (tap >= num_taps) continue;
      for (size_t c = 0; c < kLanes; ++c) {
        acc[j * kLanes + c] +=
            static_cast<double>(x[i * kLanes + c]) * taps[tap * kLanes + c];
      }
    }
  }
}

std::vector<std::complex<double>> NegacyclicTransform(
    const std::vector<double>& h) {
  const size_t block = h.size() / 2;
  std::vector<std::complex<double>> values(block);
  for (size_t k = 0; k < block; ++k) {
    const double root =
        (std::numbers::pi / 2 + 2 * std::numbers::pi * static_cast<double>(k)) /
        static_cast<double>(block);
    for (size_t n = 0; n < block; ++n) {
      values[k] += std::complex<double>(h[n], h[n + block]) *
                   std::polar(1.0, root * static_cast<double>(n));
    }
  }
  return values;
}

}  // namespace lcsm::ref
