// Known tokens through a Hyena model on a device, layer by layer, as
// models/hyena_prefill.h does it on the CPU: rows through norm, projection and
// short FIR, all rows of a channel through the convolution by blocks of one
// size, rows through gate, projection and MLP; what the tokens contribute to
// the positions that may follow is left in the accumulators of those.
//
// Products are the library's (cuBLAS), the convolution is that of tiles.h with
// all inputs known. Rounding depends on the number of rows of a call, as
// libraries' products do: results agree with the CPU's within the tolerances of
// design 6, not in bits.
#pragma once

#include <span>

#include "conv/prefill.h"
#include "cuda/device.h"
#include "cuda/fft_launch.h"
#include "cuda/hyena_device_model.h"
#include "lcsm/status.h"
#include "runtime/model.h"

namespace lcsm::cuda {

struct DevicePending;

// Memory of prefills, kept from one to the next. One thread at a time.
class HyenaDevicePrefill {
 public:
  explicit HyenaDevicePrefill(HyenaDeviceShared shared)
      : shared_(std::move(shared)) {}

  // Device memory of one Run of so many rows, the products' scratch memory
  // included.
  static size_t BytesFor(const Device& device, const HyenaConfig& config,
                         bool rounded_weights, size_t rows, size_t following);

  // Takes tokens in from `position` on. `tails` are the layers' short FIRs',
  // [layer][tail_rows][streams], and move on. `before` has none at position 0,
  // else at least tokens + following lines; `after` takes `following`, and may
  // be the same memory. Waits for the end. Errors: those of ModelState::Prefill
  // but for tokens, which must have been checked.
  Status Run(Queue& queue, std::span<const int32_t> tokens, size_t position,
             size_t following, const ModelState::PrefillRequest& request,
             float* tails, const DevicePending& before,
             const DevicePending& after);

 private:
  struct Call {
    Queue& queue;
    size_t rows = 0, following = 0, position = 0;
    const ModelState::PrefillRequest& request;
    float* tails = nullptr;
    const DevicePending& before;
    const DevicePending& after;
    size_t block = 0;   // Of the convolution.
    size_t blocks = 0;  // Of outputs.
    size_t chunk = 0;   // Rows that go through products at a time.
  };
  // Elements of the arrays below.
  struct Sizes {
    int log_u = 0;
    size_t tokens = 0, x = 0, streams = 0, u = 0, product = 0, hidden = 0,
           widened = 0, lines = 0, spectra = 0, kept = 0, scratch = 0;
  };
  static conv::PrefillShape ShapeOf(size_t rows, size_t following);
  static Sizes SizesFor(const DeviceInfo& info, const HyenaConfig& config,
                        bool rounded_weights, size_t rows, size_t following);
  Device& device() const { return shared_.weights->device(); }
  const HyenaConfig& config() const { return shared_.weights->config(); }
  Status Allocate(const Call& call);
  Status Layer(const Call& call, size_t layer);
  void Enter(const Call& call, size_t layer) noexcept;
  void Convolve(const Call& call, size_t mixer) noexcept;
  void Leave(const Call& call, size_t layer) noexcept;
  void Product(const Call& call, const DeviceLinear& linear, const float* x,
               size_t rows, float* y) noexcept;
  void Norm(const Call& call, const DeviceNorm& norm, double eps, size_t first,
            size_t rows) noexcept;
  Status HandOutHidden(const Call& call, bool normed);
  Status HandOutLogits(const Call& call);

  const HyenaDeviceShared shared_;
  FftRoots roots_;
  Array<int32_t> tokens_;
  Array<float> x_;                     // [rows][D]
  Array<float> streams_;               // [rows][(N+1) D], behind the FIR.
  Array<float> u_, product_, hidden_;  // Of a chunk.
  Array<float> widened_;               // Of the largest rounded matrix.
  Array<float> lines_;                 // [group][rows + following][kLanes]
  Array<Complex> spectra_, kept_, scratch_;
};

}  // namespace lcsm::cuda
