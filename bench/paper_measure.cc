#include "bench/paper_measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>

#include "bench/paper_bench.h"
#include "bench/timing.h"
#include "conv/reference.h"
#include "models/hyena_state.h"

namespace lcsm::bench {
namespace {

using conv::OnlineConvolution;
using conv::Plan;

// Inputs repeat with this period, a prime; see mixer_bench.cc.
constexpr size_t kRows = 1021;
// Lazy and eager do the same at every length; this one has many of their
// blocks of sums.
constexpr size_t kBaselineCheck = 4096;
constexpr size_t kCheckPositions = 8;
constexpr size_t kCheckChannels = 19;  // Two groups, one of them padded.
constexpr double kErrorBound = 2e-6;   // Design 6's, on Gaussian data.
constexpr size_t kHyenaCheck = 96;

std::vector<float> GaussianRows(size_t width) {
  std::mt19937 rng(20241);
  std::normal_distribution<float> normal;
  std::vector<float> rows(kRows * width);
  for (float& v : rows) v = normal(rng);
  return rows;
}

// Sums up what the windows saw of each class.
class Means {
 public:
  explicit Means(size_t classes) : sums_(classes), counts_(classes) {}
  void Add(size_t cls, double seconds) {
    sums_[cls] += seconds;
    ++counts_[cls];
  }
  std::vector<double> Take() {
    for (size_t i = 0; i < sums_.size(); ++i) {
      if (counts_[i] > 0) sums_[i] /= static_cast<double>(counts_[i]);
    }
    return std::move(sums_);
  }

 private:
  std::vector<double> sums_;
  std::vector<size_t> counts_;
};

}  // namespace

StatusOr<MixerCheck> CheckMixers(const Plan& plan,
                                 const conv::PlanOptions& options,
                                 ThreadPool& pool) {
  // The levels as planned for the problem itself; only its extent is smaller.
  Plan small = plan;
  conv::Problem& problem = small.problem;
  problem.mixers = 1;
  problem.channels = std::min(problem.channels, kCheckChannels);
  problem.batch = std::min<size_t>(problem.batch, 2);
  if (IsBaseline(plan.method) && problem.length > kBaselineCheck) {
    problem.length = problem.taps = kBaselineCheck;
    LCSM_ASSIGN_OR_RETURN(small, conv::MakePlan(problem, options));
  }
  const size_t length = problem.length, channels = problem.channels;
  const size_t width = problem.batch * channels;
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const conv::FilterBank> filters,
                        MakePaperFilters(problem, pool));
  LCSM_ASSIGN_OR_RETURN(
      std::shared_ptr<const conv::PreparedConvolution> prepared,
      conv::PreparedConvolution::Create(small, filters, pool));
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<OnlineConvolution> convolution,
                        OnlineConvolution::Create(std::move(prepared), pool));
  const std::vector<float> rows = GaussianRows(width);
  std::vector<float> y(width), x(length), rho(filters->taps());
  double error = 0, largest = 0;
  size_t next = 0;
  for (size_t t = 0; t < length; ++t) {
    convolution->Step(0, rows.data() + t % kRows * width, y.data());
    convolution->Advance();
    if (t != next * (length - 1) / (kCheckPositions - 1)) continue;
    ++next;
    for (size_t c = 0; c < width; ++c) {
      const size_t channel = c % channels;
      const float* group = filters->Group(0, channel / kLanes);
      for (size_t n = 0; n < rho.size(); ++n)
        rho[n] = group[n * kLanes + channel % kLanes];
      for (size_t i = 0; i <= t; ++i) x[i] = rows[i % kRows * width + c];
      const double want =
          conv::ReferenceOutput(x.data(), t, rho.data(), rho.size());
      largest = std::max(largest, std::abs(want));
      error = std::max(error, std::abs(y[c] - want));
    }
  }
  if (largest > 0) error /= largest;
  if (!(error <= kErrorBound)) {
    return InternalError(
        fmt::format("{} is off by {:.2e} of max |y| at length {}, more than "
                    "the {:.0e} that every method must keep",
                    small.Print(), error, length, kErrorBound));
  }
  return MixerCheck{error, length};
}

StatusOr<double> CheckHyenaStack(std::shared_ptr<const HyenaWeights> weights,
                                 const conv::PlanOptions& options,
                                 ThreadPool& pool) {
  const HyenaConfig& config = weights->config();
  conv::Problem problem;
  problem.mixers = config.layers * config.convolutions();
  problem.channels = config.width;
  problem.length = problem.taps = std::min(kHyenaCheck, config.max_length);
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const conv::FilterBank> filters,
                        MakePaperFilters(problem, pool));
  conv::PlanOptions lazy;
  lazy.method = conv::Method::kLazy;
  std::unique_ptr<HyenaState> states[2];
  for (size_t i = 0; i < 2; ++i) {
    LCSM_ASSIGN_OR_RETURN(conv::Plan plan,
                          conv::MakePlan(problem, i == 0 ? lazy : options));
    LCSM_ASSIGN_OR_RETURN(
        std::shared_ptr<const conv::PreparedConvolution> prepared,
        conv::PreparedConvolution::Create(std::move(plan), filters, pool));
    LCSM_ASSIGN_OR_RETURN(
        states[i], HyenaState::Create(weights, std::move(prepared), pool));
  }
  std::vector<float> want(config.padded_vocab), got(config.padded_vocab);
  double error = 0, largest = 0;
  for (size_t t = 0; t < problem.length; ++t) {
    const auto token = static_cast<int32_t>(t * t % config.vocab);
    states[0]->Step(token, want.data());
    states[1]->Step(token, got.data());
    for (size_t i = 0; i < config.vocab; ++i) {
      largest = std::max<double>(largest, std::abs(want[i]));
      error = std::max<double>(error, std::abs(want[i] - got[i]));
    }
  }
  return largest > 0 ? error / largest : error;
}

ClassSeconds Measure(const Plan& plan, PaperStack& stack,
                     const MeasureOptions& options) {
  OnlineConvolution& convolution = stack.convolution();
  const conv::Problem& problem = plan.problem;
  const size_t width = problem.batch * problem.channels;
  const CostClasses classes(plan);
  const std::vector<float> rows = GaussianRows(width);
  std::vector<float> y(width);
  const auto mixers = [&] {
    const float* x = rows.data() + convolution.position() % kRows * width;
    for (size_t m = 0; m < problem.mixers; ++m)
      convolution.Step(m, x, y.data());
    convolution.Advance();
  };
  // Runs `step` over the windows, `measured` after each position that counts.
  // Accumulators that have grown huge or denormal are not what a run meets, so
  // each pass starts from plain inputs.
  const auto sweep = [&](const std::vector<Window>& windows,
                         size_t warm_at_most, const auto& step,
                         const auto& measured) {
    convolution.Reset();
    if (windows.size() > 1)
      convolution.PretendHistory(problem.length, rows.data(), kRows);
    for (const Window& window : windows) {
      const size_t warm = std::min(window.warm_count, warm_at_most);
      convolution.PretendPosition(window.warm_first + window.warm_count - warm);
      for (size_t k = 0; k < warm; ++k) step();
      convolution.PretendPosition(window.first);
      for (size_t k = 0; k < window.count; ++k) {
        const Stopwatch watch;
        step();
        measured(classes.Of(window.first + k), watch.Seconds());
      }
    }
  };

  ClassSeconds seconds;
  Means alone(classes.size()), in_a_step(classes.size());
  sweep(options.whole ? WholeSequence(plan)
                      : SampledPositions(plan, options.mixer_windows,
                                         options.mixer_samples),
        SIZE_MAX, mixers,
        [&](size_t cls, double elapsed) { alone.Add(cls, elapsed); });
  // Blocks take the same time at every position, and many milliseconds.
  StepTimes before;
  std::vector<double> blocks, heads;
  sweep(
      SampledPositions(plan, options.step_windows, options.step_samples), 1,
      [&] {
        before = stack.times();
        stack.Step();
      },
      [&](size_t cls, double) {
        const StepTimes& now = stack.times();
        in_a_step.Add(cls, now.mixers - before.mixers);
        blocks.push_back(now.blocks - before.blocks);
        heads.push_back(now.head - before.head);
      });
  seconds.mixers_alone = alone.Take();
  seconds.mixers_in_a_step = in_a_step.Take();
  for (double s : blocks)
    seconds.blocks += s / static_cast<double>(blocks.size());
  for (double s : heads) seconds.head += s / static_cast<double>(heads.size());
  return seconds;
}

}  // namespace lcsm::bench
