#include "bench/relaxed_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "bench/mixer_run.h"
#include "conv/reference.h"

namespace lcsm::bench {
namespace {

// Outputs are checked at this many positions, for up to kCheckChannels
// channels.
constexpr size_t kCheckPositions = 6;
constexpr size_t kCheckChannels = 48;
// Lazy runs up to this length are whole; longer ones are timed at kStretches
// midpoints, which is exact for a cost that grows linearly.
constexpr size_t kWholeLazy = 2048;
constexpr size_t kStretches = 24;

double NsPerTokenChannel(const conv::Problem& problem, double seconds) {
  return 1e9 * seconds /
         (static_cast<double>(problem.length) *
          static_cast<double>(problem.mixers) *
          static_cast<double>(problem.batch * problem.channels));
}

double WholeSeconds(RelaxedRun& run) {
  run.session().Reset();
  const Stopwatch watch;
  for (size_t t = 0; t < run.plan().problem.length; ++t) run.OnePosition();
  return watch.Seconds();
}

double WholeSeconds(MixerRun& run) {
  run.session().Reset();
  const Stopwatch watch;
  for (size_t t = 0; t < run.plan().problem.length; ++t) run.OnePosition();
  return watch.Seconds();
}

double SampledSeconds(RelaxedRun& run) {
  const size_t length = run.plan().problem.length;
  double seconds = 0;
  for (size_t k = 0; k < kStretches; ++k) {
    run.session().PretendPosition((2 * k + 1) * length / (2 * kStretches));
    const Stopwatch watch;
    run.OnePosition();
    seconds += watch.Seconds();
  }
  return seconds / kStretches * static_cast<double>(length);
}

}  // namespace

StatusOr<std::unique_ptr<RelaxedRun>> RelaxedRun::Create(const conv::Plan& plan,
                                                         ThreadPool& pool) {
  std::unique_ptr<RelaxedRun> run(new RelaxedRun);
  LCSM_ASSIGN_OR_RETURN(run->session_,
                        conv::RelaxedConvolution::Create(plan, pool));
  const size_t width = plan.problem.batch * plan.problem.channels;
  std::mt19937 rng(20261121);
  std::normal_distribution<float> normal;
  run->x_.resize(kRows * width);
  run->rho_.resize(kFilterRows * width);
  for (float& v : run->x_) v = normal(rng);
  for (float& v : run->rho_) v = normal(rng);
  run->tap_row_.resize(width);
  run->outputs_.resize(width);
  return run;
}

void RelaxedRun::OnePosition() {
  const size_t t = session_->position();
  const float* const x = x_.data() + t % kRows * Width();
  const float* const noise = rho_.data() + t % kFilterRows * Width();
  for (size_t m = 0; m < plan().problem.mixers; ++m) {
    for (size_t c = 0; c < tap_row_.size(); ++c) {
      tap_row_[c] = std::copysign(noise[c], outputs_[c]);
    }
    session_->Step(m, x, tap_row_.data(), outputs_.data());
  }
  session_->Advance();
}

void RelaxedRun::Pretend() {
  session_->PretendHistory(plan().problem.length, rho_.data(), kFilterRows);
}

StatusOr<double> RelaxedRun::Check() {
  const size_t length = plan().problem.length;
  std::vector<size_t> positions = {0, length - 1};
  for (size_t k = 1; k + 1 < kCheckPositions; ++k) {
    positions.push_back((length - 1) * k / (kCheckPositions - 1));
  }
  const size_t step = std::max<size_t>(1, Width() / kCheckChannels);
  std::vector<std::vector<float>> x((Width() - 1) / step + 1), rho(x.size());
  double error = 0, largest = 0;
  session_->Reset();
  std::fill(outputs_.begin(), outputs_.end(), 0.0f);
  for (size_t t = 0; t < length; ++t) {
    OnePosition();
    const bool check =
        std::find(positions.begin(), positions.end(), t) != positions.end();
    for (size_t k = 0; k < x.size(); ++k) {
      const size_t c = k * step;
      x[k].push_back(x_[t % kRows * Width() + c]);
      rho[k].push_back(tap_row_[c]);
      if (!check) continue;
      const double want =
          conv::ReferenceOutput(x[k].data(), t, rho[k].data(), t + 1);
      largest = std::max(largest, std::abs(want));
      error = std::max(error, std::abs(outputs_[c] - want));
    }
  }
  if (largest > 0) error /= largest;
  if (!(error <= 2e-6)) {
    return InternalError(fmt::format(
        "{} with filters revealed online is off by {:.2e} of max |y| at length "
        "{}, more than the 2e-6 that every method must keep",
        plan().Print(), error, length));
  }
  return error;
}

StatusOr<RelaxedResult> RunRelaxed(const RelaxedCase& wanted,
                                   const std::function<bool(double)>& proceed) {
  RelaxedResult result;
  ThreadPool pool(wanted.threads);
  const conv::Problem& problem = wanted.problem;
  const double parts = static_cast<double>(wanted.repeats + 2);
  const auto go_on = [&](double done) {
    return proceed == nullptr || proceed(done / parts)
               ? OkStatus()
               : Cancelled("the measurement was ended before it was complete");
  };
  LCSM_ASSIGN_OR_RETURN(const conv::Plan plan,
                        conv::MakeRelaxedPlan(problem, wanted.options));
  LCSM_ASSIGN_OR_RETURN(const conv::Plan known_plan,
                        conv::MakePlan(problem, wanted.options));
  result.plan = plan.Print();
  result.known_plan = known_plan.Print();
  result.relaxed_bytes = conv::RelaxedBytes(plan, pool.NumThreads());
  result.known_bytes = known_plan.Memory(pool.NumThreads()).Total();
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<RelaxedRun> relaxed,
                        RelaxedRun::Create(plan, pool));
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<MixerRun> known,
                        MixerRun::Create(known_plan, pool));
  LCSM_ASSIGN_OR_RETURN(result.max_relative_error, relaxed->Check());
  LCSM_RETURN_IF_ERROR(go_on(1));
  LCSM_RETURN_IF_ERROR(known->Check().status());
  LCSM_RETURN_IF_ERROR(go_on(2));

  std::unique_ptr<RelaxedRun> lazy;
  if (wanted.lazy) {
    conv::PlanOptions options = wanted.options;
    options.method = conv::Method::kLazy;
    conv::Problem shorter = problem;
    result.lazy_sampled = problem.length > kWholeLazy;
    if (result.lazy_sampled) shorter.length = shorter.taps = kWholeLazy;
    result.lazy_checked_length = shorter.length;
    LCSM_ASSIGN_OR_RETURN(const conv::Plan checked,
                          conv::MakeRelaxedPlan(shorter, options));
    LCSM_ASSIGN_OR_RETURN(lazy, RelaxedRun::Create(checked, pool));
    LCSM_ASSIGN_OR_RETURN(result.lazy_max_relative_error, lazy->Check());
    if (result.lazy_sampled) {
      LCSM_ASSIGN_OR_RETURN(const conv::Plan whole,
                            conv::MakeRelaxedPlan(problem, options));
      LCSM_ASSIGN_OR_RETURN(lazy, RelaxedRun::Create(whole, pool));
      lazy->Pretend();
    }
  }
  std::vector<double> relaxed_ns, known_ns, lazy_ns, ratios;
  for (size_t repeat = 0; repeat < wanted.repeats; ++repeat) {
    const double one = WholeSeconds(*relaxed), other = WholeSeconds(*known);
    relaxed_ns.push_back(NsPerTokenChannel(problem, one));
    known_ns.push_back(NsPerTokenChannel(problem, other));
    ratios.push_back(one / other);
    if (lazy != nullptr) {
      lazy_ns.push_back(NsPerTokenChannel(problem, result.lazy_sampled
                                                       ? SampledSeconds(*lazy)
                                                       : WholeSeconds(*lazy)));
    }
    LCSM_RETURN_IF_ERROR(go_on(3 + static_cast<double>(repeat)));
  }
  result.relaxed = Summarize(relaxed_ns);
  result.known = Summarize(known_ns);
  result.lazy = Summarize(lazy_ns);
  result.ratio = Summarize(ratios);
  return result;
}

}  // namespace lcsm::bench
