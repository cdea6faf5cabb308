#include "bench/step_samples.h"

#include <algorithm>
#include <bit>
#include <cassert>

namespace lcsm::bench {
namespace {

// Ranges up to this are taken whole.
constexpr size_t kWhole = 512;
// Below this, tiles are met by running steps one after another.
constexpr size_t kRun = 64;
constexpr size_t kRuns = 4;
// Of each larger tile.
constexpr size_t kSamples = 8;
// Not timed before a single step: fetches what the steps before would have
// left in the caches.
constexpr size_t kWarm = 3;
constexpr size_t kEvenSteps = 16;
constexpr size_t kStretches = 8;
constexpr size_t kStretchSteps = 128;

// Numbers in [begin, end) that 2^k divides and no higher power does.
size_t CountOf(size_t begin, size_t end, size_t k) {
  const auto below = [k](size_t n) {  // In [1, n).
    return ((n - 1) >> k) - ((n - 1) >> (k + 1));
  };
  return below(end) - below(begin);
}

// The s-th of up to kSamples of `count` things in order: spread over all of
// them, and over all remainders modulo kSamples where there are enough.
size_t Spread(size_t s, size_t samples, size_t count) {
  if (count < 2 * kSamples) return s * count / samples;
  constexpr size_t kOrder[kSamples] = {3, 6, 0, 5, 2, 7, 1, 4};
  return kSamples *
             ((2 * kOrder[s] + 1) * (count / kSamples) / (2 * kSamples)) +
         s;
}

StepRun Single(size_t known, double weight) {
  const size_t warm = std::min(kWarm, known - 1);
  return {known - 1 - warm, warm, {weight}};
}

std::vector<StepRun> TiledSteps(size_t begin, size_t end) {
  const double total = static_cast<double>(end - begin);
  std::vector<StepRun> runs;
  // Whole blocks of kRun.
  const size_t low = (begin + kRun - 1) / kRun, high = end / kRun;
  for (size_t w = 0; w < kRuns; ++w) {
    const size_t block = low + (2 * w + 1) * (high - low) / (2 * kRuns);
    // What stands before them is a larger tile: not run.
    StepRun run = {block * kRun, 0, {}};
    for (size_t i = 1; i < kRun; ++i) {
      const size_t k = static_cast<size_t>(std::countr_zero(i));
      const double timed = static_cast<double>(kRuns * (kRun >> (k + 1)));
      run.weights.push_back(static_cast<double>(CountOf(begin, end, k)) /
                            (timed * total));
    }
    runs.push_back(std::move(run));
  }
  for (size_t k = std::countr_zero(kRun); (size_t{1} << k) < end; ++k) {
    const size_t count = CountOf(begin, end, k);
    const size_t samples = std::min(kSamples, count);
    if (count == 0) continue;
    // The first odd multiple.
    size_t odd = (begin + (size_t{1} << k) - 1) >> k;
    odd += odd % 2 == 0 ? 1 : 0;
    for (size_t s = 0; s < samples; ++s) {
      const size_t known = (odd + 2 * Spread(s, samples, count)) << k;
      runs.push_back(Single(known, static_cast<double>(count) /
                                       (static_cast<double>(samples) * total)));
    }
  }
  return runs;
}

}  // namespace

std::vector<StepRun> SampleSteps(size_t begin, size_t end,
                                 StepPattern pattern) {
  assert(begin >= 1 && begin < end);
  const size_t total = end - begin;
  const auto equal = [](size_t first, size_t steps, double share) {
    return StepRun{
        first, 0,
        std::vector<double>(steps, share / static_cast<double>(steps))};
  };
  if (pattern == StepPattern::kEven) {
    const size_t steps = std::min(total, kEvenSteps);
    return {equal(end - 1 - steps, steps, 1)};
  }
  const bool tiled = pattern == StepPattern::kTiled;
  if (total <= (tiled ? kWhole : kStretches * kStretchSteps)) {
    return {equal(begin - 1, total, 1)};
  }
  if (tiled) return TiledSteps(begin, end);
  std::vector<StepRun> runs;
  for (size_t s = 0; s < kStretches; ++s) {
    const size_t first =
        begin - 1 + (2 * s + 1) * total / (2 * kStretches) - kStretchSteps / 2;
    runs.push_back(equal(first, kStretchSteps, 1.0 / kStretches));
  }
  return runs;
}

}  // namespace lcsm::bench
