// The paper's Hyena setting on a device: blocks of src/models with order 2, an
// MLP of width 4D, HyenaDNA's head of 16 rows; the device samples where it can.
// One row.
#pragma once

#include <memory>
#include <vector>

#include "base/thread_pool.h"
#include "bench/gpu_steps.h"
#include "cuda/device.h"
#include "runtime/model.h"

namespace lcsm::bench {

// The model on both sides. Immutable.
struct GpuHyenaModel {
  std::shared_ptr<const Model> host, device;

  // Errors: memory; the device's.
  static StatusOr<GpuHyenaModel> Create(const std::shared_ptr<cuda::Device>& on,
                                        size_t layers, size_t width,
                                        size_t length);
  // The CPU's logits of the first positions, for GpuHyena::Check.
  StatusOr<std::vector<float>> HostLogits(size_t count, ThreadPool& pool) const;
};

class GpuHyena : public GpuSteps {
 public:
  // `pool` must outlive this. Errors: memory; the device's.
  static StatusOr<std::unique_ptr<GpuHyena>> Create(
      const GpuHyenaModel& model, const conv::PlanOptions& options,
      size_t length, ThreadPool& pool);

  const conv::Plan& plan() const override { return prepared_->plan(); }
  Status PutAt(size_t position) override;
  void LeaveMixersOut(bool out) override { bare_ = out; }
  Status Go(size_t count, Host host) override;
  size_t Launches(bool mixers) const override;
  size_t bytes() const override { return bytes_; }

  // The largest difference of a logit. Error: one that no rounding makes.
  StatusOr<double> Check(const std::vector<float>& want);

 private:
  GpuHyena() = default;

  std::shared_ptr<const Model> model_;
  std::shared_ptr<const PreparedModel> prepared_;
  std::unique_ptr<ModelState> state_;
  std::vector<int32_t> ids_, tokens_;
  std::vector<float> logits_;
  size_t bytes_ = 0;
  bool bare_ = false;
};

}  // namespace lcsm::bench
