// Slow twins of the mixers: float64, each straight from its formula as a sum
// over all earlier inputs, no recurrence and no shared code. The oracle of the
// tests.
//
// x is [length][in_width], the result [length][out_width].
#pragma once

#include <cstddef>
#include <vector>

#include "mixers/diagonal_ssm.h"
#include "mixers/linear_attention.h"
#include "mixers/softmax_attention.h"

namespace lcsm::ref {

// y[t][c] = sum_{i <= t} taps[t - i][c] x[i][c], plus skip[c] x[t][c].
std::vector<double> Convolution(const std::vector<float>& taps,
                                const std::vector<float>& skip, size_t channels,
                                const std::vector<double>& x);
std::vector<double> Modes(const DiagonalModes& modes,
                          const std::vector<float>& x);
// `a` is [channels][states].
std::vector<double> Selective(size_t channels, size_t states,
                              const std::vector<float>& a,
                              const std::vector<float>& skip,
                              const std::vector<float>& x);
std::vector<double> Attention(const LinearAttentionOptions& options,
                              const std::vector<float>& x);
// With all defaults filled in: SoftmaxAttention::options().
std::vector<double> Attention(const SoftmaxAttentionOptions& options,
                              const std::vector<float>& x);

}  // namespace lcsm::ref
