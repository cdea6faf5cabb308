// What one position costs on average without running through all of them.
#pragma once

#include <cstddef>
#include <vector>

#include "conv/plan.h"

namespace lcsm::bench {

// The work that falls due when `known` inputs are known stands for `weight`
// positions out of one: the mean over a sequence is the sum of weight * time.
struct DueSample {
  size_t known = 1;
  double weight = 0;
};

// Samples that see each level in proportion, near position `near` where the
// plan repeats itself: for every level each number of input blocks that its
// tiles may have (up to eight of them), several tiles of the frequent ones.
// Lazy and eager, whose cost runs linearly, get midpoints of equal stretches;
// deferred plans stretches of consecutive steps, which must be run in order
// after OnlineConvolution::PretendPosition(known - 1) of each first one
// (`starts` says which).
struct DueSamples {
  std::vector<DueSample> samples;
  std::vector<size_t> starts;  // Indices at which a stretch begins.
};
DueSamples SampleDueWork(const conv::Plan& plan, size_t near);

}  // namespace lcsm::bench
