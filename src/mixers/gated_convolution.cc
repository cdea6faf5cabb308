#include "mixers/gated_convolution.h"

#include <chrono>

#include "kernels/pointwise.h"

namespace lcsm {
namespace {

// Rows of a few thousand products are over before another thread has woken up.
constexpr size_t kGrainFloats = 16384;

}  // namespace

void GatedConvolution::Run(conv::OnlineConvolution& convolution,
                           ThreadPool& pool, size_t positions, size_t rows,
                           const float* streams, bool skip_convolutions,
                           float* y, double* mixer_seconds) const noexcept {
  const PointwiseKernels& kernels = GetPointwiseKernels();
  const size_t stride = (order + 1) * width;
  const size_t grain = kGrainFloats / width + 1;
  // y <- (v or y) * stream `gate`.
  const auto multiply = [&](size_t gate, bool first) {
    pool.ParallelFor(positions * rows, grain,
                     [&](size_t begin, size_t end, size_t) {
                       for (size_t t = begin; t < end; ++t) {
                         const float* const row = streams + t * stride;
                         float* const out = y + t * width;
                         kernels.multiply(first ? row + order * width : out,
                                          row + gate * width, width, out);
                       }
                     });
  };
  for (size_t o = 0; o + 1 < order; ++o) {
    multiply(order - 1 - o, o == 0);
    if (skip_convolutions) continue;
    const auto start = std::chrono::steady_clock::now();
    if (positions == 1) {
      convolution.Step(first_mixer + o, y, y);
    } else {
      convolution.StepMany(first_mixer + o, positions, y, y);
    }
    *mixer_seconds +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
            .count();
  }
  multiply(0, false);
}

}  // namespace lcsm
