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
#include "conv/problem.h"
#include "conv/tap_source.h"
#include "lcsm/status.h"
#include "models/hyena_weights.h"
#include "runtime/model.h"

namespace lcsm {

// Sets taps [0, bank.taps()) of all layers' filters, skips folded into tap 0;
// mixer layer * (N-1) + o of the bank is convolution o of a layer. Work is
// split over the pool by lags; the same bits for any number of threads.
// `progress` may be empty; answering false gives kCancelled. Lags from
// bank.taps() to `checked` are evaluated too and let go: who evaluates them
// while running (MakeHyenaTaps) must not be the first to find that they are not
// finite. Lags below `first` are left alone: they were set before. Errors:
// positions or filters that are not finite; memory. Requires bank.taps(),
// checked <= config.max_length.
Status EvaluateHyenaFilters(const HyenaWeights& weights, ThreadPool& pool,
                            const ModelState::Progress& progress,
                            conv::FilterBank& bank, size_t checked = 0,
                            size_t first = 0);

// A bank of the first `taps` > 0 taps of all layers, evaluated but for those
// that `shorter` has, which may be null. `checked` and errors as above.
StatusOr<std::unique_ptr<conv::FilterBank>> MakeHyenaFilters(
    const HyenaWeights& weights, size_t taps, ThreadPool& pool,
    const ModelState::Progress& progress, size_t checked = 0,
    const conv::FilterBank* shorter = nullptr);

// The same taps in the same bits whenever they are wanted, for mixers numbered
// as above. Lags that are asked for must have been evaluated before, here or
// above, in this process: nothing is checked any more. Positions are read where
// they lie in the file, and its pages let go after each tile.
std::shared_ptr<const conv::TapSource> MakeHyenaTaps(
    std::shared_ptr<const HyenaWeights> weights);
// What that takes: an estimate of the time, and the exact memory.
conv::TapCost HyenaTapCost(const HyenaConfig& config);

// The same for one layer, of a bank of the layer's mixers alone.
Status EvaluateHyenaLayerFilter(const HyenaWeights& weights, size_t layer,
                                ThreadPool& pool,
                                const ModelState::Progress& progress,
                                conv::FilterBank& bank);

// Bytes that either needs meanwhile.
size_t HyenaFilterScratchBytes(const HyenaConfig& config, size_t threads);

// For who evaluates them elsewhere (cuda/hyena_device_filters.h): the same
// errors, and the pages of `lags` positions let go where the file has them.
Status HyenaPositionsNotFinite(const HyenaWeights& weights, size_t layer);
Status HyenaFilterNotFinite(const HyenaWeights& weights, size_t layer);
void DropHyenaPositions(const HyenaWeights& weights, size_t layer, size_t lags);

// Lags [first, first + count) of one layer's filter without the skip, into
// out[count][(N-1) D], channels numbered as config.layout says. For tests and
// tools. Error: memory.
Status EvaluateHyenaFilterRows(const HyenaConfig& config,
                               const HyenaFilterWeights& filter, size_t first,
                               size_t count, double* out);

}  // namespace lcsm
