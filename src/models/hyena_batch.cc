#include "models/hyena_batch.h"

#include <utility>

namespace lcsm {

StatusOr<std::unique_ptr<HyenaBatch>> HyenaBatch::Create(
    std::shared_ptr<const HyenaWeights> weights,
    const conv::OnlineConvolution& convolution,
    const std::vector<ShortFirState>& tails, size_t rows, size_t room,
    size_t position, ThreadPool& pool) {
  std::unique_ptr<HyenaBatch> batch(new HyenaBatch);
  LCSM_ASSIGN_OR_RETURN(batch->pass_, HyenaPass::Create(*weights, rows, pool));
  LCSM_ASSIGN_OR_RETURN(batch->convolution_, convolution.Spread(rows));
  for (size_t l = 0; l < tails.size(); ++l) {
    for (size_t row = 0; row < rows; ++row) {
      LCSM_ASSIGN_OR_RETURN(
          ShortFirState tail,
          ShortFirState::Create(weights->layers()[l].short_fir));
      tail.CopyFrom(tails[l]);
      batch->tails_.push_back(std::move(tail));
    }
  }
  batch->weights_ = std::move(weights);
  batch->rows_ = rows;
  batch->room_ = room;
  batch->position_ = position;
  return batch;
}

void HyenaBatch::Step(const int32_t* tokens, float* logits) noexcept {
  pass_->Embed(tokens, rows_);
  for (size_t l = 0; l < weights_->layers().size(); ++l) {
    pass_->Layer(l, {1, rows_}, &tails_[l * rows_], *convolution_,
                 /*skip_mixers=*/false, &times_);
  }
  pass_->Advance(1, *convolution_, /*skip_mixers=*/false, &times_);
  pass_->Head(0, rows_, logits, &times_);
  --room_;
  ++position_;
}

}  // namespace lcsm
