// Cost of online convolution alone, checked against float64 sums before it is
// believed.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "bench/timing.h"
#include "conv/plan.h"
#include "lcsm/status.h"

namespace lcsm::bench {

struct MixerCase {
  conv::Problem problem;  // taps == length: filters as long as the sequence.
  conv::PlanOptions options;
  size_t threads = 1;
  size_t repeats = 5;
  // A repeat that would take longer than this is not run whole: positions of
  // each cost class are timed and added up by their number. O(L^2) methods at L
  // = 65 536 would take minutes each.
  double whole_run_seconds = 4;
};

struct MixerResult {
  Spread ns_per_token_channel;    // Over repeats; a token-channel is one
                                  // position, row, mixer, channel.
  double max_relative_error = 0;  // Of max |y|, against float64.
  size_t checked_length = 0;      // The length at which that was found.
  bool sampled = false;           // See whole_run_seconds.
  size_t bytes = 0;               // Taps, spectra, histories and scratch.
  std::string plan;
};

// Errors: what making a plan or memory can say, and an answer that misses
// design 6's bound of 2e-6 (then no time is given).
StatusOr<MixerResult> RunMixer(const MixerCase& wanted);

}  // namespace lcsm::bench
