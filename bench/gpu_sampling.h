// The seconds of a sequence of which a device runs only some positions.
#pragma once

#include <cstddef>
#include <functional>

#include "lcsm/status.h"

namespace lcsm::bench {

// Seconds of positions [first, last).
using TimeStretch = std::function<StatusOr<double>(size_t first, size_t last)>;

// Lazy and eager, whose steps cost more and more, or less and less: a few
// positions, each some steps, and the area under them.
StatusOr<double> SampledQuadratic(size_t length, const TimeStretch& time);

// Tilings: stretches of 256 positions, each of which begins with the step at
// which a block of 256 or more is complete. They are sorted by the power of two
// that divides the block's number, i.e. by the size of the tile that falls due
// there, and each kind counts as often as there are such. Of each kind a few
// are timed, spread over the sequence; another `turn` takes others. Short
// sequences are timed whole.
StatusOr<double> SampledTiling(size_t length, size_t turn,
                               const TimeStretch& time);

}  // namespace lcsm::bench
