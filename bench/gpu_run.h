// A convolution on a device with noise for inputs and filters: checked against
// float64, then timed.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "conv/plan.h"
#include "cuda/device.h"
#include "cuda/replayed.h"
#include "cuda/tiles.h"
#include "lcsm/status.h"

namespace lcsm::bench {

// Belongs to one thread. Errors of all but Create: the device's.
class GpuRun {
 public:
  // Requires plan.problem.primed. Errors: those of cuda::PreparedTiles and
  // cuda::Tiles.
  static StatusOr<std::unique_ptr<GpuRun>> Create(
      const std::shared_ptr<cuda::Device>& device, const conv::Plan& plan);

  // The largest error of the first positions, as a share of max |y|. Error: one
  // that no rounding makes.
  StatusOr<double> Check();

  // Seconds of positions [first, last), all known before pretended. `at` is
  // told the seconds so far at powers of two; may be null.
  StatusOr<double> Time(size_t first, size_t last,
                        const std::function<void(size_t, double)>& at);
  // Seconds of what falls due alone when `known` > 0 inputs are known, and of
  // the red cells of a position there. Not of deferred levels. What the run
  // then holds means nothing.
  StatusOr<double> TimeDue(size_t known);
  StatusOr<double> TimeRedCells(size_t position);

 private:
  GpuRun(const std::shared_ptr<cuda::Device>& device, const conv::Plan& plan)
      : device_(device), plan_(plan) {}
  float Tap(size_t mixer, size_t n, size_t channel) const;
  Status Make();
  // Positions [first, last); `done` is told of powers of two, after waiting.
  Status Go(size_t first, size_t last, const std::function<void(size_t)>& done);
  StatusOr<double> TimeRepeated(size_t known, size_t most,
                                const std::function<void()>& work);

  const std::shared_ptr<cuda::Device> device_;
  const conv::Plan plan_;
  std::shared_ptr<const cuda::PreparedTiles> prepared_;
  std::unique_ptr<cuda::Queue> queue_;
  std::unique_ptr<cuda::Tiles> tiles_;
  cuda::Replayed step_;
  std::vector<float> x_host_;
  cuda::Array<float> x_, y_;
};

}  // namespace lcsm::bench
