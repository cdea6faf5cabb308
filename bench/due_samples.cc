#include "bench/due_samples.h"

#include <algorithm>

namespace lcsm::bench {
namespace {

constexpr size_t kStretches = 24;
// Consecutive steps of a stretch: two smallest deferred blocks, so that each
// stretch meets both halves of a pair.
constexpr size_t kStretchSteps = 128;
// Numbers of input blocks that are told apart.
constexpr size_t kSizes = 8;
// Tiles of one kind that are timed.
constexpr size_t kTiles = 4;

// Tiles of `level` with first, first + step, .. siblings before their output
// block, and how often they occur.
void AddLevel(const conv::Plan& plan, const conv::Level& level, size_t near,
              std::vector<DueSample>& samples) {
  const size_t length = plan.problem.length;
  const size_t blocks = (length - 1) / level.block + 1;  // Output blocks.
  const size_t radix = level.radix == conv::Level::kToTheEnd
                           ? blocks
                           : std::min(level.radix, blocks);
  const size_t parents = (blocks - 1) / radix + 1;
  const size_t sizes = std::min(radix - 1, kSizes);
  for (size_t s = 0; s < sizes; ++s) {
    // Siblings 1 .. radix - 1 in `sizes` ranges, the middle one of each timed.
    const size_t first = 1 + (radix - 1) * s / sizes;
    const size_t last = 1 + (radix - 1) * (s + 1) / sizes;
    const size_t child = (first + last) / 2;
    double count = 0;
    for (size_t c = first; c < last; ++c) {
      count += static_cast<double>((blocks - 1 - c) / radix + 1);
    }
    const size_t tiles =
        std::clamp<size_t>(kTiles / sizes, 1, std::max<size_t>(parents, 1));
    const size_t middle = near / level.block / radix;
    std::vector<size_t> known;
    for (size_t t = 0; t < tiles; ++t) {
      const size_t parent =
          std::min(middle, parents - std::min(parents, tiles)) + t;
      const size_t r = (parent * radix + child) * level.block;
      if (r < length) known.push_back(r);
    }
    if (known.empty()) known.push_back(child * level.block);
    for (const size_t r : known) {
      samples.push_back({r, count / static_cast<double>(length) /
                                static_cast<double>(known.size())});
    }
  }
}

}  // namespace

DueSamples SampleDueWork(const conv::Plan& plan, size_t near) {
  DueSamples due;
  const size_t length = plan.problem.length;
  if (plan.levels.empty() || plan.Deferred()) {
    const size_t steps =
        plan.levels.empty() ? 1 : std::min(kStretchSteps, length / kStretches);
    for (size_t k = 0; k < kStretches && steps != 0; ++k) {
      due.starts.push_back(due.samples.size());
      const size_t middle = (2 * k + 1) * length / (2 * kStretches);
      for (size_t i = 0; i < steps; ++i) {
        due.samples.push_back({std::max<size_t>(1, middle) + i,
                               1.0 / static_cast<double>(kStretches * steps)});
      }
    }
    return due;
  }
  for (const conv::Level& level : plan.levels) {
    AddLevel(plan, level, near, due.samples);
  }
  for (size_t i = 0; i < due.samples.size(); ++i) due.starts.push_back(i);
  return due;
}

}  // namespace lcsm::bench
