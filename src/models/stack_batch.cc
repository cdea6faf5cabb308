#include "models/stack_batch.h"

#include <algorithm>
#include <utility>

namespace lcsm {

StatusOr<std::unique_ptr<StackBatch>> StackBatch::Create(
    std::shared_ptr<const StackWeights> weights, const MixerStates& mixers,
    const FloatBuffer& past, size_t rows, size_t room, ThreadPool& pool) {
  std::unique_ptr<StackBatch> batch(new StackBatch);
  LCSM_ASSIGN_OR_RETURN(batch->mixers_, mixers.Spread(rows));
  LCSM_ASSIGN_OR_RETURN(batch->pass_,
                        StackPass::Create(*weights, nullptr, rows, pool));
  const size_t slots = weights->slots(), width = weights->description().width;
  if (slots != 0) {
    LCSM_ASSIGN_OR_RETURN(
        batch->past_,
        FloatBuffer::Allocate(slots * rows * width, "activations"));
  }
  for (size_t s = 0; s < slots; ++s) {
    for (size_t row = 0; row < rows; ++row) {
      std::copy_n(past.data() + s * width, width,
                  batch->past_.data() + (s * rows + row) * width);
    }
  }
  batch->weights_ = std::move(weights);
  batch->rows_ = rows;
  batch->room_ = room;
  return batch;
}

void StackBatch::Step(const int32_t* tokens, float* logits) noexcept {
  constexpr StackPass::Tokens kStep = StackPass::Tokens::kStep;
  const StackSequences sequences = {mixers_.get(), past_.data(), &times_};
  pass_->Embed(tokens, rows_);
  for (size_t b = 0; b < weights_->blocks().size(); ++b) {
    // A step does not fail.
    (void)pass_->Block(b, kStep, rows_, sequences);
  }
  pass_->Advance(kStep, rows_, sequences);
  pass_->Head(0, rows_, logits, &times_);
  --room_;
}

}  // namespace lcsm
