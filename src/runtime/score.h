// Log-likelihoods of known tokens.
//
// The first token has nothing before it and is not scored. The distribution is
// the softmax over the real vocabulary (runtime/log_softmax.h).
// Sequences longer than a window are scored window by window: each token once,
// with at least window - stride tokens of context where they exist.
//
// Thread safety: one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "lcsm/status.h"
#include "runtime/known_tokens.h"
#include "runtime/model.h"

namespace lcsm {

// A sum of float64 whose error does not grow with the number of terms
// (Neumaier).
class AccurateSum {
 public:
  void Add(double x) noexcept;
  double Value() const noexcept { return sum_ + lost_; }

 private:
  double sum_ = 0, lost_ = 0;
};

// Tokens [begin, end) are taken in together; [first_scored, end) are scored.
struct ScoreWindow {
  size_t begin = 0, end = 0, first_scored = 0;
  bool operator==(const ScoreWindow&) const = default;
};

class WindowPlan {
 public:
  // Windows of `window` tokens that begin every `stride` tokens, the last one
  // shorter; a single one if all `length` tokens fit, or if window is 0.
  // Preconditions: length > 0; window == 0, or 0 < stride < window.
  WindowPlan(size_t length, size_t window, size_t stride);
  size_t size() const { return size_; }
  ScoreWindow operator[](size_t i) const;

 private:
  size_t length_, window_, stride_, size_;
};

class Scorer {
 public:
  // Writes the tokens from `begin` on into `tokens`.
  using TokenSource =
      std::function<void(size_t begin, std::span<int32_t> tokens)>;
  // Called for each scored position in order.
  using TokenSink = std::function<Status(size_t position, double logprob)>;

  // `states` should be prepared for no steps. Both must outlive this.
  Scorer(const Model& model, KnownTokenStates& states)
      : model_(model), states_(states) {}

  // Scores positions 1 .. length - 1. Of a sequence, the result depends on its
  // tokens, window and stride and on nothing else. `progress` may be empty.
  // Errors: windows longer than the model takes, ids outside the vocabulary,
  // memory, a sink's, kCancelled, weights cut short while in use.
  Status Score(size_t length, size_t window, size_t stride,
               const TokenSource& tokens, const TokenSink& sink,
               const ModelState::Progress& progress);

 private:
  Status ScoreOne(const ScoreWindow& window, const TokenSink& sink,
                  const ModelState::Progress& progress);

  const Model& model_;
  KnownTokenStates& states_;
  std::vector<int32_t> tokens_;  // Of the window.
};

}  // namespace lcsm
