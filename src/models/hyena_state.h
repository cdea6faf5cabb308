// One sequence of a Hyena model: histories, tails and activations, and the
// forward pass that moves them on.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "conv/online_convolution.h"
#include "lcsm/status.h"
#include "mixers/short_fir.h"
#include "models/hyena_weights.h"
#include "runtime/model.h"

namespace lcsm {

class HyenaState : public ModelState {
 public:
  static StatusOr<std::unique_ptr<HyenaState>> Create(
      std::shared_ptr<const HyenaWeights> weights,
      std::shared_ptr<const conv::PreparedConvolution> convolution,
      ThreadPool& pool);
  // Of a state without its histories (those are the convolution's).
  static size_t Bytes(const HyenaConfig& config);

  void Step(int32_t token, float* logits) noexcept override;
  Status Prefill(std::span<const int32_t> tokens,
                 const PrefillRequest& request) override;
  StatusOr<std::unique_ptr<ModelState>> Fork() const override;
  size_t position() const override { return convolution_->position(); }
  size_t horizon() const override { return horizon_; }
  void Reset() noexcept override;
  const StepTimes& times() const override { return times_; }
  void SkipMixers(bool skip) noexcept override { skip_mixers_ = skip; }
  conv::OnlineConvolution* convolution() noexcept override {
    return convolution_.get();
  }

 private:
  HyenaState(std::shared_ptr<const HyenaWeights> weights, ThreadPool& pool)
      : weights_(std::move(weights)), pool_(pool) {}

  // Everything but the convolution, for at most `length` positions.
  Status Allocate(size_t length);
  Status CheckTokens(std::span<const int32_t> tokens) const;
  // Takes `count` tokens through all layers, leaving their residual streams in
  // x_; advances the convolution. One path for decoding (count = 1) and
  // prefill, and kernels whose bits do not depend on count: that is why both
  // give the same logits.
  void Forward(const int32_t* tokens, size_t count) noexcept {
    Embed(tokens, count);
    for (size_t l = 0; l < weights_->layers().size(); ++l) Layer(l, count);
    Advance(count);
  }
  void Embed(const int32_t* tokens, size_t count) noexcept;
  void Layer(size_t layer, size_t count) noexcept;
  void Advance(size_t count) noexcept;
  void Mix(const HyenaLayerWeights& w, size_t layer, size_t count) noexcept;
  void Mlp(const HyenaLayerWeights& w, size_t count) noexcept;
  // Rows of x_ through a norm into u_.
  void Normalize(const NormWeights& norm, double eps, size_t first,
                 size_t count) noexcept;
  // Logits of rows [first, first + count) of x_, [count][padded_vocab].
  void Head(size_t first, size_t count, float* logits) noexcept;
  // Calls body(begin, end) on ranges of rows [0, n) of a matrix with `in`
  // columns that `count` tokens go through.
  template <typename Body>
  void SplitRows(size_t n, size_t in, size_t count, Body&& body) noexcept;

  std::shared_ptr<const HyenaWeights> weights_;
  ThreadPool& pool_;
  std::unique_ptr<conv::OnlineConvolution> convolution_;
  std::vector<ShortFirState> fir_;
  FloatBuffer x_;        // Residual stream, [tokens][D].
  FloatBuffer u_;        // Normed, or mixed, [tokens][D].
  FloatBuffer streams_;  // Projections, [tokens][(N+1) D].
  FloatBuffer hidden_;   // Of the MLP, [tokens][inner].
  FloatBuffer update_;   // What is added to x_, [tokens][D].
  FloatBuffer logits_;   // [kHeadTokens][padded_vocab]
  StepTimes times_;
  size_t horizon_ = 0;
  bool skip_mixers_ = false;
};

}  // namespace lcsm
