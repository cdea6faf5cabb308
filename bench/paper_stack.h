// Whole models of the paper's experiments, to be stepped one position at a
// time: its synthetic setting, and its Hyena setting by the blocks of
// src/models.
//
// Convolutions may be fewer than the layers (memory): their time is then to be
// scaled by `layers / mixers`. Not thread safe; uses the pool it was given.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "conv/online_convolution.h"
#include "lcsm/status.h"
#include "models/hyena_weights.h"
#include "runtime/model.h"

namespace lcsm::bench {

class PaperStack {
 public:
  virtual ~PaperStack() = default;

  // One position of all layers, from the input that the last one's sampler
  // chose to the next. Never allocates, never fails.
  virtual void Step() noexcept = 0;
  // Seconds since the stack was made; the head holds the sampler.
  virtual const StepTimes& times() const = 0;
  virtual conv::OnlineConvolution& convolution() = 0;
};

// The synthetic setting: per layer a mixer, then D -> 4D, GELU, 4D -> D; the
// next input is the last layer's output plus noise. Weights are Gaussian, of a
// size that neither explodes nor dies down over 36 layers.
struct SyntheticWeights {
  size_t layers = 1, width = 1;
  FloatBuffer up, down;  // [layer][4D][D] and [layer][D][4D]
  const float* Up(size_t layer) const {
    return up.data() + layer * 4 * width * width;
  }
  const float* Down(size_t layer) const {
    return down.data() + layer * 4 * width * width;
  }
};
StatusOr<std::shared_ptr<const SyntheticWeights>> MakeSyntheticWeights(
    size_t layers, size_t width, ThreadPool& pool);

// What the sampler adds to the last layer's output on the way to position t:
// row t % kSyntheticNoiseRows of these, [kSyntheticNoiseRows][floats]. Row 0 is
// what the first position takes in.
inline constexpr size_t kSyntheticNoiseRows = 257;
std::vector<float> SyntheticNoise(size_t floats);

class SyntheticStack : public PaperStack {
 public:
  // Layers from prepared->plan().problem.mixers on have no mixer.
  static StatusOr<std::unique_ptr<SyntheticStack>> Create(
      std::shared_ptr<const SyntheticWeights> weights,
      std::shared_ptr<const conv::PreparedConvolution> prepared,
      ThreadPool& pool);

  void Step() noexcept override;
  const StepTimes& times() const override { return times_; }
  conv::OnlineConvolution& convolution() override { return *convolution_; }

  // [B][D]: what the next step takes in, and what the last layer gave before
  // the noise.
  const std::vector<float>& input() const { return x_; }
  const std::vector<float>& output() const { return output_; }

 private:
  SyntheticStack(std::shared_ptr<const SyntheticWeights> weights,
                 ThreadPool& pool)
      : weights_(std::move(weights)), pool_(pool) {}
  void Mlp(size_t layer) noexcept;

  std::shared_ptr<const SyntheticWeights> weights_;
  ThreadPool& pool_;
  std::unique_ptr<conv::OnlineConvolution> convolution_;
  size_t batch_ = 1, mixers_ = 1;
  std::vector<float> x_, hidden_, output_, noise_;
  StepTimes times_;
};

// The largest |output - float64| over the largest |float64| of a few positions
// of at most two layers, all of them within the given method's reach.
StatusOr<double> CheckSyntheticStack(const SyntheticWeights& weights,
                                     const conv::PlanOptions& options,
                                     size_t batch, ThreadPool& pool);

// The Hyena setting: blocks of src/models with order 2, an MLP of width 4D and
// HyenaDNA's head of 16 rows; the sampler takes the likeliest id. One row only.
StatusOr<HyenaConfig> HyenaSetting(size_t layers, size_t width, size_t length);
StatusOr<std::shared_ptr<const HyenaWeights>> MakeHyenaWeights(size_t layers,
                                                               size_t width,
                                                               size_t length);
StatusOr<std::unique_ptr<PaperStack>> MakeHyenaStack(
    std::shared_ptr<const HyenaWeights> weights,
    std::shared_ptr<const conv::PreparedConvolution> prepared,
    ThreadPool& pool);

// Gaussian taps of variance 1 / L, so that outputs are of the inputs' size.
StatusOr<std::shared_ptr<const conv::FilterBank>> MakePaperFilters(
    const conv::Problem& problem, ThreadPool& pool);

}  // namespace lcsm::bench
