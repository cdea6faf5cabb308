// The kinds of mixers side by side, in stacks that are equal but for them: what
// a step takes and what its history weighs, against position. And at which
// number of states a diagonal state space costs what a long convolution does.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "bench/study_stack.h"
#include "bench/timing.h"
#include "conv/plan.h"
#include "lcsm/status.h"

namespace lcsm::bench {

// A study is asked now and then, with the share done, whether to go on.
using Proceed = std::function<bool(double)>;

struct MixersCase {
  std::vector<StudyMixer> mixers;
  std::vector<size_t> lengths;  // Of sessions; at least 2.
  size_t layers = 4, width = 256;
  size_t threads = 1, repeats = 3;
  conv::PlanOptions plan;
};

struct MixersRow {
  StudyMixer mixer = StudyMixer::kHyena;
  size_t length = 0;
  // Milliseconds of a step in the second half of a session of that length, of
  // which so many are the mixers': means over positions as SampleSteps takes
  // them, and their spread over repeats.
  Spread step_ms, mixing_ms;
  bool sampled = false;
  size_t history_bytes = 0;  // Of one session, activations aside.
  size_t shared_bytes = 0;   // Spectra and taps, of all sessions together.
  double difference = 0;     // CheckStudyStack's.
  std::string plan;
};

// Errors: what CheckStudyStack and memory say; kCancelled.
StatusOr<std::vector<MixersRow>> RunMixers(const MixersCase& wanted,
                                           const Proceed& proceed);

struct StatesCase {
  std::vector<size_t> lengths;  // At least 2.
  std::vector<size_t> modes;    // Rising, at least two of them.
  size_t layers = 4, width = 256;
  size_t threads = 1, repeats = 3;
  conv::PlanOptions plan;
};

// Nanoseconds a token and channel of diagonal state spaces of so many real or
// complex modes (of one float or two each).
struct StatesRow {
  size_t modes = 0;
  Spread real_ns, complex_ns;
};
// Modes at which the recurrence costs what the convolution does, on the line
// between the two measured ones around, or of the two nearest where there are
// none on both sides (then it is not `between`).
struct Crossing {
  double modes = 0;
  bool between = true;
};
Crossing FindCrossing(const std::vector<double>& modes,
                      const std::vector<double>& ns, double wanted_ns);
struct CrossoverRow {
  size_t length = 0;
  Spread convolution_ns;  // The same unit; mean of the second half.
  Crossing real, complex;
  std::string plan;
};
struct StatesResult {
  std::vector<StatesRow> states;
  std::vector<CrossoverRow> crossover;
  // The largest difference between a filter by recurrence and as a convolution,
  // as a share of the largest output: more than kStudyTolerance is an error.
  double difference = 0;
};
StatusOr<StatesResult> RunStates(const StatesCase& wanted,
                                 const Proceed& proceed);

}  // namespace lcsm::bench
