// Philox4x32-10, the counter-based random generator of Salmon, Moraes, Dror and
// Shaw ("Parallel random numbers: as easy as 1, 2, 3", SC 2011).
//
// No state: the numbers of a token are a function of (seed, sample, position),
// so samples can be computed in any order, resumed or repeated alone. 32-bit
// integer arithmetic only: the same everywhere.
#pragma once

#include <array>
#include <cstdint>

namespace lcsm {

std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter,
                                   std::array<uint32_t, 2> key);

// A uniform double in [0, 1), a multiple of 2^-53. Mapping (docs/sampling.md):
// key = low and high half of seed; counter = halves of position, then halves of
// sample; of the four results r0 and r1 are used, (r1 * 2^32 + r0) >> 11, times
// 2^-53.
double UniformAt(uint64_t seed, uint64_t sample, uint64_t position);

}  // namespace lcsm
