// One sequence of a stack: its mixers' states, and the forward pass
// (stack_pass.h) that moves them on.
#pragma once

#include <memory>
#include <span>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "lcsm/status.h"
#include "mixers/mixer_set.h"
#include "models/stack_panels.h"
#include "models/stack_pass.h"
#include "models/stack_weights.h"
#include "runtime/model.h"

namespace lcsm {

class StackState : public ModelState {
 public:
  // `panels`: for known tokens; null where these take the path of steps.
  static StatusOr<std::unique_ptr<StackState>> Create(
      std::shared_ptr<const StackWeights> weights,
      std::shared_ptr<const PreparedMixers> mixers,
      std::shared_ptr<const StackPanels> panels, ThreadPool& pool);
  // Of everything but the mixers' states.
  static size_t Bytes(const StackWeights& weights, size_t horizon);

  void Step(int32_t token, float* logits) noexcept override;
  // Known tokens go through in blocks of positions, each block through one step
  // of the stack after another, which takes all of them at once.
  Status Prefill(std::span<const int32_t> tokens,
                 const PrefillRequest& request) override;
  StatusOr<std::unique_ptr<ModelState>> Fork() const override;
  // Rows that share each reading of the weights and of filters' spectra
  // (StackBatch).
  StatusOr<std::unique_ptr<BatchState>> Spread(size_t rows) const override;
  // PreparedModel::Grow, onto longer mixers of the same weights.
  StatusOr<std::unique_ptr<StackState>> Grown(
      std::shared_ptr<const StackWeights> weights,
      std::shared_ptr<const PreparedMixers> mixers,
      std::shared_ptr<const StackPanels> panels) const;
  Status Save(io::SectionWriter& writer) const override;
  Status Load(io::SectionReader& reader) override;
  size_t padded_vocab() const override {
    return weights_->description().padded_vocab;
  }
  size_t position() const override { return position_; }
  size_t StepRoom() const override { return horizon_ - position_; }
  size_t horizon() const override { return horizon_; }
  void Reset() noexcept override;
  const StepTimes& times() const override { return times_; }
  void SkipMixers(bool skip) noexcept override { skip_mixers_ = skip; }
  Status Pretend(size_t position) override;
  void MoveTo(size_t position) noexcept override;
  size_t HistoryBytes() const override;

 private:
  StackState(std::shared_ptr<const StackWeights> weights,
             std::shared_ptr<const PreparedMixers> prepared,
             std::shared_ptr<const StackPanels> panels, ThreadPool& pool)
      : weights_(std::move(weights)),
        prepared_(std::move(prepared)),
        panels_(std::move(panels)),
        pool_(pool),
        horizon_(prepared_->horizon()) {}

  Status Allocate();
  Status CheckTokens(std::span<const int32_t> tokens) const;
  StackSequences Sequence() {
    return {mixers_.get(), past_.data(), &times_, skip_mixers_};
  }

  const std::shared_ptr<const StackWeights> weights_;
  const std::shared_ptr<const PreparedMixers> prepared_;
  const std::shared_ptr<const StackPanels> panels_;
  ThreadPool& pool_;
  std::unique_ptr<MixerStates> mixers_;
  std::unique_ptr<StackPass> pass_;
  FloatBuffer past_;    // Of StackSequences, [slot][D].
  FloatBuffer logits_;  // [kHeadTokens][padded_vocab]
  StepTimes times_;
  size_t position_ = 0;
  size_t horizon_ = 0;
  bool skip_mixers_ = false;
};

}  // namespace lcsm
