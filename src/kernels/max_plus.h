// Sums and maxima in place of products and sums, for the SIMD target in force.
//
// All kernels are pure functions of their arguments; nothing is shared. Maxima
// of the same sums have the same bits in any order. Pointers may have any
// 4-byte alignment. Not a number is nobody's maximum. Slow twin: the tests'.
#pragma once

#include <cstddef>

namespace lcsm {

// Outputs of a call of `rows`.
inline constexpr size_t kMaxPlusRows = 16;

struct MaxPlusKernels {
  const char* target;  // "AVX2" and so on, as Highway names it.

  // max_i (x[i] + f[i]), i < count; -infinity for none.
  float (*best)(const float* x, const float* f, size_t count);
  // The last i for which it is reached, and the maximum. count > 0.
  size_t (*argbest)(const float* x, const float* f, size_t count, float* most);
  // y[j] = max(y[j], max_i (x[i] + f[j - i])), i < count, j < kMaxPlusRows:
  // reads f[1 - count] to f[kMaxPlusRows - 1].
  void (*rows)(const float* x, const float* f, size_t count, float* y);
};

// The table for the best target this CPU has, or the one forced. Valid for
// ever.
const MaxPlusKernels& GetMaxPlusKernels();

}  // namespace lcsm
