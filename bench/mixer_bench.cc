#include "bench/mixer_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

#include "base/thread_pool.h"
#include "bench/due_samples.h"
#include "bench/mixer_run.h"

namespace lcsm::bench {
namespace {

using conv::Problem;

// Lengths up to this are checked and timed whole whatever the method.
constexpr size_t kCheckLength = 2048;
// Seconds of a whole run, from the samples.
double SampledSeconds(MixerRun& run, const DueSamples& due) {
  double per_position = 0;
  size_t start = 0;
  for (size_t i = 0; i < due.samples.size(); ++i) {
    if (start < due.starts.size() && due.starts[start] == i) {
      ++start;
      run.session().PretendPosition(due.samples[i].known - 1);
    }
    const Stopwatch watch;
    run.OnePosition();
    per_position += watch.Seconds() * due.samples[i].weight;
  }
  return per_position * static_cast<double>(run.plan().problem.length);
}

}  // namespace

StatusOr<MixerResult> RunMixer(const MixerCase& wanted) {
  MixerResult result;
  ThreadPool pool(wanted.threads);
  const Problem& problem = wanted.problem;
  LCSM_ASSIGN_OR_RETURN(const conv::Plan plan,
                        conv::MakePlan(problem, wanted.options));
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<MixerRun> run,
                        MixerRun::Create(plan, pool));
  result.plan = plan.Print();
  result.bytes = plan.Memory(pool.NumThreads()).Total();

  DueSamples due;
  if (problem.length > kCheckLength) {
    due = SampleDueWork(plan, problem.length / 2);
    run->Pretend();
    result.sampled = SampledSeconds(*run, due) > wanted.whole_run_seconds;
  }
  // The check, at the full length if that is to be run whole.
  if (result.sampled) {
    Problem shorter = problem;
    shorter.length = shorter.taps = kCheckLength;
    LCSM_ASSIGN_OR_RETURN(const conv::Plan short_plan,
                          conv::MakePlan(shorter, wanted.options));
    LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<MixerRun> check,
                          MixerRun::Create(short_plan, pool));
    LCSM_ASSIGN_OR_RETURN(result.max_relative_error, check->Check());
    result.checked_length = kCheckLength;
  } else {
    LCSM_ASSIGN_OR_RETURN(result.max_relative_error, run->Check());
    result.checked_length = problem.length;
  }
  std::vector<double> times;
  for (size_t repeat = 0; repeat < wanted.repeats; ++repeat) {
    double seconds = 0;
    if (result.sampled) {
      // Huge accumulators or denormals are not what a run meets: start each
      // sweep from plain inputs.
      run->Pretend();
      seconds = SampledSeconds(*run, due);
    } else {
      run->session().Reset();
      const Stopwatch watch;
      for (size_t t = 0; t < problem.length; ++t) run->OnePosition();
      seconds = watch.Seconds();
    }
    times.push_back(1e9 * seconds /
                    (static_cast<double>(problem.length) *
                     static_cast<double>(problem.mixers) *
                     static_cast<double>(run->Width())));
  }
  result.ns_per_token_channel = Summarize(times);
  return result;
}

}  // namespace lcsm::bench
