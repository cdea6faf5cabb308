// Timing single tiles: what Tau::kMeasured decides by and what `lcsm bench
// tiles` prints.
#pragma once

#include <cstddef>

#include "conv/problem.h"
#include "lcsm/status.h"

namespace lcsm::conv {

// Nanoseconds that one position of one channel pays for a level: the time of a
// tile over the 2U * kLanes positions that pass between two tiles. Medians of
// `repeats` sweeps over enough groups that taps and spectra come from where
// they come from in use, not from L1.
StatusOr<double> MeasureTile(const Level& level, size_t repeats);

// The fastest of direct-blocked, fft-fused and fft-library for one block size,
// by MeasureTile.
StatusOr<Tau> FastestTau(size_t block);

}  // namespace lcsm::conv
