#include "bench/plan_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "bench/due_samples.h"
#include "bench/mixer_run.h"
#include "bench/timing.h"
#include "conv/layout.h"
#include "conv/level_op.h"
#include "conv/planner.h"

namespace lcsm::bench {
namespace {

// Mean number of input blocks of a level's tiles, and tiles a position.
void MeanTile(const conv::Problem& problem, const conv::Level& level,
              double& terms, double& per_position) {
  conv::TileCosts one;
  // A tile with k blocks "costs" k, then 1: the planner's own averaging.
  const bool many =
      level.tau == conv::Tau::kFftFused && conv::SlotsOf(problem, level) != 0;
  conv::Level plain = level;
  plain.spectra = conv::Spectra::kKept;
  one.Set(level.tau, level.block, many, {1, 1});
  const double blocks = conv::LevelNs(problem, plain, one);
  one.Set(level.tau, level.block, many, {1, 0});
  per_position = conv::LevelNs(problem, plain, one);
  terms = per_position > 0 ? blocks / per_position : 0;
}

bool IsDirect(const conv::Level& level) {
  return level.tau == conv::Tau::kDirect ||
         level.tau == conv::Tau::kDirectBlocked;
}

// Operations and bytes of a level, per position and channel.
void Account(const conv::Problem& problem, const conv::Level& level,
             double& flops, double& bytes) {
  double terms = 0, tiles = 0;
  MeanTile(problem, level, terms, tiles);
  const double u = static_cast<double>(level.block);
  if (IsDirect(level)) {
    flops = tiles * 2 * terms * u * u;
    // Inputs, taps, outputs read and written.
    bytes = tiles * 4 * (terms * u + (terms + 1) * u + 2 * u);
    return;
  }
  // A radix-4 pass costs 34 operations for 4 points and is met on the way down
  // and up; a product 8 a point.
  flops = tiles * (4.25 * u * std::log2(u) + 8 * terms * u);
  // Each slice is 8 bytes a point; older blocks too. In pairs, every second
  // tile reads what serves two and hands a sum on.
  double spectra = terms;
  if (conv::SlotsOf(problem, level) != 0) {
    spectra = level.serves == conv::Serves::kSiblings
                  ? terms + 2  // (terms - 1 + terms + ..) / 2, slot, sum.
                  : 2 * terms;
  }
  bytes = tiles * (8 * spectra * u + 4 * u + 8 * u);
}

}  // namespace

PlanReport DescribePlan(const conv::Plan& plan, const conv::TileCosts& costs) {
  PlanReport report;
  const conv::Problem& problem = plan.problem;
  const double channels =
      static_cast<double>(problem.mixers * problem.batch * problem.channels);
  const double histories = static_cast<double>(conv::HistoryGroups(problem));
  const size_t filter_groups = problem.mixers * GroupsFor(problem.channels);
  for (const conv::Level& level : plan.levels) {
    LevelReport row;
    row.level = level;
    row.predicted_ns = conv::LevelNs(problem, level, costs) * histories;
    Account(problem, level, row.flops, row.bytes);
    row.flops *= channels;
    row.bytes *= channels;
    row.memory =
        sizeof(float) *
        (filter_groups * conv::SpectraFloats(problem, level) +
         conv::HistoryGroups(problem) * conv::KeptFloats(problem, level));
    const double block = static_cast<double>(level.block);
    row.working_set =
        static_cast<double>(row.memory) + histories * 64 * 2 * block;
    report.predicted_ns += row.predicted_ns;
    report.levels.push_back(row);
  }
  return report;
}

Status MeasurePlan(const conv::Plan& plan, ThreadPool& pool,
                   PlanReport& report) {
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<MixerRun> run,
                        MixerRun::Create(plan, pool));
  LCSM_ASSIGN_OR_RETURN(report.error, run->Check());
  run->Pretend();
  conv::OnlineConvolution& session = run->session();
  std::vector<double> red;
  const size_t middle = plan.problem.length / 2;
  for (size_t k = 0; k < 256; ++k) {
    session.PretendPosition(std::min(middle + k % 64, plan.problem.length - 1));
    const Stopwatch watch;
    run->RedCells();
    red.push_back(1e9 * watch.Seconds());
  }
  report.red_ns = 0;
  for (const double ns : red) {
    report.red_ns += ns / static_cast<double>(red.size());
  }
  const DueSamples due = SampleDueWork(plan, middle);
  const auto warm = [&plan](size_t known) {
    constexpr size_t kWarm = 64;
    return !plan.Deferred() && !plan.levels.empty() &&
           plan.levels[conv::DueLevel(plan.levels, known)].block <= kWarm;
  };
  std::vector<double> nothing;
  for (size_t k = 0; k < 101; ++k) {
    const Stopwatch watch;
    nothing.push_back(1e9 * watch.Seconds());
  }
  const double clock_ns = Summarize(nothing).median;
  std::vector<std::vector<double>> times(due.samples.size());
  constexpr size_t kSweeps = 5;
  for (size_t sweep = 0; sweep < kSweeps; ++sweep) {
    size_t start = 0;
    for (size_t i = 0; i < due.samples.size(); ++i) {
      if (start < due.starts.size() && due.starts[start] == i) {
        ++start;
        session.PretendPosition(due.samples[i].known - 1);
      }
      // In a run the data of small levels was touched a few steps ago; after a
      // jump it was not.
      if (warm(due.samples[i].known)) {
        session.RunDueWork(due.samples[i].known);
      }
      const Stopwatch watch;
      session.RunDueWork(due.samples[i].known);
      times[i].push_back(std::max(0.0, 1e9 * watch.Seconds() - clock_ns));
    }
  }
  report.measured_ns = report.red_ns;
  for (LevelReport& row : report.levels) {
    row.measured_ns = plan.Deferred() ? -1 : 0;
  }
  for (size_t i = 0; i < times.size(); ++i) {
    const double ns = Summarize(times[i]).median * due.samples[i].weight;
    report.measured_ns += ns;
    // Deferred levels share their steps; only the sum is known of them.
    if (plan.Deferred() || plan.levels.empty()) continue;
    report.levels[conv::DueLevel(plan.levels, due.samples[i].known)]
        .measured_ns += ns;
  }
  return OkStatus();
}

}  // namespace lcsm::bench
