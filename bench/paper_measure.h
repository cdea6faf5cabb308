// One method at one length, for paper_bench.cc: is it right, and what does each
// class of positions cost.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/thread_pool.h"
#include "bench/paper_sampling.h"
#include "bench/paper_stack.h"
#include "conv/plan.h"
#include "lcsm/status.h"

namespace lcsm::bench {

struct MixerCheck {
  double max_relative_error = 0;  // Of max |y|, against float64.
  size_t length = 0;              // At which that was found.
};
// Runs a whole sequence with the levels of `plan`, on fewer mixers, channels
// and rows and, for lazy and eager, fewer positions. Error: an answer that
// misses 2e-6.
StatusOr<MixerCheck> CheckMixers(const conv::Plan& plan,
                                 const conv::PlanOptions& options,
                                 ThreadPool& pool);

// The Hyena blocks with this method against the same with lazy mixers: the
// largest difference of a logit over the largest logit.
StatusOr<double> CheckHyenaStack(std::shared_ptr<const HyenaWeights> weights,
                                 const conv::PlanOptions& options,
                                 ThreadPool& pool);

// Seconds a step, by class of position.
struct ClassSeconds {
  std::vector<double> mixers_alone;      // Nothing else runs in between.
  std::vector<double> mixers_in_a_step;  // With the blocks in between.
  double blocks = 0, head = 0;           // The same at every position.
};

struct MeasureOptions {
  bool whole = false;  // The mixers alone; else sampled.
  size_t mixer_windows = 8, mixer_samples = 8;
  size_t step_windows = 2, step_samples = 4;
};

ClassSeconds Measure(const conv::Plan& plan, PaperStack& stack,
                     const MeasureOptions& options);

}  // namespace lcsm::bench
