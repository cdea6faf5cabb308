// Everything between matrix products and convolutions: norms, activations,
// gates, the short FIR, and the float64 functions that filters are made of, for
// the SIMD target in force.
//
// All kernels are pure functions of their arguments; nothing is shared. An
// element's bits depend on its inputs and the target alone (layer_norm: on its
// row), never on where a range begins or ends. Pointers may have any alignment
// of their type; outputs may be the same as an input of the same index, but
// must not overlap otherwise. Slow twin: ref/pointwise_ref.h.
#pragma once

#include <cstddef>

namespace lcsm {

struct PointwiseKernels {
  const char* target;  // "AVX2" and so on, as Highway names it.

  // y = (x - mean) / sqrt(variance + eps) * weight + bias over one row of
  // `width` > 0 elements; biased variance, in two passes.
  void (*layer_norm)(const float* x, const float* weight, const float* bias,
                     size_t width, float eps, float* y);

  // y = x / 2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))). Error at most
  // 4 * 2^-24 * |x| (see the derivation in pointwise.cc); relative error at
  // most 8 * 2^-24 for x >= -1.
  void (*gelu)(const float* x, size_t n, float* y);

  // y = a + b and y = a * b.
  void (*add)(const float* a, const float* b, size_t n, float* y);
  void (*multiply)(const float* a, const float* b, size_t n, float* y);

  // One time step of n depthwise FIR filters of `taps` >= 1 taps:
  //   y = bias + sum_{j < taps-1} w[j] * tail[j] + w[taps-1] * x,
  // then tail drops its oldest row and takes x in. w is [taps][stride], tail is
  // [taps-1][stride], oldest first; the first n of each row are used.
  void (*fir_step)(const float* x, const float* w, const float* bias,
                   size_t taps, size_t stride, size_t n, float* tail, float* y);

  // The same for `count` steps at once over rows that lie in memory, x[t *
  // stride + c], the taps - 1 rows before the first among them:
  //   y[t][c] = factor[t][c] * (bias + sum_j w[j] * x[t - (taps - 1) + j]),
  // the sum in the bits of fir_step; no factor where it is null. y may be
  // `factor`, and must not overlap x.
  void (*fir_rows)(const float* x, const float* w, const float* bias,
                   size_t taps, size_t stride, size_t n, size_t count,
                   const float* factor, size_t factor_stride, float* y,
                   size_t y_stride);

  // x = sin(scale * x), absolute error below 4e-16 + that of the product.
  void (*sine_f64)(double scale, size_t n, double* x);

  // g = g * (exp(-t * rate) + shift), for t * rate >= 0; relative error of the
  // exponential below 4e-16 + that of the product.
  void (*window_f64)(const double* t, double rate, double shift, size_t n,
                     double* g);

  // y = x, rounded; whether all of that is finite, and if not, y is of no use.
  // y must not overlap x.
  bool (*round_f64)(const double* x, size_t n, float* y);
};

// The table for the best target this CPU has, or the one forced. Valid for
// ever.
const PointwiseKernels& GetPointwiseKernels();

}  // namespace lcsm
