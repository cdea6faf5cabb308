#include "bench/mixer_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "base/thread_pool.h"
#include "bench/due_samples.h"
#include "conv/filter_bank.h"
#include "conv/online_convolution.h"
#include "conv/reference.h"

namespace lcsm::bench {
namespace {

using conv::FilterBank;
using conv::OnlineConvolution;
using conv::Plan;
using conv::PreparedConvolution;
using conv::Problem;

// Inputs repeat with this period (a prime, so that it divides no block): making
// or streaming L rows of fresh numbers would be timed along with the
// convolution.
constexpr size_t kRows = 1021;
// Lengths up to this are checked and timed whole whatever the method.
constexpr size_t kCheckLength = 2048;
// Outputs are checked at this many positions, for up to kCheckChannels
// channels.
constexpr size_t kCheckPositions = 6;
constexpr size_t kCheckChannels = 48;

// One problem set up and ready to step.
struct Setup {
  Plan plan;
  std::shared_ptr<FilterBank> filters;
  std::shared_ptr<const PreparedConvolution> prepared;
  std::unique_ptr<OnlineConvolution> session;
  std::vector<float> rows;     // [kRows][B][D]
  std::vector<float> outputs;  // [B][D], of the mixer stepped last.

  size_t Width() const { return plan.problem.batch * plan.problem.channels; }

  void OnePosition() {
    const float* x = rows.data() + session->position() % kRows * Width();
    for (size_t m = 0; m < plan.problem.mixers; ++m)
      session->Step(m, x, outputs.data());
    session->Advance();
  }
};

StatusOr<std::unique_ptr<Setup>> MakeSetup(const Problem& problem,
                                           const conv::PlanOptions& options,
                                           ThreadPool& pool) {
  auto setup = std::make_unique<Setup>();
  LCSM_ASSIGN_OR_RETURN(setup->plan, conv::MakePlan(problem, options));
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<FilterBank> filters,
                        FilterBank::Create(problem));
  std::mt19937 rng(20250721);
  std::normal_distribution<float> normal;
  // A period of noise serves as taps too, shifted per mixer; a different prime
  // from kRows.
  std::vector<float> noise(2039 * problem.channels);
  for (float& v : noise) v = normal(rng);
  for (size_t m = 0; m < problem.mixers; ++m) {
    for (size_t n = 0; n < filters->taps(); ++n) {
      filters->SetTaps(m, n, 1,
                       noise.data() + (n + 17 * m) % 2039 * problem.channels);
    }
  }
  setup->filters = std::move(filters);
  LCSM_ASSIGN_OR_RETURN(
      setup->prepared,
      PreparedConvolution::Create(setup->plan, setup->filters, pool));
  LCSM_ASSIGN_OR_RETURN(setup->session,
                        OnlineConvolution::Create(setup->prepared, pool));
  setup->rows.resize(kRows * setup->Width());
  for (float& v : setup->rows) v = normal(rng);
  setup->outputs.resize(setup->Width());
  return setup;
}

// Runs all positions once and compares the last mixer's outputs at some of
// them.
double CheckWholeRun(Setup& setup) {
  const Problem& problem = setup.plan.problem;
  const size_t length = problem.length;
  std::vector<size_t> positions = {0, length - 1};
  for (size_t k = 1; k + 1 < kCheckPositions; ++k) {
    positions.push_back((length - 1) * k / (kCheckPositions - 1));
  }
  double error = 0, largest = 0;
  std::vector<float> x(length), rho(setup.filters->taps());
  const size_t mixer = problem.mixers - 1;
  setup.session->Reset();
  for (size_t t = 0; t < length; ++t) {
    setup.OnePosition();
    if (std::find(positions.begin(), positions.end(), t) == positions.end())
      continue;
    const size_t step = std::max<size_t>(1, setup.Width() / kCheckChannels);
    for (size_t c = 0; c < setup.Width(); c += step) {
      const size_t channel = c % problem.channels;
      const float* group = setup.filters->Group(mixer, channel / kLanes);
      for (size_t n = 0; n < rho.size(); ++n)
        rho[n] = group[n * kLanes + channel % kLanes];
      for (size_t i = 0; i <= t; ++i)
        x[i] = setup.rows[i % kRows * setup.Width() + c];
      const double want =
          conv::ReferenceOutput(x.data(), t, rho.data(), rho.size());
      largest = std::max(largest, std::abs(want));
      error = std::max(error, std::abs(setup.outputs[c] - want));
    }
  }
  return largest > 0 ? error / largest : error;
}

// Seconds of a whole run, from the samples.
double SampledSeconds(Setup& setup, const DueSamples& due) {
  double per_position = 0;
  size_t start = 0;
  for (size_t i = 0; i < due.samples.size(); ++i) {
    if (start < due.starts.size() && due.starts[start] == i) {
      ++start;
      setup.session->PretendPosition(due.samples[i].known - 1);
    }
    const Stopwatch watch;
    setup.OnePosition();
    per_position += watch.Seconds() * due.samples[i].weight;
  }
  return per_position * static_cast<double>(setup.plan.problem.length);
}

}  // namespace

StatusOr<MixerResult> RunMixer(const MixerCase& wanted) {
  MixerResult result;
  ThreadPool pool(wanted.threads);
  const Problem& problem = wanted.problem;
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<Setup> setup,
                        MakeSetup(problem, wanted.options, pool));
  result.plan = setup->plan.Print();
  result.bytes = setup->plan.Memory(pool.NumThreads()).Total();

  DueSamples due;
  if (problem.length > kCheckLength) {
    due = SampleDueWork(setup->plan, problem.length / 2);
    setup->session->PretendHistory(problem.length, setup->rows.data(), kRows);
    result.sampled = SampledSeconds(*setup, due) > wanted.whole_run_seconds;
  }
  // The check, at the full length if that is to be run whole.
  if (result.sampled) {
    Problem shorter = problem;
    shorter.length = shorter.taps = kCheckLength;
    LCSM_ASSIGN_OR_RETURN(std::unique_ptr<Setup> check,
                          MakeSetup(shorter, wanted.options, pool));
    result.max_relative_error = CheckWholeRun(*check);
    result.checked_length = kCheckLength;
  } else {
    result.max_relative_error = CheckWholeRun(*setup);
    result.checked_length = problem.length;
  }
  if (!(result.max_relative_error <= 2e-6)) {
    return InternalError(fmt::format(
        "{} is off by {:.2e} of max |y| at length {}, more than the 2e-6 that "
        "every method must keep",
        result.plan, result.max_relative_error, result.checked_length));
  }
  std::vector<double> times;
  for (size_t repeat = 0; repeat < wanted.repeats; ++repeat) {
    double seconds = 0;
    if (result.sampled) {
      // Huge accumulators or denormals are not what a run meets: start each
      // sweep from plain inputs.
      setup->session->PretendHistory(problem.length, setup->rows.data(), kRows);
      seconds = SampledSeconds(*setup, due);
    } else {
      setup->session->Reset();
      const Stopwatch watch;
      for (size_t t = 0; t < problem.length; ++t) setup->OnePosition();
      seconds = watch.Seconds();
    }
    times.push_back(1e9 * seconds /
                    (static_cast<double>(problem.length) *
                     static_cast<double>(problem.mixers) *
                     static_cast<double>(setup->Width())));
  }
  result.ns_per_token_channel = Summarize(times);
  return result;
}

}  // namespace lcsm::bench
