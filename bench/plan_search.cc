#include "bench/plan_search.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "base/thread_pool.h"
#include "bench/mixer_run.h"
#include "conv/layout.h"
#include "conv/level_op.h"
#include "conv/planner.h"
#include "conv/tuning.h"
#include "kernels/fft_tables.h"

namespace lcsm::bench {
namespace {

using conv::Level;
using conv::Tau;

// Wider than what the planner looks at.
constexpr size_t kRadices[] = {2, 4, 8, 16, 32};
constexpr size_t kMostTopBlocks = 128;
constexpr size_t kMostDirect = 256;

struct Way {
  std::vector<Level> levels;
  double ns = 0;
};

// The cheapest ways to serve what lies within blocks of some size, and from
// there to the end. Costs add up level by level, so the cheapest `keep` of each
// block size lead to the cheapest `keep` of all.
class Enumerator {
 public:
  Enumerator(const conv::Problem& problem, const conv::TileCosts& costs,
             size_t keep)
      : problem_(problem), costs_(costs), keep_(std::max<size_t>(1, keep)) {}

  // Every level that may follow at `block`.
  std::vector<Level> Choices(size_t block) const {
    std::vector<Level> choices;
    const size_t blocks = (problem_.length - 1) / block + 1;
    std::vector<size_t> radices(std::begin(kRadices), std::end(kRadices));
    if (blocks <= kMostTopBlocks) radices.push_back(Level::kToTheEnd);
    for (const size_t radix : radices) {
      if (radix != Level::kToTheEnd && radix / 2 >= blocks) continue;
      if (block <= kMostDirect) {
        choices.push_back({block, radix, Tau::kDirectBlocked});
      }
      if (block >= conv::SmallestBlock(Tau::kFftFused) &&
          block <= FftTables::kMaxBlock) {
        choices.push_back({block, radix, Tau::kFftFused});
      }
    }
    return choices;
  }

  std::vector<Way> From(size_t block, const Way& base) const {
    std::vector<Way> complete;
    std::map<size_t, std::vector<Way>> fronts;
    fronts[block].push_back(base);
    while (!fronts.empty()) {
      const size_t at = fronts.begin()->first;
      std::vector<Way> front = std::move(fronts.begin()->second);
      fronts.erase(fronts.begin());
      Cut(front);
      for (const Way& way : front) {
        if (Ended(at)) {
          complete.push_back(End(way));
          continue;
        }
        for (const Level& level : Choices(at)) {
          if (level.radix == Level::kToTheEnd) {
            complete.push_back(With(way, level));
          } else {
            fronts[at * level.radix].push_back(With(way, level));
          }
        }
      }
      Cut(complete);
    }
    return complete;
  }

  Way With(const Way& way, const Level& level) const {
    Way longer = way;
    longer.levels.push_back(level);
    longer.ns += conv::LevelNs(problem_, level, costs_);
    return longer;
  }

  static Way End(Way way) {
    if (!way.levels.empty()) way.levels.back().radix = Level::kToTheEnd;
    return way;
  }

  bool Ended(size_t block) const {
    const Level level = {block, Level::kToTheEnd, Tau::kDirectBlocked};
    return block >= problem_.length ||
           conv::SlicesOf(problem_, level).count == 0;
  }

 private:
  void Cut(std::vector<Way>& ways) const {
    std::stable_sort(ways.begin(), ways.end(),
                     [](const Way& a, const Way& b) { return a.ns < b.ns; });
    if (ways.size() > keep_) ways.resize(keep_);
  }

  const conv::Problem& problem_;
  const conv::TileCosts& costs_;
  const size_t keep_;
};

double Seconds(MixerRun& run) {
  run.session().Reset();
  const Stopwatch watch;
  for (size_t t = 0; t < run.plan().problem.length; ++t) run.OnePosition();
  return watch.Seconds();
}

struct Runner {
  PlanRow row;
  conv::Plan plan;
  std::unique_ptr<MixerRun> run;
  std::vector<double> ns = {}, to_planner = {};
};

}  // namespace

std::vector<std::vector<Level>> EnumeratePlans(const conv::Plan& plan,
                                               const conv::TileCosts& costs,
                                               size_t best) {
  const conv::Problem& problem = plan.problem;
  const Enumerator all(problem, costs, best);
  const Enumerator one(problem, costs, 1);
  std::vector<Way> ways;
  const auto add = [&ways](std::vector<Way> more) {
    std::move(more.begin(), more.end(), std::back_inserter(ways));
  };
  // Blocks of 1 and 2 ride with the red cells for nothing, but only as binary
  // levels; that nothing else should come first is foretold wrongly if at all,
  // so it is tried.
  const Way tiny = {{{1, 2, Tau::kDirectBlocked}, {2, 2, Tau::kDirectBlocked}},
                    0};
  if (all.Ended(4)) {
    add(all.From(1, {}));
  } else {
    add(all.From(4, tiny));
    for (const size_t radix : {4u, 8u, 16u}) {
      add(one.From(radix, one.With({}, {1, radix, Tau::kDirectBlocked})));
    }
  }
  Way below;
  for (const Level& level : plan.levels) {
    for (const Level& other : one.Choices(level.block)) {
      if (level.block < 4 || other == level) continue;
      if (other.radix == Level::kToTheEnd) {
        ways.push_back(one.With(below, other));
      } else {
        add(one.From(level.block * other.radix, one.With(below, other)));
      }
    }
    below = one.With(below, level);
    if (level.block < 4) below.ns = 0;
  }
  std::stable_sort(ways.begin(), ways.end(),
                   [](const Way& a, const Way& b) { return a.ns < b.ns; });
  std::vector<std::vector<Level>> lists;
  for (Way& way : ways) {
    if (std::find(lists.begin(), lists.end(), way.levels) == lists.end()) {
      lists.push_back(std::move(way.levels));
    }
  }
  return lists;
}

StatusOr<PlanSearchResult> SearchPlans(
    const PlanSearchCase& wanted, const std::function<bool(double)>& proceed) {
  const conv::Problem& problem = wanted.problem;
  ThreadPool pool(wanted.options.threads);
  const double width =
      static_cast<double>(problem.mixers * problem.batch * problem.channels);
  const double tokens = width * static_cast<double>(problem.length);
  conv::PlanOptions options = wanted.options;
  options.method = conv::Method::kPlanned;
  LCSM_ASSIGN_OR_RETURN(const conv::Plan planner,
                        conv::MakePlan(problem, options));
  options.method = conv::Method::kPaper;
  options.tau = Tau::kHybrid;
  LCSM_ASSIGN_OR_RETURN(const conv::Plan hybrid,
                        conv::MakePlan(problem, options));
  const conv::TileCosts estimate;
  const conv::TileCosts* costs =
      options.tuning != nullptr ? options.tuning->For(problem) : nullptr;
  if (costs == nullptr) costs = &estimate;
  const auto runner = [&](const char* name, const conv::Plan& plan) {
    Runner one = {{}, plan, nullptr};
    one.row.name = name;
    one.row.levels = plan.Levels();
    one.row.predicted_ns = conv::PlanNs(plan, *costs) / width;
    one.row.bytes = plan.Memory(pool.NumThreads()).Total();
    return one;
  };

  const std::vector<std::vector<Level>> lists =
      EnumeratePlans(planner, *costs, wanted.candidates);
  // Screening is two runs each, and so much as two rounds of the finalists.
  const double work =
      2.0 * static_cast<double>(lists.size()) +
      static_cast<double>((wanted.finalists + 2) * (wanted.rounds + 1));
  double done = 0;
  const auto go_on = [&]() {
    ++done;
    return proceed == nullptr || proceed(done / work)
               ? OkStatus()
               : Cancelled("the measurement was ended before it was complete");
  };
  PlanSearchResult result;
  std::vector<Runner> found;
  for (const std::vector<Level>& levels : lists) {
    if (levels == planner.levels || levels == hybrid.levels) continue;
    const StatusOr<conv::Plan> plan =
        conv::MakePlan(problem, levels, options.schedule);
    if (!plan.ok()) continue;
    Runner one = runner("found", *plan);
    if (options.memory_limit != 0 && one.row.bytes > options.memory_limit) {
      continue;
    }
    // One at a time: together they would not fit.
    LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<MixerRun> run,
                          MixerRun::Create(*plan, pool));
    LCSM_ASSIGN_OR_RETURN(one.row.max_relative_error, run->Check());
    LCSM_RETURN_IF_ERROR(go_on());
    one.row.screened_ns = 1e9 * std::min(Seconds(*run), Seconds(*run)) / tokens;
    LCSM_RETURN_IF_ERROR(go_on());
    found.push_back(std::move(one));
  }
  result.enumerated = found.size();
  std::stable_sort(found.begin(), found.end(),
                   [](const Runner& a, const Runner& b) {
                     return a.row.screened_ns < b.row.screened_ns;
                   });
  if (found.size() > wanted.finalists) found.resize(wanted.finalists);

  std::vector<Runner> finals;
  finals.push_back(runner("planner", planner));
  finals.push_back(runner("hybrid", hybrid));
  std::move(found.begin(), found.end(), std::back_inserter(finals));
  for (Runner& one : finals) {
    LCSM_ASSIGN_OR_RETURN(one.run, MixerRun::Create(one.plan, pool));
    LCSM_ASSIGN_OR_RETURN(one.row.max_relative_error, one.run->Check());
    LCSM_RETURN_IF_ERROR(go_on());
  }
  for (size_t round = 0; round < wanted.rounds; ++round) {
    // Each round starts with another plan, so that none is always the one
    // after the slowest.
    for (size_t k = 0; k < finals.size(); ++k) {
      Runner& one = finals[(k + round) % finals.size()];
      one.ns.push_back(1e9 * Seconds(*one.run) / tokens);
      LCSM_RETURN_IF_ERROR(go_on());
    }
    for (Runner& one : finals) {
      one.to_planner.push_back(one.ns.back() / finals[0].ns.back());
    }
  }
  for (Runner& one : finals) {
    one.row.ns = Summarize(one.ns);
    one.row.to_planner = Summarize(one.to_planner);
    result.rows.push_back(std::move(one.row));
  }
  std::stable_sort(result.rows.begin() + 2, result.rows.end(),
                   [](const PlanRow& a, const PlanRow& b) {
                     return a.ns.median < b.ns.median;
                   });
  return result;
}

}  // namespace lcsm::bench
