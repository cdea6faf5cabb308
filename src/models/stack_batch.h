// Several sequences of a stack that take positions together, a token each, so
// that weights and filters' spectra are read once for all of them.
#pragma once

#include <memory>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "lcsm/status.h"
#include "mixers/mixer_set.h"
#include "models/stack_pass.h"
#include "models/stack_weights.h"
#include "runtime/model.h"

namespace lcsm {

class StackBatch : public BatchState {
 public:
  // `rows` sequences with the past of one: its mixers, its streams of the
  // position before (StackSequences::past) and its room. Errors: memory; no
  // rows.
  static StatusOr<std::unique_ptr<StackBatch>> Create(
      std::shared_ptr<const StackWeights> weights, const MixerStates& mixers,
      const FloatBuffer& past, size_t rows, size_t room, ThreadPool& pool);

  size_t rows() const override { return rows_; }
  void Step(const int32_t* tokens, float* logits) noexcept override;
  size_t position() const override { return mixers_->position(); }
  size_t StepRoom() const override { return room_; }
  const StepTimes& times() const override { return times_; }

 private:
  StackBatch() = default;

  std::shared_ptr<const StackWeights> weights_;
  std::unique_ptr<StackPass> pass_;
  std::unique_ptr<MixerStates> mixers_;
  FloatBuffer past_;  // [slot][row][D]
  size_t rows_ = 0, room_ = 0;
  StepTimes times_;
};

}  // namespace lcsm
