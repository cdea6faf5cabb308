// The implicit filter of a Hyena layer: a small MLP with sine activations,
// evaluated at every lag (model-formats 1.5).
//
// Three nested sines with frequencies around 10 amplify rounding by up to 1e4,
// so everything is in float64 and rounded once, at the end.
#pragma once

#include <cstddef>
#include <memory>

#include "base/thread_pool.h"
#include "conv/filter_bank.h"
#include "lcsm/status.h"
#include "models/hyena_weights.h"
#include "runtime/model.h"

namespace lcsm {

// Sets taps [0, bank.taps()) of all layers' filters, skips folded into tap 0;
// mixer layer * (N-1) + o of the bank is convolution o of a layer. Work is
// split over the pool by lags; the same bits for any number of threads.
// `progress` may be empty; answering false gives kCancelled. Errors: positions
// or filters that are not finite; memory. Requires bank.taps() <=
// config.max_length.
Status EvaluateHyenaFilters(const HyenaWeights& weights, ThreadPool& pool,
                            const ModelState::Progress& progress,
                            conv::FilterBank& bank);

// A bank of the first `taps` > 0 taps of all layers, evaluated. Errors: as
// above.
StatusOr<std::unique_ptr<conv::FilterBank>> MakeHyenaFilters(
    const HyenaWeights& weights, size_t taps, ThreadPool& pool,
    const ModelState::Progress& progress);

// The same for one layer, of a bank of the layer's mixers alone.
Status EvaluateHyenaLayerFilter(const HyenaWeights& weights, size_t layer,
                                ThreadPool& pool,
                                const ModelState::Progress& progress,
                                conv::FilterBank& bank);

// Bytes that either needs meanwhile.
size_t HyenaFilterScratchBytes(const HyenaConfig& config, size_t threads);

// Lags [first, first + count) of one layer's filter without the skip, into
// out[count][(N-1) D], channels numbered as config.layout says. For tests and
// tools. Error: memory.
Status EvaluateHyenaFilterRows(const HyenaConfig& config,
                               const HyenaFilterWeights& filter, size_t first,
                               size_t count, double* out);

}  // namespace lcsm
