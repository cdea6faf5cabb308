// Which steps to time of a long session, and what each of them stands for:
// whole steps, whatever is deferred in them.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "bench/timing.h"

namespace lcsm::bench {

// Consecutive steps: those at positions first, first + 1, .. of which `warm`
// are not timed and each further one stands for its weight.
struct StepRun {
  size_t first = 0, warm = 0;
  std::vector<double> weights;
};

enum class StepPattern {
  kEven,      // Nothing is deferred: steps cost what their position costs.
  kTiled,     // Tiles fall due after the last of their inputs.
  kDeferred,  // Tiles are spread over the steps until they are due.
};

// Steps after which begin, begin + 1, .. or end - 1 positions are known (so the
// first one is that at position begin - 1), weights adding up to 1: the
// weighted mean is that of all of them. 1 <= begin < end. Few are all taken.
// Otherwise kEven takes the last ones; kDeferred stretches of consecutive ones;
// kTiled sorts by the largest power of two that divides the number known, which
// says how large a tile falls due: runs of 63 for those below 64, and up to
// eight of each larger one, spread over the range and over all remainders
// modulo 16 tiles, since tiles of a level with a larger radix differ.
std::vector<StepRun> SampleSteps(size_t begin, size_t end, StepPattern pattern);

// The weighted mean of what a step takes, in seconds, and of what `probe`, a
// running total of seconds, goes up by in the meantime.
struct StepMeans {
  double step = 0, probe = 0;
};
template <typename MoveTo, typename Step, typename Probe>
StepMeans MeanStep(const std::vector<StepRun>& runs, MoveTo&& move_to,
                   Step&& step, Probe&& probe) {
  StepMeans means;
  for (const StepRun& run : runs) {
    move_to(run.first);
    for (size_t k = 0; k < run.warm; ++k) step();
    for (const double weight : run.weights) {
      const double before = probe();
      const Stopwatch watch;
      step();
      means.step += weight * watch.Seconds();
      means.probe += weight * (probe() - before);
    }
  }
  return means;
}

}  // namespace lcsm::bench
