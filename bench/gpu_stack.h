// The paper's synthetic stack (arXiv 2410.12982) on a device: per layer a
// mixer, then D -> 4D, GELU, 4D -> D; the next input is the last layer's output
// plus noise. SyntheticStack of paper_stack.h is the same on the CPU, and its
// twin.
//
// A step is captured: a count, the first layer's red cells, then two launches a
// layer (cuda/stack_kernels.h). Without mixers the red cells are left out
// whole, so what is compared with is not slowed by launches that do nothing.
#pragma once

#include <memory>
#include <vector>

#include "base/thread_pool.h"
#include "bench/gpu_steps.h"
#include "bench/paper_stack.h"
#include "cuda/device.h"
#include "cuda/replayed.h"
#include "cuda/tiles.h"

namespace lcsm::bench {

// What stacks of one case share: weights, and the taps of filters that are long
// enough for all of them. Immutable.
class GpuStackParts {
 public:
  // `problem` as GpuProblem has it; its channels are the stack's width. Errors:
  // memory; the device's.
  static StatusOr<std::shared_ptr<const GpuStackParts>> Create(
      const std::shared_ptr<cuda::Device>& device, const conv::Problem& problem,
      ThreadPool& pool);

  // The outputs of the first positions on the CPU, [count][B][D].
  StatusOr<std::vector<float>> HostOutputs(size_t count,
                                           ThreadPool& pool) const;
  const conv::Problem& problem() const { return problem_; }
  const std::shared_ptr<cuda::Device>& device() const { return device_; }
  const float* Up(size_t layer) const { return up_.data() + layer * Floats(); }
  const float* Down(size_t layer) const {
    return down_.data() + layer * Floats();
  }
  const float* noise() const { return noise_.data(); }
  // Of the matrices, which each step reads.
  size_t weight_bytes() const { return up_.bytes() + down_.bytes(); }
  // For a plan of this problem.
  StatusOr<std::shared_ptr<const cuda::PreparedTiles>> Prepare(
      const conv::Plan& plan) const;

 private:
  GpuStackParts() = default;
  size_t Floats() const { return 4 * problem_.channels * problem_.channels; }
  // Taps [0, count) of one group, [count][kLanes].
  void FillTaps(size_t filter, size_t count, float* lines) const;
  Status MakeTaps(ThreadPool& pool);

  conv::Problem problem_;
  std::shared_ptr<cuda::Device> device_;
  std::shared_ptr<const SyntheticWeights> weights_;
  std::vector<float> gaussian_;  // That taps are made of.
  cuda::Array<float> up_, down_, noise_, taps_;
};

class GpuStack : public GpuSteps {
 public:
  // At most eight rows. Errors: memory; the device's.
  static StatusOr<std::unique_ptr<GpuStack>> Create(
      std::shared_ptr<const GpuStackParts> parts, const conv::Plan& plan,
      size_t bytes);

  const conv::Plan& plan() const override { return prepared_->plan(); }
  Status PutAt(size_t position) override;
  void LeaveMixersOut(bool out) override { bare_ = out; }
  Status Go(size_t count, Host host) override;
  size_t Launches(bool mixers) const override;
  size_t bytes() const override { return bytes_; }

  // The largest error of the first positions' outputs as a share of the largest
  // of `want`, which is [count][B][D]. Error: one that no rounding makes.
  StatusOr<double> Check(const std::vector<float>& want);

 private:
  GpuStack() = default;
  Status Make();
  void Enqueue(bool mixers) noexcept;
  cuda::CellsWork CellsOf(size_t layer, bool mixers) const;

  std::shared_ptr<const GpuStackParts> parts_;
  std::shared_ptr<const cuda::PreparedTiles> prepared_;
  std::unique_ptr<cuda::Queue> queue_;
  std::unique_ptr<cuda::Tiles> tiles_;
  cuda::Array<float> x_, hidden_, y_;  // [B][D], [B][4D], [B][D]
  cuda::Replayed step_, bare_step_;
  size_t bytes_ = 0;
  bool bare_ = false;
};

}  // namespace lcsm::bench
