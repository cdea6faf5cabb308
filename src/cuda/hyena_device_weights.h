// A Hyena model's weights on a device: brought there once, immutable, shared by
// all states.
#pragma once

#include <memory>
#include <vector>

#include "cuda/device.h"
#include "lcsm/status.h"
#include "models/hyena_weights.h"

namespace lcsm::cuda {

// W [out][in] in one of two formats, b [out] or none.
struct DeviceLinear {
  Array<float> floats;
  Array<Bfloat16> halves;
  Array<float> bias;
  size_t in = 0, out = 0;
  bool rounded() const { return halves.size() != 0; }
  const void* weight() const {
    return rounded() ? static_cast<const void*>(halves.data())
                     : static_cast<const void*>(floats.data());
  }
};

struct DeviceNorm {
  Array<float> weight, bias;
};

struct DeviceLayer {
  DeviceNorm norm1, norm2;
  DeviceLinear in_proj, out_proj, fc1, fc2;
  Array<float> fir, fir_bias;  // [taps][streams], [streams]
};

class HyenaDeviceWeights {
 public:
  // Errors: memory, with the numbers, before anything is brought; weights as
  // int8 and orders above 7, which device kernels do not know; a width whose
  // rows do not fit into a block's shared memory.
  static StatusOr<std::shared_ptr<const HyenaDeviceWeights>> Create(
      std::shared_ptr<Device> device,
      std::shared_ptr<const HyenaWeights> weights);

  Device& device() const { return *device_; }
  const std::shared_ptr<Device>& shared_device() const { return device_; }
  const HyenaWeights& host() const { return *host_; }
  const HyenaConfig& config() const { return host_->config(); }
  const std::vector<DeviceLayer>& layers() const { return layers_; }
  const float* embedding() const { return embedding_.data(); }
  const float* head() const {
    return head_.size() != 0 ? head_.data() : embedding_.data();
  }
  const DeviceNorm& final_norm() const { return final_norm_; }
  size_t bytes() const { return bytes_; }

 private:
  HyenaDeviceWeights() = default;
  StatusOr<Array<float>> Bring(const float* values, size_t count);
  StatusOr<DeviceLinear> BringLinear(const LinearWeights& linear);
  StatusOr<DeviceNorm> BringNorm(const NormWeights& norm);
  StatusOr<DeviceLayer> BringLayer(const HyenaLayerWeights& layer);

  std::shared_ptr<Device> device_;
  std::shared_ptr<const HyenaWeights> host_;
  std::vector<DeviceLayer> layers_;
  Array<float> embedding_, head_;  // head_ is empty where it is tied.
  DeviceNorm final_norm_;
  size_t bytes_ = 0;
};

}  // namespace lcsm::cuda
