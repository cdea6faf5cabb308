#include "models/stack_rows.h"

#include <algorithm>
#include <cmath>

#include "kernels/pointwise.h"

namespace lcsm {
namespace {

template <typename F>
void Map(const float* x, size_t n, float* y, F f) noexcept {
  for (size_t i = 0; i < n; ++i) y[i] = f(x[i]);
}

}  // namespace

void RowNorm::Apply(const float* x, size_t width, float* y) const noexcept {
  switch (kind) {
    case StackNorm::Kind::kNone:
      if (x != y) std::copy_n(x, width, y);
      return;
    case StackNorm::Kind::kLayer:
      GetPointwiseKernels().layer_norm(x, weight, bias, width,
                                       static_cast<float>(eps), y);
      return;
    case StackNorm::Kind::kRms: {
      double square = 0;
      for (size_t i = 0; i < width; ++i) {
        square += static_cast<double>(x[i]) * x[i];
      }
      square /= static_cast<double>(width);
      const double divisor =
          eps_outside ? std::sqrt(square) + eps : std::sqrt(square + eps);
      // A row of zeros without eps: zeros, as nothing else would be finite.
      const float scale = divisor > 0 ? static_cast<float>(1 / divisor) : 0;
      for (size_t i = 0; i < width; ++i) {
        const float normed = x[i] * scale;
        const float weighed = weight == nullptr ? normed : normed * weight[i];
        y[i] = bias == nullptr ? weighed : weighed + bias[i];
      }
      return;
    }
  }
}

void Activate(StackActivation activation, const float* x, size_t n,
              float* y) noexcept {
  switch (activation) {
    case StackActivation::kRelu:
      return Map(x, n, y, [](float v) { return v > 0 ? v : 0.0f; });
    case StackActivation::kSilu:
      return Map(x, n, y, [](float v) { return v / (1 + std::exp(-v)); });
    case StackActivation::kGelu:
      return Map(x, n, y, [](float v) {
        // erfc keeps its precision where 1 + erf would lose all of it.
        return 0.5f * v * std::erfc(-v * 0.70710678f);
      });
    case StackActivation::kGeluTanh:
      GetPointwiseKernels().gelu(x, n, y);
      return;
    case StackActivation::kSigmoid:
      return Map(x, n, y, [](float v) { return 1 / (1 + std::exp(-v)); });
    case StackActivation::kTanh:
      return Map(x, n, y, [](float v) { return std::tanh(v); });
    case StackActivation::kSoftplus:
      return Map(x, n, y, [](float v) {
        return std::max(v, 0.0f) + std::log1p(std::exp(-std::abs(v)));
      });
  }
}

}  // namespace lcsm
