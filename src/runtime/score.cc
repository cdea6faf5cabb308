#include "runtime/score.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>

#include "runtime/log_softmax.h"

namespace lcsm {

void AccurateSum::Add(double x) noexcept {
  const double sum = sum_ + x;
  // What rounding took from the smaller of the two.
  lost_ += std::abs(sum_) >= std::abs(x) ? (sum_ - sum) + x : (x - sum) + sum_;
  sum_ = sum;
}

WindowPlan::WindowPlan(size_t length, size_t window, size_t stride)
    : length_(length), window_(window), stride_(stride), size_(1) {
  assert(length > 0 && (window == 0 || (stride > 0 && stride < window)));
  if (window_ == 0 || window_ >= length_) {
    window_ = length_;
    return;
  }
  size_ += (length_ - window_ + stride_ - 1) / stride_;
}

ScoreWindow WindowPlan::operator[](size_t i) const {
  if (i == 0) return {0, window_, 1};
  const size_t begin = i * stride_;
  return {begin, std::min(length_, begin + window_), begin - stride_ + window_};
}

Status Scorer::ScoreOne(const ScoreWindow& window, const TokenSink& sink,
                        const ModelState::Progress& progress) {
  if (window.end <= window.first_scored) return OkStatus();
  const ModelInfo& info = model_.info();
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (tokens_[i] < 0 || static_cast<size_t>(tokens_[i]) >= info.vocab) {
      return InvalidInput(
          fmt::format("token {} at position {} is outside the vocabulary of {}",
                      tokens_[i], window.begin + i, info.vocab));
    }
  }
  // What the last token would foretell is nobody's question.
  const std::span<const int32_t> known(tokens_.data(), tokens_.size() - 1);
  LCSM_ASSIGN_OR_RETURN(ModelState* const state, states_.For(known.size()));
  ModelState::PrefillRequest request;
  request.following = 0;
  request.progress = progress;
  request.on_logits = [&](size_t position, std::span<const float> logits) {
    const size_t next = window.begin + position + 1;
    if (next < window.first_scored) return OkStatus();
    return sink(next,
                LogSoftmaxAt(logits.data(), info.vocab, tokens_[position + 1]));
  };
  LCSM_RETURN_IF_ERROR(state->Prefill(known, request));
  return model_.CheckWeights();
}

Status Scorer::Score(size_t length, size_t window, size_t stride,
                     const TokenSource& tokens, const TokenSink& sink,
                     const ModelState::Progress& progress) {
  if (length == 0) return OkStatus();
  const WindowPlan plan(length, window, stride);
  const double windows = static_cast<double>(plan.size());
  for (size_t i = 0; i < plan.size(); ++i) {
    const ScoreWindow now = plan[i];
    tokens_.resize(now.end - now.begin);
    tokens(now.begin, tokens_);
    ModelState::Progress part;
    if (progress) {
      part = [&](double done) {
        return progress((static_cast<double>(i) + done) / windows);
      };
    }
    LCSM_RETURN_IF_ERROR(ScoreOne(now, sink, part));
  }
  return OkStatus();
}

}  // namespace lcsm
