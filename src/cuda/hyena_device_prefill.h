// Known tokens through a Hyena model on a device, layer by layer, as
// models/hyena_prefill.h does it on the CPU: rows through norm, projection and
// short FIR, all rows of a channel through the convolution by blocks of one
// size, rows through gate, projection and MLP; what the tokens contribute to
// the positions that may follow is left in the accumulators of those.
//
// Of a model that is split each rank has its channels and hidden units of all
// rows, and all have the residual stream: chunk after chunk of rows is summed
// over the ranks, behind the output projection and behind the MLP.
//
// Products are the library's (cuBLAS), the convolution is that of tiles.h with
// all inputs known. Rounding depends on the number of rows of a call, as
// libraries' products do: results agree with the CPU's within the tolerances of
// design 6, not in bits.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "conv/prefill.h"
#include "cuda/device.h"
#include "cuda/fft_launch.h"
#include "cuda/hyena_device_model.h"
#include "cuda/hyena_device_ranks.h"
#include "lcsm/status.h"
#include "runtime/model.h"

namespace lcsm::cuda {

// Contributions of earlier inputs to positions to come, in device memory, in
// the order of histories.
struct DevicePending {
  std::vector<float*> lines;  // Each rank's; none: nothing is pending.
  size_t stride = 0;          // Floats.
  size_t count = 0;
};

// Memory of prefills, kept from one to the next. One thread at a time.
class HyenaDevicePrefill {
 public:
  explicit HyenaDevicePrefill(HyenaDeviceShared shared)
      : shared_(std::move(shared)), parts_(shared_.ranks.size()) {}

  // A rank's device memory of one Run of so many rows, the products' scratch
  // memory included.
  static size_t BytesFor(const Device& device, const HyenaConfig& config,
                         const Share& share, bool rounded_weights, size_t rows,
                         size_t following);

  // Takes tokens in from `position` on, on the queues of `ranks`, whose short
  // FIRs' tails move on. `before` has none at position 0,
  // else at least tokens + following lines; `after` takes `following`, and may
  // be the same memory. Waits for the end. Errors: those of ModelState::Prefill
  // but for tokens, which must have been checked.
  Status Run(HyenaDeviceRanks& ranks, std::span<const int32_t> tokens,
             size_t position, size_t following,
             const ModelState::PrefillRequest& request,
             const DevicePending& before, const DevicePending& after);

 private:
  struct Call {
    HyenaDeviceRanks& ranks;
    size_t rows = 0, following = 0, position = 0;
    const ModelState::PrefillRequest& request;
    const DevicePending& before;
    const DevicePending& after;
    size_t block = 0;   // Of the convolution.
    size_t blocks = 0;  // Of outputs.
    size_t chunk = 0;   // Rows that go through products at a time.
  };
  // Elements of a part's arrays.
  struct Sizes {
    int log_u = 0;
    size_t tokens = 0, x = 0, streams = 0, u = 0, product = 0, hidden = 0,
           widened = 0, lines = 0, spectra = 0, kept = 0, scratch = 0;
  };
  // A rank's memory.
  struct Part {
    FftRoots roots;
    Array<int32_t> tokens;  // The leader's.
    Array<float> x;         // [rows][D]
    Array<float> streams;   // [rows][N + 1][channels], behind the FIR.
    Array<float> u, product, hidden;  // Of a chunk.
    Array<float> widened;             // Of the largest rounded matrix.
    Array<float> lines;               // [group][rows + following][kLanes]
    Array<Complex> spectra, kept, scratch;
  };
  // What launches of one rank want.
  struct On {
    const Call& call;
    size_t rank = 0;
    Part& part;
    const HyenaDeviceWeights& weights;
    Queue& queue;

    const Share& share() const { return weights.share(); }
    const DeviceInfo& info() const { return weights.device().info(); }
  };
  static conv::PrefillShape ShapeOf(size_t rows, size_t following);
  static Sizes SizesFor(const DeviceInfo& info, const HyenaConfig& config,
                        const Share& share, bool rounded_weights, size_t rows,
                        size_t following);
  const HyenaConfig& config() const { return shared_.config(); }
  On At(const Call& call, size_t rank);
  // Sums rows [first, first + rows) of x over the ranks.
  void Sum(const Call& call, size_t first, size_t rows) noexcept;
  Status Allocate(const On& on);
  Status Layer(const Call& call, size_t layer);
  void Enter(const On& on, size_t layer) noexcept;
  void Mix(const On& on, size_t layer) noexcept;
  void Convolve(const On& on, size_t mixer) noexcept;
  // These two leave what is to be summed in rows [first, first + rows) of x.
  void Project(const On& on, size_t layer, size_t first, size_t rows) noexcept;
  void Mlp(const On& on, size_t layer, size_t first, size_t rows) noexcept;
  void Product(const On& on, const DeviceLinear& linear, const float* x,
               size_t rows) noexcept;
  // What follows a product: bias and `then`, into y.
  void Finish(const On& on, const DeviceLinear& linear, LinearThen then,
              size_t rows, float* y) noexcept;
  void Norm(const On& on, const DeviceNorm& norm, double eps, size_t first,
            size_t rows) noexcept;
  Status HandOutHidden(const Call& call, bool normed);
  Status HandOutLogits(const Call& call);

  const HyenaDeviceShared shared_;
  std::vector<Part> parts_;
};

}  // namespace lcsm::cuda
