// Scalar twins of activation.h: plainly right, float64 inside, not rounded. The
// oracle of the tests.
#pragma once

#include <cstddef>

namespace lcsm::ref {

double Sigmoid(float x);
double GeluErf(float x);
double Softplus(float x);
void RmsNorm(const float* x, const float* weight, const float* bias,
             size_t width, double eps, bool eps_outside, double* y);

}  // namespace lcsm::ref
