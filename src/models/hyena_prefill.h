// Known tokens through a Hyena model layer by layer (design 3.7): each layer
// takes all of them before the next one begins, so that only one layer's
// convolution is in memory at a time, and what is kept of them is what they
// contribute to the positions that may follow.
//
// A layer is three passes. Threads take chunks of tokens through norm,
// projection and short FIR on their own, without waiting for each other (a
// chunk works out the few rows before it again, for the FIR's tail); then
// groups of channels through the convolution; then chunks again through gate,
// projection and MLP. Results do not depend, in any bit, on the number of
// threads or on where chunks begin.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "lcsm/status.h"
#include "mixers/short_fir.h"
#include "models/hyena_prefill_shared.h"
#include "models/hyena_weights.h"
#include "runtime/model.h"

namespace lcsm {

// Contributions of earlier inputs to coming positions, for each history (mixer
// * groups + group) `count` lines.
struct PendingLines {
  float* lines = nullptr;
  size_t stride = 0;  // Floats from one history to the next.
  size_t count = 0;
  float* At(size_t history) const { return lines + history * stride; }
};

// Memory of prefills, kept from one to the next. One thread at a time.
class HyenaPrefill {
 public:
  // All must outlive it.
  HyenaPrefill(const HyenaWeights& weights, const HyenaPrefillShared& shared,
               ThreadPool& pool);
  ~HyenaPrefill();

  // Takes tokens [position, position + tokens.size()) in. `fir` are the tails
  // of the layers' short FIRs, which move on. `before` has none at position 0,
  // else at least tokens + following lines; `after` takes `following`, and may
  // be the same memory. Adds to `times`. Errors: those of
  // ModelState::Prefill but for tokens, which must have been checked.
  Status Run(std::span<const int32_t> tokens, size_t position, size_t following,
             const ModelState::PrefillRequest& request,
             std::vector<ShortFirState>& fir, PendingLines before,
             PendingLines after, StepTimes* times);

  // Takes a trunk in and several branches behind it, layer by layer side by
  // side: what the trunk contributes to the positions behind it is worked out
  // once and read by each branch while it is in the cache. The trunk has at
  // least fir_taps - 1 tokens. Errors and `before` as for Run.
  Status RunBranches(std::span<const int32_t> trunk,
                     std::span<const std::span<const int32_t>> branches,
                     size_t position, const ModelState::BranchRequest& request,
                     std::vector<ShortFirState>& fir, PendingLines before,
                     StepTimes* times);

  // Bytes that a call needs, all in all.
  static size_t BytesFor(const HyenaConfig& config, size_t tokens,
                         size_t following, const HyenaPrefillLimits& limits,
                         bool spectra_kept, size_t threads);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lcsm
