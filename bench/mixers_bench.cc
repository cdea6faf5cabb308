#include "bench/mixers_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <memory>
#include <random>
#include <utility>

#include "base/thread_pool.h"
#include "bench/step_samples.h"
#include "mixers/diagonal_ssm.h"
#include "mixers/mixer_set.h"

namespace lcsm::bench {
namespace {

// Of the check before, which sums everything anew.
constexpr size_t kCheckLength = 160, kCheckLayers = 2, kCheckWidth = 32;

// Whether some work of a stack waits for the end of a position.
bool Defers(const StackWeights& weights) {
  return std::any_of(weights.mixers().begin(), weights.mixers().end(),
                     [](const MixerEntry& entry) {
                       return entry.mixer->convolutions().count != 0 ||
                              entry.mixer->defers();
                     });
}

Status GoOn(const Proceed& proceed, double done) {
  return proceed == nullptr || proceed(done)
             ? OkStatus()
             : Cancelled("the measurement was ended before it was complete");
}

StatusOr<MixersRow> RunOne(const MixersCase& wanted, StudyMixer mixer,
                           size_t length, ThreadPool& pool) {
  MixersRow row;
  row.mixer = mixer;
  row.length = length;
  StudyShape shape;
  shape.mixer = mixer;
  shape.layers = wanted.layers;
  shape.width = wanted.width;
  shape.length = length;
  LCSM_ASSIGN_OR_RETURN(StudyStack stack, MakeStudyStack(shape));
  stack.tensors.clear();
  PrepareOptions options;
  options.horizon = length;
  options.plan = wanted.plan;
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const PreparedModel> prepared,
                        stack.model->Prepare(options, pool, nullptr));
  LCSM_ASSIGN_OR_RETURN(
      const ModelMemory memory,
      stack.model->EstimateMemory(options, pool.NumThreads()));
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<ModelState> state,
                        prepared->NewState(pool));
  row.history_bytes = state->HistoryBytes();
  row.shared_bytes = memory.convolution.taps + memory.convolution.spectra;
  const bool defers = Defers(*stack.weights);
  if (prepared->plan().problem.mixers != 0) row.plan = prepared->plan().Print();
  const std::vector<StepRun> runs =
      SampleSteps(std::max<size_t>(1, length / 2), length,
                  defers ? StepPattern::kTiled : StepPattern::kEven);
  row.sampled = runs.size() > 1 || !defers;
  LCSM_RETURN_IF_ERROR(state->Pretend(length - 1));
  std::vector<float> logits(stack.model->info().padded_vocab);
  std::mt19937 rng(3);
  std::vector<double> step_ms, mixing_ms;
  for (size_t repeat = 0; repeat < wanted.repeats; ++repeat) {
    const StepMeans means = MeanStep(
        runs, [&](size_t position) { state->MoveTo(position); },
        [&] {
          state->Step(static_cast<int32_t>(rng() % StudyShape::kVocab),
                      logits.data());
        },
        [&] { return state->times().mixers; });
    step_ms.push_back(1e3 * means.step);
    mixing_ms.push_back(1e3 * means.probe);
  }
  row.step_ms = Summarize(step_ms);
  row.mixing_ms = Summarize(mixing_ms);
  return row;
}

}  // namespace

StatusOr<std::vector<MixersRow>> RunMixers(const MixersCase& wanted,
                                           const Proceed& proceed) {
  ThreadPool pool(wanted.threads);
  std::vector<MixersRow> rows;
  const double all =
      static_cast<double>(wanted.mixers.size() * wanted.lengths.size());
  for (const StudyMixer mixer : wanted.mixers) {
    StudyShape shape;
    shape.mixer = mixer;
    shape.layers = std::min(wanted.layers, kCheckLayers);
    shape.width = std::min(wanted.width, kCheckWidth);
    LCSM_ASSIGN_OR_RETURN(const double difference,
                          CheckStudyStack(shape, kCheckLength, pool));
    for (const size_t length : wanted.lengths) {
      LCSM_RETURN_IF_ERROR(
          GoOn(proceed, static_cast<double>(rows.size()) / all));
      LCSM_ASSIGN_OR_RETURN(MixersRow row, RunOne(wanted, mixer, length, pool));
      row.difference = difference;
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

Crossing FindCrossing(const std::vector<double>& modes,
                      const std::vector<double>& ns, double wanted_ns) {
  size_t above = 1;
  while (above + 1 < ns.size() && ns[above] < wanted_ns) ++above;
  const double rise = ns[above] - ns[above - 1];
  Crossing crossing;
  crossing.between = wanted_ns >= ns[above - 1] && wanted_ns <= ns[above];
  // Noise may make more modes look cheaper; then there is no line to go by.
  if (!(rise > 0)) return {modes[above], false};
  crossing.modes =
      std::max(0.0, modes[above - 1] + (wanted_ns - ns[above - 1]) / rise *
                                           (modes[above] - modes[above - 1]));
  return crossing;
}

namespace {

// Rows of inputs, used over and over.
constexpr size_t kRows = 61;
// Steps of a recurrence that are timed together.
constexpr size_t kRecurrentSteps = 256;
// Modes of the convolution's filters, whose number does not matter to its cost.
constexpr size_t kFilterModes = 4;

// Modes that neither die at once nor live for ever.
DiagonalModes RandomModes(size_t channels, size_t modes, bool real,
                          double largest) {
  std::mt19937 rng(11);
  std::uniform_real_distribution<double> radius(0.5, largest), angle(-3.1, 3.1);
  DiagonalModes all;
  all.channels = channels;
  all.modes = modes;
  const double scale = 1 / static_cast<double>(modes);
  for (size_t i = 0; i < channels * modes; ++i) {
    // What float32 holds, so that the poles themselves add no error.
    const auto pole = std::polar(radius(rng), real ? 0 : angle(rng));
    all.poles.emplace_back(static_cast<float>(pole.real()),
                           static_cast<float>(pole.imag()));
    all.residues.emplace_back(scale * angle(rng),
                              real ? 0 : scale * angle(rng));
  }
  return all;
}

// Mixers that all take the same inputs, one after another, as in a stack.
struct Column {
  std::unique_ptr<MixerStates> states;
  std::vector<float> x, y;
  size_t width = 0;

  void Step() {
    const float* const row = x.data() + states->position() % kRows * width;
    for (size_t m = 0; m < states->size(); ++m) {
      (*states)[m].Step(row, y.data());
    }
    states->Advance();
  }
};

StatusOr<Column> MakeColumn(const std::shared_ptr<const Mixer>& mixer,
                            size_t layers, size_t horizon,
                            const conv::PlanOptions& plan, ThreadPool& pool,
                            std::string* print) {
  Column column;
  column.width = mixer->in_width();
  MixerSetOptions options;
  options.horizon = horizon;
  options.plan = plan;
  LCSM_ASSIGN_OR_RETURN(
      const std::shared_ptr<const PreparedMixers> prepared,
      PreparedMixers::Create(std::vector<MixerEntry>(layers, {mixer, {}}),
                             options, pool));
  LCSM_ASSIGN_OR_RETURN(column.states, prepared->NewStates(pool));
  if (print != nullptr) *print = prepared->schedule().groups[0].plan.Print();
  std::mt19937 rng(12);
  std::normal_distribution<float> normal;
  column.x.resize(kRows * column.width);
  for (float& v : column.x) v = normal(rng);
  column.y.resize(column.width);
  return column;
}

StatusOr<std::shared_ptr<const Mixer>> MakeRecurrence(
    const DiagonalModes& modes) {
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const DiagonalSsm> mixer,
                        DiagonalSsm::Create(modes));
  return std::shared_ptr<const Mixer>(mixer);
}
StatusOr<std::shared_ptr<const Mixer>> MakeConvolution(DiagonalModes modes) {
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const LongConvolution> mixer,
                        ModesAsConvolution(std::move(modes)));
  return std::shared_ptr<const Mixer>(mixer);
}

// The same filters both ways.
StatusOr<double> CheckStates(const StatesCase& wanted, ThreadPool& pool) {
  constexpr size_t kLength = 512;
  double difference = 0;
  for (const bool real : {true, false}) {
    const DiagonalModes modes = RandomModes(std::min<size_t>(wanted.width, 20),
                                            wanted.modes.front(), real, 0.9);
    LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const Mixer> recurrence,
                          MakeRecurrence(modes));
    LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const Mixer> convolution,
                          MakeConvolution(modes));
    LCSM_ASSIGN_OR_RETURN(Column one, MakeColumn(recurrence, 1, kLength,
                                                 wanted.plan, pool, nullptr));
    LCSM_ASSIGN_OR_RETURN(Column other, MakeColumn(convolution, 1, kLength,
                                                   wanted.plan, pool, nullptr));
    double largest = 0, off = 0;
    for (size_t t = 0; t < kLength; ++t) {
      one.Step();
      other.Step();
      for (size_t c = 0; c < one.width; ++c) {
        largest = std::max(largest, std::abs(static_cast<double>(one.y[c])));
        const double by = std::abs(static_cast<double>(one.y[c]) - other.y[c]);
        if (!(by <= off)) off = by;
      }
    }
    if (!(off <= kStudyTolerance * largest)) {
      return InternalError(fmt::format(
          "a filter of {} modes by recurrence and as a convolution differ by "
          "{:.2e} of the largest output, more than {:.0e}",
          wanted.modes.front(), off / largest, kStudyTolerance));
    }
    difference = std::max(difference, off / largest);
  }
  return difference;
}

StatusOr<Spread> TimeRecurrence(const StatesCase& wanted, size_t modes,
                                bool real, double scale, ThreadPool& pool) {
  LCSM_ASSIGN_OR_RETURN(
      const std::shared_ptr<const Mixer> mixer,
      MakeRecurrence(RandomModes(wanted.width, modes, real, 0.999)));
  LCSM_ASSIGN_OR_RETURN(
      Column column,
      MakeColumn(mixer, wanted.layers, (wanted.repeats + 1) * kRecurrentSteps,
                 wanted.plan, pool, nullptr));
  std::vector<double> ns;
  for (size_t repeat = 0; repeat <= wanted.repeats; ++repeat) {
    const Stopwatch watch;
    for (size_t k = 0; k < kRecurrentSteps; ++k) column.Step();
    // The first round fetches everything.
    if (repeat > 0) {
      ns.push_back(watch.Seconds() / kRecurrentSteps * scale);
    }
  }
  return Summarize(ns);
}

}  // namespace

StatusOr<StatesResult> RunStates(const StatesCase& wanted,
                                 const Proceed& proceed) {
  ThreadPool pool(wanted.threads);
  StatesResult result;
  LCSM_ASSIGN_OR_RETURN(result.difference, CheckStates(wanted, pool));
  const double scale = 1e9 / static_cast<double>(wanted.width * wanted.layers);
  const double parts =
      static_cast<double>(wanted.modes.size() + wanted.lengths.size());
  std::vector<double> modes, real_ns, complex_ns;
  for (const size_t count : wanted.modes) {
    LCSM_RETURN_IF_ERROR(
        GoOn(proceed, static_cast<double>(modes.size()) / parts));
    StatesRow row;
    row.modes = count;
    LCSM_ASSIGN_OR_RETURN(row.real_ns,
                          TimeRecurrence(wanted, count, true, scale, pool));
    LCSM_ASSIGN_OR_RETURN(row.complex_ns,
                          TimeRecurrence(wanted, count, false, scale, pool));
    modes.push_back(static_cast<double>(count));
    real_ns.push_back(row.real_ns.median);
    complex_ns.push_back(row.complex_ns.median);
    result.states.push_back(row);
  }
  for (const size_t length : wanted.lengths) {
    LCSM_RETURN_IF_ERROR(GoOn(
        proceed,
        static_cast<double>(modes.size() + result.crossover.size()) / parts));
    CrossoverRow row;
    row.length = length;
    LCSM_ASSIGN_OR_RETURN(
        const std::shared_ptr<const Mixer> mixer,
        MakeConvolution(RandomModes(wanted.width, kFilterModes, true, 0.999)));
    LCSM_ASSIGN_OR_RETURN(
        Column column,
        MakeColumn(mixer, wanted.layers, length, wanted.plan, pool, &row.plan));
    LCSM_RETURN_IF_ERROR(column.states->Pretend(length - 1));
    const std::vector<StepRun> runs = SampleSteps(
        std::max<size_t>(1, length / 2), length, StepPattern::kTiled);
    std::vector<double> ns;
    for (size_t repeat = 0; repeat < wanted.repeats; ++repeat) {
      ns.push_back(scale * MeanStep(
                               runs,
                               [&](size_t at) { column.states->MoveTo(at); },
                               [&] { column.Step(); }, [] { return 0.0; })
                               .step);
    }
    row.convolution_ns = Summarize(ns);
    row.real = FindCrossing(modes, real_ns, row.convolution_ns.median);
    row.complex = FindCrossing(modes, complex_ns, row.convolution_ns.median);
    result.crossover.push_back(std::move(row));
  }
  return result;
}

}  // namespace lcsm::bench
