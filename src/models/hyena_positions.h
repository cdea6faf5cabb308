// The positions that implicit filters are evaluated at, for checkpoints that do
// not store them (model-formats 1.5).
#pragma once

#include <cstddef>

#include "models/hyena_config.h"

namespace lcsm {

// Features z, [config.features], and t of lag n < config.max_length, rounded to
// float32 as a checkpoint would hold them. A function of the lag and of the
// model's own limit, never of the length in use.
void ComputePosition(const HyenaConfig& config, size_t n, float* z, float* t);

}  // namespace lcsm
