// What it costs that a filter is revealed online, against the same filter known
// beforehand and against lazy sums; answers checked first.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "bench/timing.h"
#include "conv/relaxed_convolution.h"
#include "lcsm/status.h"

namespace lcsm::bench {

// A relaxed convolution set up to be timed. Inputs are periodic noise; so are
// the filters, but each tap's sign is that of the output before, so that they
// depend on all earlier tokens.
class RelaxedRun {
 public:
  static StatusOr<std::unique_ptr<RelaxedRun>> Create(const conv::Plan& plan,
                                                      ThreadPool& pool);

  // Runs all positions and compares some outputs of some channels with float64
  // sums. Gives the largest error as a share of max |y|; more than design 6's
  // 2e-6 is an error.
  StatusOr<double> Check();
  // One step of all mixers, and what falls due.
  void OnePosition();
  // A past of the whole length, made up.
  void Pretend();

  const conv::Plan& plan() const { return session_->plan(); }
  conv::RelaxedConvolution& session() { return *session_; }
  size_t Width() const { return x_.size() / kRows; }

 private:
  RelaxedRun() = default;
  // Primes that divide no block, and not each other's.
  static constexpr size_t kRows = 1021, kFilterRows = 2039;

  std::unique_ptr<conv::RelaxedConvolution> session_;
  std::vector<float> x_, rho_;  // [rows][B][D]
  std::vector<float> tap_row_;  // [B][D], of the position.
  std::vector<float> outputs_;  // [B][D], of the mixer stepped last.
};

struct RelaxedCase {
  conv::Problem problem;      // taps == length.
  conv::PlanOptions options;  // Of the relaxed and the known-filter plan.
  size_t threads = 1;
  size_t repeats = 5;
  bool lazy = true;
};

struct RelaxedResult {
  // Nanoseconds per token and channel, over repeats that take turns.
  Spread relaxed, known, lazy;
  Spread ratio;                        // Relaxed to known, of each turn.
  double max_relative_error = 0;       // Of the relaxed run, at full length.
  double lazy_max_relative_error = 0;  // At lazy_checked_length.
  size_t lazy_checked_length = 0;
  bool lazy_sampled = false;  // Positions of equal stretches instead of all.
  size_t relaxed_bytes = 0, known_bytes = 0;
  std::string plan, known_plan;
};

// `proceed` is asked now and then with the share done; false cancels. Errors:
// what plans and memory say, an answer that misses the bound.
StatusOr<RelaxedResult> RunRelaxed(const RelaxedCase& wanted,
                                   const std::function<bool(double)>& proceed);

}  // namespace lcsm::bench
