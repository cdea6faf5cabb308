#include "bench/links_bench.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <utility>

#include "base/thread_pool.h"
#include "bench/step_samples.h"
#include "mixers/mixer_set.h"

namespace lcsm::bench {
namespace {

constexpr size_t kCheckLength = 40, kCheckWidth = 16;
// Known tokens that are timed together, two blocks of them.
constexpr size_t kKnown = 256;

StatusOr<LinksRow> RunOne(const LinksCase& wanted, StudyLink link, size_t links,
                          ThreadPool& pool) {
  LinksRow row;
  row.link = link;
  row.links = links;
  StudyShape shape;
  shape.layers = wanted.layers;
  shape.width = std::min(wanted.width, kCheckWidth);
  shape.length = kCheckLength;
  shape.link = link;
  shape.links = links;
  LCSM_ASSIGN_OR_RETURN(row.difference,
                        CheckStudyStack(shape, kCheckLength, pool));
  shape.width = wanted.width;
  shape.length = wanted.length;
  LCSM_ASSIGN_OR_RETURN(StudyStack stack, MakeStudyStack(shape));
  stack.tensors.clear();

  MixerSetOptions mixers;
  mixers.horizon = wanted.length;
  mixers.plan = wanted.plan;
  LCSM_ASSIGN_OR_RETURN(
      const MixerSchedule schedule,
      PreparedMixers::Schedule(stack.weights->mixers(), mixers));
  row.executors = schedule.groups.size();
  row.plan = schedule.groups.front().plan.Print();
  for (const MixerSchedule::Entry& entry : schedule.entries) {
    row.in_order += entry.work == MixerSchedule::Work::kInOrder ? 1 : 0;
  }
  row.known_by_blocks = !stack.weights->reads_past();

  PrepareOptions options;
  options.horizon = wanted.length;
  options.plan = wanted.plan;
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const PreparedModel> prepared,
                        stack.model->Prepare(options, pool, nullptr));
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<ModelState> state,
                        prepared->NewState(pool));
  LCSM_RETURN_IF_ERROR(state->Pretend(wanted.length - 1));
  const std::vector<StepRun> runs =
      SampleSteps(wanted.length / 2, wanted.length, StepPattern::kTiled);
  std::vector<float> logits(stack.model->info().padded_vocab);
  std::mt19937 rng(3);
  const auto token = [&rng] {
    return static_cast<int32_t>(rng() % StudyShape::kVocab);
  };
  std::vector<int32_t> known(std::min(kKnown, wanted.length / 2));
  for (int32_t& id : known) id = token();
  std::vector<double> step_ms, mixing_ms, known_ms;
  for (size_t repeat = 0; repeat < wanted.repeats; ++repeat) {
    const StepMeans means = MeanStep(
        runs, [&](size_t position) { state->MoveTo(position); },
        [&] { state->Step(token(), logits.data()); },
        [&] { return state->times().mixers; });
    step_ms.push_back(1e3 * means.step);
    mixing_ms.push_back(1e3 * means.probe);
    state->MoveTo(wanted.length / 2);
    const Stopwatch watch;
    LCSM_RETURN_IF_ERROR(state->Prefill(known, {.last_logits = logits.data()}));
    known_ms.push_back(1e3 * watch.Seconds() /
                       static_cast<double>(known.size()));
  }
  row.step_ms = Summarize(step_ms);
  row.mixing_ms = Summarize(mixing_ms);
  row.known_ms = Summarize(known_ms);
  return row;
}

}  // namespace

StatusOr<std::vector<LinksRow>> RunLinks(const LinksCase& wanted,
                                         const Proceed& proceed) {
  ThreadPool pool(wanted.threads);
  std::vector<LinksRow> rows;
  const double all = static_cast<double>(wanted.links.size() * wanted.layers);
  for (const StudyLink link : wanted.links) {
    for (size_t links = 0; links < wanted.layers; ++links) {
      if (proceed != nullptr &&
          !proceed(static_cast<double>(rows.size()) / all)) {
        return Cancelled("the measurement was ended before it was complete");
      }
      LCSM_ASSIGN_OR_RETURN(LinksRow row, RunOne(wanted, link, links, pool));
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

}  // namespace lcsm::bench
