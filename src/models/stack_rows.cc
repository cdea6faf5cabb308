#include "models/stack_rows.h"

#include <algorithm>
#include <cmath>

#include "kernels/activation.h"
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
    case StackNorm::Kind::kRms:
      GetActivationKernels().rms_norm(x, weight, bias, width, eps, eps_outside,
                                      y);
      return;
  }
}

void Activate(StackActivation activation, const float* x, size_t n,
              float* y) noexcept {
  const ActivationKernels& kernels = GetActivationKernels();
  switch (activation) {
    case StackActivation::kRelu:
      return Map(x, n, y, [](float v) { return v > 0 ? v : 0.0f; });
    case StackActivation::kSilu:
      return kernels.silu(x, n, y);
    case StackActivation::kGelu:
      return kernels.gelu_erf(x, n, y);
    case StackActivation::kGeluTanh:
      GetPointwiseKernels().gelu(x, n, y);
      return;
    case StackActivation::kSigmoid:
      return kernels.sigmoid(x, n, y);
    case StackActivation::kTanh:
      return Map(x, n, y, [](float v) { return std::tanh(v); });
    case StackActivation::kSoftplus:
      return kernels.softplus(x, n, y);
  }
}

}  // namespace lcsm
