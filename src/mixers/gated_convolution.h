// Gates and long convolutions in turn, the operator of Hyena and its kin.
//
// N + 1 streams of D channels stand side by side in each row, x0, x1, ...,
// x(N-1), v. For o = 0 .. N-2:
//   v <- v * x(N-1-o), then v <- causal convolution of v with filter o,
// and at last y = v * x0. (For N = 2 one gate, one convolution, one gate.)
#pragma once

#include <cstddef>

#include "base/thread_pool.h"
#include "conv/online_convolution.h"

namespace lcsm {

struct GatedConvolution {
  size_t order = 2;        // N
  size_t width = 1;        // D
  size_t first_mixer = 0;  // Filter o is mixer first_mixer + o of the
                           // convolution.

  // `positions` of as many `rows` as the convolution has: streams is
  // [positions][rows][(N+1) * D], y is [positions][rows][D], not overlapping.
  // The convolution must stand at the first of them and is not advanced.
  // `mixer_seconds` grows by the time spent in long convolutions. With
  // `skip_convolutions` they are left out (benchmarks). Never allocates. The
  // same bits for any grouping of positions into calls and any pool.
  void Run(conv::OnlineConvolution& convolution, ThreadPool& pool,
           size_t positions, size_t rows, const float* streams,
           bool skip_convolutions, float* y,
           double* mixer_seconds) const noexcept;
};

}  // namespace lcsm
