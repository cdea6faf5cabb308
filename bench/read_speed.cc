#include "bench/read_speed.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "base/aligned_buffer.h"
#include "bench/timing.h"
#include "kernels/dense.h"

namespace lcsm::bench {

StatusOr<double> ReadMs(size_t bytes, ThreadPool& pool) {
  constexpr size_t kUnit = 1024;
  // Enough rounds for a median, and no minutes for large amounts.
  constexpr size_t kInAll = size_t{2} << 30;
  const size_t repeats =
      std::clamp<size_t>(kInAll / std::max<size_t>(bytes, 1), 5, 101);
  const size_t units = bytes / sizeof(float) / kUnit + 1;
  LCSM_ASSIGN_OR_RETURN(FloatBuffer memory,
                        FloatBuffer::Allocate(units * kUnit, "bytes to read"));
  std::fill_n(memory.data(), memory.size(), 1.0f);
  std::vector<double> ms;
  std::atomic<float> sink{0};
  for (size_t repeat = 0; repeat < repeats; ++repeat) {
    const Stopwatch watch;
    pool.ParallelFor(units, 16, [&](size_t begin, size_t end, size_t) {
      sink = GetDenseKernels().sum(memory.data() + begin * kUnit,
                                   (end - begin) * kUnit);
    });
    ms.push_back(1e3 * watch.Seconds());
  }
  return Quantile(ms, 0.5);
}

}  // namespace lcsm::bench
