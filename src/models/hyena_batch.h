// Several sequences of a Hyena model that take positions together, a token
// each, so that weights and filters' spectra are read once for all of them.
#pragma once

#include <memory>
#include <vector>

#include "base/thread_pool.h"
#include "conv/online_convolution.h"
#include "lcsm/status.h"
#include "mixers/short_fir.h"
#include "models/hyena_pass.h"
#include "models/hyena_weights.h"
#include "runtime/model.h"

namespace lcsm {

class HyenaBatch : public BatchState {
 public:
  // `rows` sequences with the past of one: its convolution, its short filters'
  // tails (one a layer), its room and its position. Error: memory.
  static StatusOr<std::unique_ptr<HyenaBatch>> Create(
      std::shared_ptr<const HyenaWeights> weights,
      const conv::OnlineConvolution& convolution,
      const std::vector<ShortFirState>& tails, size_t rows, size_t room,
      size_t position, ThreadPool& pool);

  size_t rows() const override { return rows_; }
  void Step(const int32_t* tokens, float* logits) noexcept override;
  size_t position() const override { return position_; }
  size_t StepRoom() const override { return room_; }
  const StepTimes& times() const override { return times_; }

 private:
  HyenaBatch() = default;

  std::shared_ptr<const HyenaWeights> weights_;
  std::unique_ptr<HyenaPass> pass_;
  std::unique_ptr<conv::OnlineConvolution> convolution_;
  std::vector<ShortFirState> tails_;  // [layer][row]
  size_t rows_ = 0, room_ = 0, position_ = 0;
  StepTimes times_;
};

}  // namespace lcsm
