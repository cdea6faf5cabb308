// One convolution problem set up to be timed: noise for taps, periodic noise
// for inputs, and the check that every figure stands on.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/thread_pool.h"
#include "conv/filter_bank.h"
#include "conv/online_convolution.h"
#include "conv/plan.h"
#include "lcsm/status.h"

namespace lcsm::bench {

class MixerRun {
 public:
  static StatusOr<std::unique_ptr<MixerRun>> Create(const conv::Plan& plan,
                                                    ThreadPool& pool);

  // Runs all positions once and compares the last mixer's outputs at some of
  // them with float64 sums. Gives the largest error as a share of max |y|;
  // more than design 6's 2e-6 is an error.
  StatusOr<double> Check();

  // One step of all mixers, and what falls due.
  void OnePosition();
  // The same without what falls due: red cells alone.
  void RedCells();
  // A history of the whole length, made up.
  void Pretend();

  const conv::Plan& plan() const { return plan_; }
  conv::OnlineConvolution& session() { return *session_; }
  size_t Width() const { return plan_.problem.batch * plan_.problem.channels; }

 private:
  explicit MixerRun(const conv::Plan& plan) : plan_(plan) {}

  const conv::Plan plan_;
  std::shared_ptr<conv::FilterBank> filters_;
  std::unique_ptr<conv::OnlineConvolution> session_;
  std::vector<float> rows_;     // [kRows][B][D]
  std::vector<float> outputs_;  // [B][D], of the mixer stepped last.
};

}  // namespace lcsm::bench
