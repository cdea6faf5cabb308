// The oracle: causal convolution by float64 direct sums, and the error measure
// of design 6.
#pragma once

#include <cstddef>
#include <vector>

namespace lcsm::conv {

// y[t] = sum_{i<=t} x[i] * rho[t-i] for one channel. x and y have `length`
// entries, rho `taps`.
std::vector<double> ReferenceConvolution(const float* x, size_t length,
                                         const float* rho, size_t taps);

// y[t] for one t only: what benchmarks check at lengths where all of them would
// take too long.
double ReferenceOutput(const float* x, size_t t, const float* rho, size_t taps);

// The error that every method must stay under: 2 * eps * log2(2 L) * ||x||_2 *
// ||rho||_2, where eps is 2^-24, the rounding unit of float32. The methods here
// do an order of magnitude better on average data; the norms make it a bound
// for any data.
double ErrorBound(const float* x, size_t length, const float* rho, size_t taps);

}  // namespace lcsm::conv
