// Scalar twins of tile_kernels.h: plainly right, float64 inside, slow. The
// oracle of the tests.
#pragma once

#include <complex>
#include <cstddef>
#include <vector>

namespace lcsm::ref {

// acc[j] += sum_i x[i] * taps[n_in + j - i] over all lanes, summed in double,
// rounded once. Layout and meaning as in TileKernels.
void Tile(const float* x, const float* taps, size_t num_taps, size_t n_in,
          size_t n_out, double* acc);

// Remainder of h[0..2U) as a complex polynomial of degree < U modulo x^U - i,
// evaluated at all U roots of x^U = i, exp(i (pi/2 + 2 pi k) / U) for k =
// 0..U-1: by definition, O(U^2).
std::vector<std::complex<double>> NegacyclicTransform(
    const std::vector<double>& h);

}  // namespace lcsm::ref
