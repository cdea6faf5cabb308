// Exact causal convolution of a stream with long filters, without latency: each
// output is there before the next input is known, at O(log^2 L) operations a
// sample instead of O(L).
//
//   y[t][c] = sum over i <= t of x[i][c] * taps[c][t - i]
//
// For engineers with filters of their own (audio, control, research models):
// no model, no files.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "lcsm/options.h"
#include "lcsm/status.h"

namespace lcsm {
inline namespace v0 {

struct ConvolutionOptions {
  size_t channels = 1;
  // Samples the stream may have before Reset. Memory grows with it.
  size_t max_length = 0;
  // The stream may be given more samples later, see Reserve. Keeps a copy of
  // the taps, and every input where short filters would let go of old ones.
  bool growable = false;
  ExecutionOptions execution = {.threads = 1};
};

// Movable, not copyable. Not thread safe.
class OnlineConvolution {
 public:
  // `taps` is [channels][H], each channel's filter contiguous, the tap of lag 0
  // first; H follows from its size. Taps beyond max_length are never used, but
  // all must be finite numbers.
  static StatusOr<OnlineConvolution> Create(std::span<const float> taps,
                                            const ConvolutionOptions& options);
  OnlineConvolution(OnlineConvolution&&) noexcept;
  OnlineConvolution& operator=(OnlineConvolution&&) noexcept;
  ~OnlineConvolution();

  // One sample of every channel, [channels] each; x and y may be the same.
  // Requires position() < max_length(). Allocates nothing, cannot fail.
  void Step(const float* x, float* y) noexcept;

  // `count` samples at once, [count][channels]. Same outputs as Step to the
  // bit. Requires position() + count <= max_length().
  void Process(size_t count, const float* x, float* y) noexcept;

  // Makes room for `max_length` samples in all, between two of them, at any
  // position. Outputs from here on are, to the bit, those of a stream that had
  // the plan it has now from the start. Takes about as long as making a stream
  // of that length, and memory for both while it lasts, so grow by a factor,
  // not by a sample. Errors leave the stream as it was: one that was not made
  // growable, a length below max_length(), memory.
  Status Reserve(size_t max_length);

  size_t position() const noexcept;
  size_t max_length() const noexcept;
  void Reset() noexcept;  // Back to silence.

  // The plan in words, e.g. which tile sizes are computed how.
  std::string DescribePlan() const;

 private:
  struct Impl;
  explicit OnlineConvolution(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace v0
}  // namespace lcsm
