// Scalar twins of pointwise.h: plainly right, float64 inside, not rounded. The
// oracle of the tests.
#pragma once

#include <cstddef>

namespace lcsm::ref {

void LayerNorm(const float* x, const float* weight, const float* bias,
               size_t width, float eps, double* y);
double Gelu(float x);
// As PointwiseKernels::fir_step, without moving the tail on.
void FirStep(const float* x, const float* w, const float* bias, size_t taps,
             size_t stride, size_t n, const float* tail, double* y);

}  // namespace lcsm::ref
