// One sequence of a Hyena model: histories and tails, and how they move on, by
// steps or by known tokens.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "conv/online_convolution.h"
#include "lcsm/status.h"
#include "mixers/short_fir.h"
#include "models/hyena_pass.h"
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
    // All taps up to the horizon, for longer preparations: null where states
    // may not grow.
    std::shared_ptr<const conv::FilterBank> taps;
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
  // PreparedModel::Grow, onto a longer preparation of the same weights.
  StatusOr<std::unique_ptr<HyenaState>> Grown(Shared longer) const;
  StatusOr<std::unique_ptr<BatchState>> Spread(size_t rows) const override;
  Status Save(io::SectionWriter& writer) const override;
  Status Load(io::SectionReader& reader) override;
  size_t padded_vocab() const override {
    return weights_->config().padded_vocab;
  }
  size_t position() const override { return origin_ + Stepped(); }
  size_t StepRoom() const override;
  size_t horizon() const override { return horizon_; }
  void Reset() noexcept override;
  const StepTimes& times() const override { return times_; }
  void SkipMixers(bool skip) noexcept override { skip_mixers_ = skip; }
  // In states for which all positions may come by steps.
  Status Pretend(size_t position) override;
  void MoveTo(size_t position) noexcept override;
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
  // Of `count` consecutive tokens in the pass's residual stream.
  void Layer(size_t layer, size_t count) noexcept;
  void Advance(size_t count) noexcept;

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
  std::vector<ShortFirState> fir_;  // One a layer.
  std::unique_ptr<HyenaPass> pass_;
  FloatBuffer logits_;  // [kHeadTokens][padded_vocab]
  StepTimes times_;
  size_t horizon_ = 0;
  bool skip_mixers_ = false;
};

}  // namespace lcsm
