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
#include "models/hyena_prefill.h"
#include "models/hyena_weights.h"
#include "runtime/model.h"

namespace lcsm {

class HyenaState : public ModelState {
 public:
  // What it shares with other states of one preparation.
  struct Shared {
    std::shared_ptr<const HyenaWeights> weights;
    // For steps: null where none are to come.
    std::shared_ptr<const conv::PreparedConvolution> convolution;
    // For known tokens layer by layer: null where all may come by steps, so
    // that the convolution takes them all.
    std::shared_ptr<const HyenaPrefillShared> prefill;
    size_t horizon = 0;
    size_t steps() const {
      return convolution == nullptr ? 0 : convolution->plan().problem.length;
    }
  };
  static StatusOr<std::unique_ptr<HyenaState>> Create(Shared shared,
                                                      ThreadPool& pool);
  // One that takes everything in through the convolution.
  static StatusOr<std::unique_ptr<HyenaState>> Create(
      std::shared_ptr<const HyenaWeights> weights,
      std::shared_ptr<const conv::PreparedConvolution> convolution,
      ThreadPool& pool);
  // Of a state for `steps` steps, without its histories (those are the
  // convolution's) and what prefills need.
  static size_t Bytes(const HyenaConfig& config, size_t steps);

  void Step(int32_t token, float* logits) noexcept override;
  Status Prefill(std::span<const int32_t> tokens,
                 const PrefillRequest& request) override;
  void BeginSteps() noexcept override;
  Status PrefillBranches(std::span<const int32_t> trunk,
                         std::span<const std::span<const int32_t>> branches,
                         const BranchRequest& request) override;
  StatusOr<std::unique_ptr<ModelState>> Fork() const override;
  Status Save(io::SectionWriter& writer) const override;
  Status Load(io::SectionReader& reader) override;
  size_t position() const override { return origin_ + Stepped(); }
  size_t StepRoom() const override;
  size_t horizon() const override { return horizon_; }
  void Reset() noexcept override;
  const StepTimes& times() const override { return times_; }
  void SkipMixers(bool skip) noexcept override { skip_mixers_ = skip; }
  conv::OnlineConvolution* convolution() noexcept override {
    return convolution_.get();
  }

 private:
  HyenaState(Shared shared, ThreadPool& pool)
      : shared_(std::move(shared)),
        weights_(shared_.weights),
        pool_(pool),
        horizon_(shared_.horizon) {}

  // Everything but the convolution.
  Status Allocate();
  size_t TailFloats(size_t layer) const;
  // Memory for `count` positions' contributions.
  StatusOr<PendingLines> AllocateApart(size_t count, FloatBuffer* buffer) const;
  // Positions taken in through the convolution.
  size_t Stepped() const {
    return convolution_ == nullptr ? 0 : convolution_->position();
  }
  bool PendingIsApart() const {
    return pending_.lines != nullptr && pending_.lines == apart_.data();
  }
  Status PrefillByLayers(std::span<const int32_t> tokens, size_t following,
                         const PrefillRequest& request);
  Status PrefillOnline(std::span<const int32_t> tokens,
                       const PrefillRequest& request);
  // `position`: of the first.
  Status CheckTokens(std::span<const int32_t> tokens, size_t position) const;
  // Takes `count` tokens through all layers, leaving their residual streams in
  // x_; advances the convolution. One path for steps (count = 1) and for known
  // tokens that come through the convolution, and kernels whose bits do not
  // depend on count: that is why both give the same logits.
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

  const Shared shared_;
  const std::shared_ptr<const HyenaWeights> weights_;
  ThreadPool& pool_;
  // Known tokens come first, layer by layer; what they contribute to the
  // positions from origin_ on stands in pending_: the convolution's
  // accumulators, from position 0 of which steps then go on, or, while more
  // positions may follow than steps are meant for, memory apart.
  size_t origin_ = 0;
  PendingLines pending_;
  FloatBuffer apart_;
  // Scratch, shared with forks: it is of use to whoever has the pool, which is
  // one state at a time. Null where nothing goes layer by layer.
  std::shared_ptr<HyenaPrefill> prefill_;
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
