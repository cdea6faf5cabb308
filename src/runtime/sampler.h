// From logits to a token (docs/sampling.md).
//
// Temperature, then top-k, then top-p, then min-p, then one draw of the
// counter-based generator. Everything in float64 with arithmetic that is the
// same on every machine: the same logits, options, sample and position give the
// same token everywhere. (The logits themselves depend in their last bits on
// the SIMD target and the plan.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "lcsm/status.h"

namespace lcsm {

struct SamplerOptions {
  double temperature = 1;  // 0: greedy, the lowest id on ties.
  size_t top_k = 0;        // Keep the k likeliest, lower ids first; 0: all.
  double top_p = 1;        // Keep the likeliest that make up this share.
  double min_p = 0;        // Drop what is below this times the likeliest.
  uint64_t seed = 0;
};

// Not thread safe (owns scratch); one for each sequence in the making.
class Sampler {
 public:
  // Samples among ids [0, vocab), those of `allowed` if that is not empty.
  // Errors: a temperature that is negative or not finite, top_p outside (0, 1],
  // min_p outside [0, 1], an allowed id outside the vocabulary, vocab 0.
  static StatusOr<Sampler> Create(const SamplerOptions& options, size_t vocab,
                                  std::span<const int32_t> allowed = {});

  // `logits` has at least `vocab` entries; those beyond (padding) are ignored,
  // a NaN counts as minus infinity. Allocates nothing, cannot fail.
  int32_t Sample(const float* logits, uint64_t sample,
                 uint64_t position) noexcept;

  // log-softmax of `token` over the whole vocabulary: no temperature, no
  // filter, no mask. 0 <= token < vocab.
  double LogProb(const float* logits, int32_t token) const noexcept;

  const SamplerOptions& options() const { return options_; }
  const std::vector<int32_t>& ids() const { return ids_; }  // See ids_.

 private:
  struct Candidate {
    double weight;  // exp((logit - max) / temperature), at most 1.
    int32_t id;
  };
  Sampler() = default;
  int32_t Greedy(const float* logits) const noexcept;

  SamplerOptions options_;
  size_t vocab_ = 0;
  std::vector<int32_t> ids_;           // That may be chosen, ascending.
  std::vector<Candidate> candidates_;  // Scratch, as many as ids_.
};

}  // namespace lcsm
