// Activations and the RMS norm of stacks, for the SIMD target in force.
//
// All kernels are pure functions of their arguments; nothing is shared. An
// element's bits depend on its input and the target alone (rms_norm: on its
// row), never on where a range begins or ends. Pointers may have any alignment;
// x and y may be the same, but must not overlap otherwise. Slow twin:
// ref/activation_ref.h. In bounds, u is 2^-24, and what lies below 2^-120 may
// be anything up to that.
#pragma once

#include <cstddef>

namespace lcsm {

struct ActivationKernels {
  const char* target;  // "AVX2" and so on, as Highway names it.

  // 1 / (1 + exp(-x)) and x times that; relative error at most 8 u.
  void (*sigmoid)(const float* x, size_t n, float* y);
  void (*silu)(const float* x, size_t n, float* y);

  // x (1 + erf(x / sqrt(2))) / 2; error at most 6 u |x|.
  void (*gelu_erf)(const float* x, size_t n, float* y);

  // log(1 + exp(x)); relative error at most 8 u.
  void (*softplus)(const float* x, size_t n, float* y);

  // y = x * scale * weight + bias over one row of `width` > 0 elements, with
  // scale = 1 / sqrt(mean square + eps), or, with eps_outside, 1 / (sqrt(mean
  // square) + eps); 0 where that divides by 0. The mean is in float64. Null
  // `weight` is 1, null `bias` 0.
  void (*rms_norm)(const float* x, const float* weight, const float* bias,
                   size_t width, double eps, bool eps_outside, float* y);
};

// The table for the best target this CPU has, or the one forced. Valid for
// ever.
const ActivationKernels& GetActivationKernels();

}  // namespace lcsm
