// Plans of relaxed convolutions: those of known filters (plan.h), read a little
// differently.
//
// A level serves siblings of the same parent as ever, once for each of the two
// sequences. What differs is the first parent of each level, whose filters are
// still being revealed: there tiles begin with the octave, not with the parent,
// and the first block of each octave gets a corner instead. Pure functions.
#pragma once

#include <bit>
#include <cstddef>

#include "conv/plan.h"
#include "lcsm/status.h"

namespace lcsm::conv {

// A plan that RelaxedConvolution can run: that of a known filter by the method
// lazy, paper or planned, the latter by what tiles cost here. Errors:
// those of MakePlan; other methods; deferred or remade levels, blocks and
// radices that are no powers of two, other taus than direct, direct-blocked and
// fft-fused; fewer taps than positions; more than kLongestRelaxed positions; a
// memory limit below RelaxedBytes.
StatusOr<Plan> MakeRelaxedPlan(const Problem& problem, PlanOptions options);

// Corners are transforms of up to half the length.
inline constexpr size_t kLongestRelaxed = size_t{1} << 25;

// Bytes that a session takes.
size_t RelaxedBytes(const Plan& plan, size_t threads);

// Whether output block `target` of a level belongs to its first parent.
inline bool InFirstParent(const Level& level, size_t target) {
  return level.radix == Level::kToTheEnd || target < level.radix;
}

// The first block of inputs that a level has for its output block `target` > 0;
// `target` itself where a corner stands instead of a tile.
inline size_t FirstBlock(const Level& level, size_t target) {
  return InFirstParent(level, target) ? std::bit_floor(target)
                                      : target / level.radix * level.radix;
}

// Blocks that a level's tiles have at most.
size_t RelaxedTerms(const Problem& problem, const Level& level);

// The smallest block that is transformed; 0: none.
size_t SmallestTransform(const Plan& plan);

// What a history keeps for a level, and what a thread needs for any.
size_t RelaxedSpectraFloats(const Problem& problem, const Level& level);
size_t RelaxedScratchFloats(const Plan& plan);

}  // namespace lcsm::conv
