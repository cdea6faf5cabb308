// Matrix times vectors for decoding and prefill, for the SIMD target in force.
//
// One token is limited by reading the weights once, so they are read where they
// lie (row-major (out, in), as files store linear layers, at any 4-byte
// alignment) and never copied or repacked. Several tokens share one pass over a
// block of rows. What sets this apart from a library's matrix product: an
// output's bits depend on its row, its token and the target alone, not on how
// many tokens or which rows are computed together. That makes prefill equal to
// decoding and answers independent of the number of threads.
//
// All kernels are pure functions of their arguments; nothing is shared. Slow
// twin: ref/dense_ref.h.
#pragma once

#include <cstddef>

#include "kernels/dense_weights.h"
#include "kernels/panel_matrix.h"

namespace lcsm {

// Columns of a float64 panel, see DenseKernels::dense_f64. A multiple of every
// target's register tile (12 on AVX2, 24 on AVX-512), and 64 inputs of it are
// 24 KiB: they stay in L1.
inline constexpr size_t kPanel = 48;

// Columns of a PanelMatrix whose products are summed in registers before they
// join the others; this bounds rounding errors, too, as kSumBlock does for
// tiles. A panel's 16 KiB of them stay in L1 while all tokens pass.
inline constexpr size_t kPanelDepth = 256;

struct DenseKernels {
  const char* target;  // "AVX2" and so on, as Highway names it.

  // y[t * y_stride + r] = bias[r] + sum_k w[r * in + k] * x[t * x_stride + k]
  // for row_begin <= r < row_end and t < tokens. `bias` is null for none. w, x
  // and bias may have any 4-byte alignment; y must not overlap them. Error of
  // each output: at most (in / lanes + 8) * eps * sum_k |w x|, typically its
  // square root.
  void (*dense)(const float* w, const float* bias, size_t in, size_t row_begin,
                size_t row_end, const float* x, size_t x_stride, size_t tokens,
                float* y, size_t y_stride);

  // The same with a matrix in fewer bits. Error of each output against exact
  // sums with the weights as they were rounded: as above and one rounding more.
  void (*dense_packed)(const PackedMatrix& w, const float* bias,
                       size_t row_begin, size_t row_end, const float* x,
                       size_t x_stride, size_t tokens, float* y,
                       size_t y_stride);

  // The same for many tokens at a time, by a layout made for that, at twice the
  // speed or thereabouts; an output's bits depend on its row, its token and the
  // target, but are not those of `dense`. x must not overlap y. Error of each
  // output: at most (min(in, 256) + in / 256) * eps * sum_k |w x|, typically
  // its square root.
  void (*dense_panels)(const PanelView& w, const float* bias, const float* x,
                       size_t x_stride, size_t tokens, float* y,
                       size_t y_stride);

  // y[t][r] += sum_k w[r][k] x[t][k], otherwise the same. Columns that are
  // taken one kPanelDepth after another, the first by dense_panels and the
  // others by this, give the bits of dense_panels over all of them.
  void (*add_panels)(const PanelView& w, const float* x, size_t x_stride,
                     size_t tokens, float* y, size_t y_stride);

  // For benchmarks: sum of n floats in no particular order, which takes as long
  // as reading them.
  float (*sum)(const float* x, size_t n);

  // `dense` in float64 for kPanel vectors, transposed: x is [in][kPanel], y is
  // [rows][kPanel] (64-byte aligned, not overlapping), w [rows][in].
  void (*dense_f64)(const double* w, const double* bias, size_t in, size_t rows,
                    const double* x, double* y);
};

// The table for the best target this CPU has, or the one forced. Valid for
// ever.
const DenseKernels& GetDenseKernels();

}  // namespace lcsm
