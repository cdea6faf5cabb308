#include "runtime/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "runtime/log_softmax.h"
#include "runtime/philox.h"
#include "runtime/portable_math.h"

namespace lcsm {

StatusOr<Sampler> Sampler::Create(const SamplerOptions& options, size_t vocab,
                                  std::span<const int32_t> allowed) {
  if (vocab == 0) return InvalidInput("the vocabulary is empty");
  if (!std::isfinite(options.temperature) || options.temperature < 0) {
    return InvalidInput(
        fmt::format("temperature is {}, expected a finite number of at least 0",
                    options.temperature));
  }
  if (!(options.top_p > 0 && options.top_p <= 1)) {
    return InvalidInput(fmt::format(
        "top-p is {}, expected more than 0 and at most 1", options.top_p));
  }
  if (!(options.min_p >= 0 && options.min_p <= 1)) {
    return InvalidInput(
        fmt::format("min-p is {}, expected 0 to 1", options.min_p));
  }
  Sampler sampler;
  sampler.options_ = options;
  sampler.vocab_ = vocab;
  for (const int32_t id : allowed) {
    if (id < 0 || static_cast<size_t>(id) >= vocab) {
      return InvalidInput(fmt::format(
          "the allowed token {} is outside the vocabulary of {}", id, vocab));
    }
    sampler.ids_.push_back(id);
  }
  if (allowed.empty()) {
    for (size_t id = 0; id < vocab; ++id) {
      sampler.ids_.push_back(static_cast<int32_t>(id));
    }
  }
  std::sort(sampler.ids_.begin(), sampler.ids_.end());
  sampler.ids_.erase(std::unique(sampler.ids_.begin(), sampler.ids_.end()),
                     sampler.ids_.end());
  sampler.candidates_.resize(sampler.ids_.size());
  return sampler;
}

int32_t Sampler::Greedy(const float* logits) const noexcept {
  int32_t best = ids_.front();
  for (const int32_t id : ids_) {
    if (SaneLogit(logits[id]) > SaneLogit(logits[best])) best = id;
  }
  return best;
}

int32_t Sampler::Sample(const float* logits, uint64_t sample,
                        uint64_t position) noexcept {
  if (options_.temperature == 0) return Greedy(logits);
  const int32_t likeliest = Greedy(logits);
  const double max = SaneLogit(logits[likeliest]);
  size_t n = ids_.size();
  for (size_t i = 0; i < n; ++i) {
    const double distance = SaneLogit(logits[ids_[i]]) - max;
    // 0 / T is 0 for any T, so the likeliest weighs 1 even where the others'
    // quotients overflow.
    candidates_[i] = {
        distance == 0 ? 1.0 : PortableExp(distance / options_.temperature),
        ids_[i]};
  }
  const auto begin = candidates_.begin();
  // Total orders: what the algorithms of the standard library leave in which
  // order does not depend on their implementation.
  const auto likelier = [](const Candidate& a, const Candidate& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
  };
  const auto by_id = [](const Candidate& a, const Candidate& b) {
    return a.id < b.id;
  };
  bool sorted_by_id = true;

  if (options_.top_k != 0 && options_.top_k < n) {
    std::nth_element(begin,
                     begin + static_cast<std::ptrdiff_t>(options_.top_k - 1),
                     begin + static_cast<std::ptrdiff_t>(n), likelier);
    n = options_.top_k;
    std::sort(begin, begin + static_cast<std::ptrdiff_t>(n), by_id);
  }
  if (options_.top_p < 1) {
    double total = 0;
    for (size_t i = 0; i < n; ++i) total += candidates_[i].weight;
    // All candidates below this weigh less than what may be cut off, so they
    // need no sorting: of a large vocabulary this leaves a few hundred.
    const double dust =
        (1 - options_.top_p) * total / static_cast<double>(n) * 0.999;
    n = static_cast<size_t>(
        std::remove_if(begin, begin + static_cast<std::ptrdiff_t>(n),
                       [&](const Candidate& c) { return c.weight < dust; }) -
        begin);
    std::sort(begin, begin + static_cast<std::ptrdiff_t>(n), likelier);
    sorted_by_id = false;
    double share = 0;
    for (size_t i = 0; i < n; ++i) {
      share += candidates_[i].weight;
      if (share >= options_.top_p * total) {
        n = i + 1;
        break;
      }
    }
  }
  if (options_.min_p > 0) {
    // The likeliest weighs 1 and was never dropped.
    n = static_cast<size_t>(
        std::remove_if(
            begin, begin + static_cast<std::ptrdiff_t>(n),
            [&](const Candidate& c) { return c.weight < options_.min_p; }) -
        begin);
  }
  if (!sorted_by_id) {
    std::sort(begin, begin + static_cast<std::ptrdiff_t>(n), by_id);
  }

  double total = 0;
  for (size_t i = 0; i < n; ++i) total += candidates_[i].weight;
  const double target = UniformAt(options_.seed, sample, position) * total;
  double sum = 0;
  int32_t chosen = likeliest;
  for (size_t i = 0; i < n; ++i) {
    if (candidates_[i].weight == 0) continue;
    sum += candidates_[i].weight;
    chosen = candidates_[i].id;  // Rounding may leave target at the very end.
    if (target < sum) break;
  }
  return chosen;
}

double Sampler::LogProb(const float* logits, int32_t token) const noexcept {
  return LogSoftmaxAt(logits, vocab_, token);
}

}  // namespace lcsm
