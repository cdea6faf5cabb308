#include "bench/model_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "bench/due_samples.h"
#include "bench/read_speed.h"
#include "bench/step_samples.h"
#include "conv/online_convolution.h"

namespace lcsm::bench {
namespace {

constexpr size_t kRows =
    61;  // Of made-up history; see mixer_bench.cc for the principle.

// Milliseconds of the mixers of a step on average over a sequence.
double AmortisedMixerMs(conv::OnlineConvolution& convolution,
                        const conv::Plan& plan, size_t position,
                        const std::vector<float>& rows) {
  const size_t mixers = plan.problem.mixers;
  std::vector<float> y(plan.problem.batch * plan.problem.channels);
  std::vector<double> red;
  for (size_t k = 0; k < 64 && position + k < plan.problem.length; ++k) {
    convolution.PretendPosition(position + k);
    const Stopwatch watch;
    for (size_t m = 0; m < mixers; ++m)
      convolution.Step(m, rows.data(), y.data());
    red.push_back(1e3 * watch.Seconds());
  }
  // The mean, since red cells of different positions take tiny tiles along.
  double total = std::accumulate(red.begin(), red.end(), 0.0) /
                 static_cast<double>(red.size());
  const DueSamples due = SampleDueWork(plan, position);
  // Deferred work is a matter of consecutive steps and runs once; single tiles
  // are repeated and their medians taken, since one may meet an interruption.
  const size_t sweeps = plan.Deferred() ? 1 : 5;
  std::vector<std::vector<double>> times(due.samples.size());
  for (size_t sweep = 0; sweep < sweeps; ++sweep) {
    size_t start = 0;
    for (size_t i = 0; i < due.samples.size(); ++i) {
      if (start < due.starts.size() && due.starts[start] == i) {
        ++start;
        convolution.PretendPosition(due.samples[i].known - 1);
      }
      const Stopwatch watch;
      convolution.RunDueWork(due.samples[i].known);
      times[i].push_back(1e3 * watch.Seconds());
    }
  }
  for (size_t i = 0; i < times.size(); ++i) {
    total += Quantile(times[i], 0.5) * due.samples[i].weight;
  }
  return total;
}

// The same of a state whose mixers are of several kinds: the mean of the steps
// from half of the position up to it, as SampleSteps takes them.
double AmortisedMixerMs(ModelState& state, size_t position, bool deferred,
                        size_t vocab, std::vector<float>& logits) {
  const std::vector<StepRun> runs =
      SampleSteps((position + 2) / 2, position + 2,
                  deferred ? StepPattern::kDeferred : StepPattern::kTiled);
  size_t steps = 0;
  const StepMeans means = MeanStep(
      runs, [&](size_t at) { state.MoveTo(at); },
      [&] { state.Step(static_cast<int32_t>(steps++ % vocab), logits.data()); },
      [&] { return state.times().mixers; });
  return 1e3 * means.probe;
}

}  // namespace

StepStatistics StatisticsOf(const std::vector<double>& ms) {
  StepStatistics s;
  if (ms.empty()) return s;
  s.mean = std::accumulate(ms.begin(), ms.end(), 0.0) /
           static_cast<double>(ms.size());
  s.p50 = Quantile(ms, 0.5);
  s.p99 = Quantile(ms, 0.99);
  s.p99_9 = Quantile(ms, 0.999);
  s.max = *std::max_element(ms.begin(), ms.end());
  return s;
}

StatusOr<ModelResult> RunModel(const Model& model, const ModelCase& wanted,
                               ThreadPool& pool) {
  ModelResult result;
  const ModelInfo& info = model.info();
  if (wanted.positions.empty()) {
    return InvalidInput("no positions to measure at, expected at least one");
  }
  if (wanted.plan.schedule == conv::Schedule::kPerLayer) {
    // Tiles are timed apart from steps here, which that schedule entangles.
    return Unsupported(
        "the model benchmark measures tiles across layers; the schedule "
        "per-layer is not one it can take apart");
  }
  const size_t furthest =
      *std::max_element(wanted.positions.begin(), wanted.positions.end());
  const size_t horizon = furthest + wanted.steps;
  if (furthest > info.max_length || wanted.steps > info.max_length - furthest) {
    return InvalidInput(
        fmt::format("position {} and {} steps are beyond the model's limit of "
                    "{} positions (--at, --steps)",
                    furthest, wanted.steps, info.max_length));
  }
  const Stopwatch prepare;
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const PreparedModel> prepared,
                        model.Prepare({.horizon = horizon,
                                       .plan = wanted.plan,
                                       .memory_limit = wanted.memory_limit},
                                      pool, nullptr));
  result.prepare_seconds = prepare.Seconds();
  result.plan = prepared->plan().Print();
  result.step_bytes = info.step_bytes;
  LCSM_ASSIGN_OR_RETURN(result.floor_ms, ReadMs(info.step_bytes, pool));
  const conv::Plan& plan = prepared->plan();
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<ModelState> state,
                        prepared->NewState(pool));
  // Null: a stack, whose mixers are timed together.
  conv::OnlineConvolution* const convolution = state->convolution();
  std::mt19937 rng(5);
  std::normal_distribution<float> normal;
  std::vector<float> rows(kRows * plan.problem.batch * plan.problem.channels);
  for (float& v : rows) v = 0.1f * normal(rng);
  std::vector<float> logits(info.padded_vocab);
  const auto token = [&] { return static_cast<int32_t>(rng() % info.vocab); };

  for (const size_t position : wanted.positions) {
    PositionResult row;
    row.position = position;
    row.synthetic_history = wanted.synthetic_history && position > 0;
    std::vector<double> with, without;
    for (size_t round = 0; round < wanted.rounds; ++round) {
      for (const bool skip : {true, false}) {
        state->Reset();
        if (row.synthetic_history) {
          LCSM_RETURN_IF_ERROR(state->Pretend(position));
        } else if (position > 0) {
          std::vector<int32_t> prompt(position);
          for (int32_t& id : prompt) id = token();
          LCSM_RETURN_IF_ERROR(
              state->Prefill(prompt, {.last_logits = logits.data()}));
        }
        state->SkipMixers(skip);
        for (size_t k = 0; k < wanted.steps; ++k) {
          const int32_t id = token();
          const Stopwatch watch;
          state->Step(id, logits.data());
          (skip ? without : with).push_back(1e3 * watch.Seconds());
        }
        state->SkipMixers(false);
      }
    }
    row.step_ms = StatisticsOf(with);
    row.step_without_mixers_ms = StatisticsOf(without);
    row.mixer_ms_amortised =
        convolution != nullptr
            ? AmortisedMixerMs(*convolution, plan, position, rows)
            : AmortisedMixerMs(*state, position, plan.Deferred(), info.vocab,
                               logits);
    row.mixer_share =
        row.mixer_ms_amortised /
        (row.mixer_ms_amortised + row.step_without_mixers_ms.mean);
    result.positions.push_back(row);
  }
  // Once more: the first time may have met a neighbour in the shared cache.
  LCSM_ASSIGN_OR_RETURN(const double floor_after,
                        ReadMs(info.step_bytes, pool));
  result.floor_ms = std::min(result.floor_ms, floor_after);
  return result;
}

}  // namespace lcsm::bench
