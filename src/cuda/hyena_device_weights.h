// A Hyena model's weights on a device, or a rank's share of them (split.h):
// brought there once, immutable, shared by all states.
//
// A rank has the rows of in_proj, of the short FIR and of fc1 that make its
// channels and its hidden units, and the columns of out_proj and fc2 that read
// them; all have the norms of blocks. Only who leads has embedding, head, final
// norm and the biases of out_proj and fc2, since sums over ranks must have them
// once.
#pragma once

#include <memory>
#include <vector>

#include "cuda/device.h"
#include "cuda/split.h"
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
  // `share` is of a split of this model. Errors: memory, with the numbers,
  // before anything is brought; weights as int8 and orders above 7, which
  // device kernels do not know; a width whose rows do not fit into a block's
  // shared memory.
  static StatusOr<std::shared_ptr<const HyenaDeviceWeights>> Create(
      std::shared_ptr<Device> device,
      std::shared_ptr<const HyenaWeights> weights, const Share& share);

  Device& device() const { return *device_; }
  const std::shared_ptr<Device>& shared_device() const { return device_; }
  const HyenaWeights& host() const { return *host_; }
  const HyenaConfig& config() const { return host_->config(); }
  const Share& share() const { return share_; }
  // Of all N + 1 streams of the share's channels.
  size_t streams() const { return (config().order + 1) * share_.channels; }
  const std::vector<DeviceLayer>& layers() const { return layers_; }
  // These three are the leader's.
  const float* embedding() const { return embedding_.data(); }
  const float* head() const {
    return head_.size() != 0 ? head_.data() : embedding_.data();
  }
  const DeviceNorm& final_norm() const { return final_norm_; }
  size_t bytes() const { return bytes_; }

 private:
  // Rows and columns of a matrix: `blocks` times `rows` rows, `stride` apart,
  // from `first_row` on.
  struct Cut {
    size_t blocks = 1, stride = 0, first_row = 0, rows = 0;
    size_t first_column = 0, columns = 0;

    size_t all() const { return blocks * rows; }
    size_t RowAt(size_t k) const {
      return k / rows * stride + first_row + k % rows;
    }
  };
  HyenaDeviceWeights() = default;
  // Bytes of the matrices that a share has.
  static size_t MatrixBytes(const HyenaWeights& weights, const Share& share);
  StatusOr<Array<float>> Bring(const float* values, size_t count);
  // Of the rows, without their columns: biases, and the short FIR's taps.
  StatusOr<Array<float>> BringRows(const float* values, const Cut& cut,
                                   size_t lines, size_t line_floats);
  StatusOr<DeviceLinear> BringLinear(const LinearWeights& linear,
                                     const Cut& cut, bool with_bias);
  StatusOr<DeviceNorm> BringNorm(const NormWeights& norm);
  StatusOr<DeviceLayer> BringLayer(const HyenaLayerWeights& layer);

  std::shared_ptr<Device> device_;
  std::shared_ptr<const HyenaWeights> host_;
  Share share_;
  std::vector<DeviceLayer> layers_;
  Array<float> embedding_, head_;  // head_ is empty where it is tied.
  DeviceNorm final_norm_;
  size_t bytes_ = 0;
};

}  // namespace lcsm::cuda
