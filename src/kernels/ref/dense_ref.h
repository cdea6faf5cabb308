// Scalar twins of dense.h: plainly right, float64 inside, slow. The oracle of
// the tests.
#pragma once

#include <cstddef>

#include "kernels/dense_weights.h"

namespace lcsm::ref {

// Meaning as DenseKernels::dense for one token and all rows; the sum is in
// float64 and not rounded. `magnitude`, if not null, gets |bias| + sum |w x| of
// each row, from which error bounds follow.
void Dense(const float* w, const float* bias, size_t in, size_t rows,
           const float* x, double* y, double* magnitude);

// Weight (row, k) of a matrix in fewer bits, found by the layout's definition.
double Weight(const PackedMatrix& w, size_t row, size_t k);

}  // namespace lcsm::ref
