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
#include "conv/prefill.h"
#include "lcsm/status.h"
#include "mixers/short_fir.h"
#include "models/hyena_weights.h"
#include "runtime/model.h"

namespace lcsm {

// What may be held in memory to save work.
struct HyenaPrefillLimits {
  // Filters' spectra of more than this are made anew for each call: at a width
  // of 256 and 8 layers beyond 40 000 positions, where evaluating the filters
  // again takes a tenth of a call.
  size_t spectra_bytes = size_t{1} << 30;
  // Gates that wait for the end of a convolution, of more than this, are
  // projected a second time: a twelfth of a layer's products against 1 GB at a
  // million tokens of width 256.
  size_t gate_bytes = size_t{512} << 20;
};

// Spectra of all filters for calls of up to `horizon` positions in all, or, if
// they would take more than the limit, nothing: then each call evaluates each
// layer's filter when it comes to it. Immutable; shared by states.
class HyenaPrefillFilters {
 public:
  // Errors: those of EvaluateHyenaFilters; memory.
  static StatusOr<std::shared_ptr<const HyenaPrefillFilters>> Create(
      const HyenaWeights& weights, size_t horizon,
      const HyenaPrefillLimits& limits, ThreadPool& pool,
      const ModelState::Progress& progress);
  // What Create keeps, and what it needs on top of that meanwhile.
  struct Bytes {
    size_t kept = 0, making = 0;
  };
  static Bytes BytesFor(const HyenaConfig& config, size_t horizon,
                        const HyenaPrefillLimits& limits);

  size_t horizon() const { return horizon_; }
  const HyenaPrefillLimits& limits() const { return limits_; }
  // Null: none that serves the shape is kept; else shape->block is set.
  const conv::PrefillSpectra* Find(conv::PrefillShape* shape) const;

 private:
  HyenaPrefillFilters() = default;
  size_t horizon_ = 0;
  HyenaPrefillLimits limits_;
  std::vector<conv::PrefillSpectra> tables_;  // Small blocks first.
};

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
  HyenaPrefill(const HyenaWeights& weights, const HyenaPrefillFilters& filters,
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

  // Bytes that a call needs, all in all.
  static size_t BytesFor(const HyenaConfig& config, size_t tokens,
                         size_t following, const HyenaPrefillLimits& limits,
                         bool filters_kept, size_t threads);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lcsm
