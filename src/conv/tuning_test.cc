#include "conv/tuning.h"

#include <gtest/gtest.h>

#include "base/byte_text.h"
#include "conv/measure_tiles.h"
#include "conv/planner.h"

namespace lcsm::conv {
namespace {

Tuning Small() {
  Problem problem;
  problem.channels = 40;  // Three groups: the table for four.
  TileCosts costs;
  costs.Set(Tau::kFftFused, 64, false, {1000, 0});
  costs.Set(Tau::kFftFused, 64, true, {1200, 345.5});
  costs.Set(Tau::kDirectBlocked, 8, false, {70, 70});
  Tuning tuning;
  tuning.Set(problem, costs);
  return tuning;
}

TEST(TuningTest, SurvivesBeingWrittenAndRead) {
  const Tuning tuning = Small();
  const auto read = Tuning::Parse(tuning.Print(), "f");
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->Print(), tuning.Print());
  Problem problem;
  problem.channels = 64;
  ASSERT_NE(read->For(problem), nullptr);
  EXPECT_EQ(read->For(problem)->Of(Tau::kFftFused, 64, true).more_ns, 345.5);
  problem.channels = 65;
  EXPECT_EQ(read->For(problem), nullptr);
}

TEST(TuningTest, ForeignAndDamagedFilesAreRefused) {
  const std::string good = Small().Print();
  for (const char* part : {"cpu ", "target ", "version ", "lcsm tile"}) {
    std::string bad = good;
    bad.insert(bad.find(part) + std::string(part).size(), "x");
    EXPECT_FALSE(Tuning::Parse(bad, "f").ok()) << part;
  }
  // Cut anywhere, it is not believed.
  for (size_t size = 0; size < good.size() - 1; ++size) {
    EXPECT_FALSE(Tuning::Parse(good.substr(0, size), "f").ok()) << size;
  }
  EXPECT_FALSE(Tuning::Parse(good + "more\n", "f").ok());
  for (const auto& [from, to] :
       std::vector<std::pair<std::string, std::string>>{
           {"groups 4", "groups 3"},
           {"groups 4", "groups -4"},
           {"groups 4", "groups 4 x"},
           {"345.5", "nan"},
           {"345.5", "-1"},
           {"345.5", "1e300"},
           {"fft-fused 64", "fft-fused 63"},
           {"fft-fused 64", "hybrid 64"},
           {"many", "some"}}) {
    std::string bad = good;
    bad.replace(bad.find(from), from.size(), to);
    EXPECT_FALSE(Tuning::Parse(bad, "f").ok()) << to;
  }
}

TEST(TuningTest, PlansFollowTheMeasurements) {
  Problem problem;
  problem.length = problem.taps = 4096;
  PlanOptions options;
  options.method = Method::kPlanned;
  // Products for nothing: sums over many blocks must win.
  TileCosts cheap;
  for (size_t block = 8; block <= 4096; block *= 2) {
    cheap.Set(Tau::kFftFused, block, false, {100.0 * block, 0});
    cheap.Set(Tau::kFftFused, block, true, {100.0 * block, 0});
  }
  Tuning tuning;
  tuning.Set(problem, cheap);
  options.tuning = std::make_shared<const Tuning>(tuning);
  bool many = false;
  const Plan many_plan = MakePlan(problem, options).value();
  for (const Level& level : many_plan.levels) {
    many |= level.tau == Tau::kFftFused && SlotsOf(problem, level) > 0;
  }
  EXPECT_TRUE(many);
  // Products beyond price: they must not.
  for (size_t block = 8; block <= 4096; block *= 2) {
    cheap.Set(Tau::kFftFused, block, true, {1e9, 1e9});
  }
  tuning.Set(problem, cheap);
  options.tuning = std::make_shared<const Tuning>(tuning);
  const Plan single_plan = MakePlan(problem, options).value();
  for (const Level& level : single_plan.levels) {
    EXPECT_EQ(SlotsOf(problem, level), 0u);
  }
}

// The dynamic programme against brute force over all binary, quaternary and
// octonary tilings.
TEST(PlannerTest, FindsTheCheapestOfAllPlans) {
  Problem problem;
  problem.length = problem.taps = 3000;
  PlanOptions options;
  options.method = Method::kPlanned;
  const TileCosts costs;
  const double chosen = PlanNs(MakePlan(problem, options).value(), costs);
  double best = 1e300;
  std::vector<Level> levels = {{1, 2, Tau::kDirectBlocked},
                               {2, 2, Tau::kDirectBlocked}};
  size_t plans = 0;
  const std::function<void(size_t)> extend = [&](size_t block) {
    for (const Tau tau : {Tau::kDirectBlocked, Tau::kFftFused}) {
      if (tau == Tau::kFftFused && block < 8) continue;
      if (tau == Tau::kDirectBlocked && block > 64) continue;
      for (const size_t radix : {2, 4, 8, 16, 0}) {
        levels.push_back({block, radix, tau});
        if (radix == Level::kToTheEnd) {
          const auto plan = MakePlan(problem, levels, Schedule::kAcrossLayers);
          ASSERT_TRUE(plan.ok()) << plan.status().message();
          best = std::min(best, PlanNs(*plan, costs));
          ++plans;
        } else if (block * radix < problem.length) {
          extend(block * radix);
        }
        levels.pop_back();
      }
    }
  };
  extend(4);
  EXPECT_GT(plans, 300u);
  EXPECT_LE(chosen, best * (1 + 1e-9));
}

TEST(PlannerTest, KeepsTheMemoryLimitOrSaysWhyNot) {
  Problem problem;
  problem.mixers = 2;
  problem.channels = 64;
  problem.length = problem.taps = 65536;
  PlanOptions options;
  options.method = Method::kPlanned;
  const size_t free = MakePlan(problem, options)->Memory(1).AtMost();
  size_t last = free;
  for (double share : {0.95, 0.9, 0.85, 0.75}) {
    options.memory_limit =
        static_cast<size_t>(share * static_cast<double>(free));
    const auto plan = MakePlan(problem, options);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    EXPECT_LE(plan->Memory(1).AtMost(), options.memory_limit);
    EXPECT_LE(plan->Memory(1).AtMost(), last);
    last = plan->Memory(1).AtMost();
  }
  options.memory_limit = 1 << 20;
  const auto none = MakePlan(problem, options);
  ASSERT_FALSE(none.ok());
  EXPECT_NE(none.status().message().find("at least"), std::string::npos);
  options.method = Method::kPaper;
  EXPECT_FALSE(MakePlan(problem, options).ok());
}

double TimeOf(const Plan& plan) {
  const TileCosts costs;
  double ns = 0;
  for (const Level& level : plan.levels) {
    ns += LevelNs(plan.problem, level, costs);
  }
  return ns;
}

// Of all ways to keep or remake the spectra of a plan's binary levels, the
// shortest time within the limit.
double BestPacking(Plan plan, size_t limit) {
  std::vector<size_t> fused;
  for (size_t k = 0; k < plan.levels.size(); ++k) {
    const Level& level = plan.levels[k];
    if (level.tau == Tau::kFftFused && level.radix == 2) fused.push_back(k);
  }
  EXPECT_GE(fused.size(), 9u) << plan.Print();
  double best = TimeOf(plan);
  for (size_t mask = 0; mask < (size_t{1} << fused.size()); ++mask) {
    for (size_t i = 0; i < fused.size(); ++i) {
      plan.levels[fused[i]].spectra =
          (mask >> i & 1) != 0 ? Spectra::kKept : Spectra::kRemade;
    }
    const double ns = TimeOf(plan);
    if (ns < best && plan.Memory(1).AtMost() <= limit) best = ns;
  }
  return best;
}

// The smallest limit that some plan keeps to.
size_t LeastLimit(const Problem& problem) {
  PlanOptions options;
  options.method = Method::kPlanned;
  size_t refused = 1, enough = MakePlan(problem, options)->Memory(1).AtMost();
  while (enough - refused > 1) {
    options.memory_limit = refused + (enough - refused) / 2;
    (MakePlan(problem, options).ok() ? enough : refused) = options.memory_limit;
  }
  options.memory_limit = refused;
  const auto none = MakePlan(problem, options);
  EXPECT_FALSE(none.ok());
  EXPECT_NE(none.status().message().find("at least " + ByteText(enough)),
            std::string::npos)
      << none.status().message() << ", in truth " << enough;
  return enough;
}

// Among plans with the same blocks, which spectra to keep is a knapsack. All
// ways to pack it: for a million positions, and for a batch whose histories
// take nearly all of the limit, just above the least one as well, where little
// is left to choose.
TEST(PlannerTest, KeepsTheSpectraThatAreWorthTheirBytes) {
  Problem longest;
  longest.mixers = 8;
  longest.channels = 256;
  longest.length = longest.taps = 1000000;
  Problem batch;
  batch.mixers = 2;
  batch.channels = 64;
  batch.batch = 64;
  batch.length = batch.taps = 65536;
  for (const Problem& problem : {longest, batch}) {
    const double least = static_cast<double>(LeastLimit(problem));
    for (const double above :
         {0.0, 0.0005, 0.001, 0.002, 0.003, 0.006, 0.03, 0.16, 0.29, 0.42}) {
      PlanOptions options;
      options.method = Method::kPlanned;
      options.memory_limit = static_cast<size_t>(least * (1 + above));
      const auto plan = MakePlan(problem, options);
      ASSERT_TRUE(plan.ok()) << plan.status().message();
      const double best = BestPacking(*plan, options.memory_limit);
      EXPECT_LE(TimeOf(*plan), best * 1.01)
          << problem.batch << " rows, the least limit and " << above
          << " of it";
    }
  }
}

TEST(PlannerTest, FlatPlansHaveNoLargeTileThatIsDueAtOnce) {
  for (size_t length : {1u, 5u, 100u, 3000u, 131072u}) {
    Problem problem;
    problem.length = problem.taps = length;
    PlanOptions options;
    options.method = Method::kPlanned;
    options.latency = Latency::kFlat;
    const Plan plan = MakePlan(problem, options).value();
    for (const Level& level : plan.levels) {
      if (level.serves != Serves::kDistant) {
        EXPECT_LE(level.block, 64u) << plan.Print();
      }
    }
  }
}

TEST(MeasureTilesTest, GivesPositiveNumbers) {
  TileTiming timing;
  timing.groups = 2;
  timing.repeats = 1;
  for (const bool many : {false, true}) {
    const TileCost cost = MeasureTile(Tau::kFftFused, 16, many, timing).value();
    EXPECT_GT(cost.first_ns, 0);
    EXPECT_GE(cost.more_ns, 0);
  }
}

// The mean over all of a level's tiles, without going through them.
TEST(PlannerTest, ALevelCostsWhatItsTilesDo) {
  TileCosts costs;
  costs.Set(Tau::kDirectBlocked, 4, false, {70, 31});
  for (const Serves serves : {Serves::kSiblings, Serves::kDistant}) {
    for (const size_t radix : {Level::kToTheEnd, size_t{2}, size_t{5}}) {
      if (serves == Serves::kDistant && radix != Level::kToTheEnd) continue;
      for (const size_t taps : {1, 2, 9, 50, 400}) {
        const Level level = {4, radix, Tau::kDirectBlocked, serves};
        Problem problem;
        problem.length = 400;
        problem.taps = taps;
        double ns = 0;
        for (size_t known = 4; known <= 400; known += 4) {
          ns += costs.Of(Tau::kDirectBlocked, 4, false)
                    .Of(TileAt(problem, level, known).terms);
        }
        EXPECT_NEAR(LevelNs(problem, level, costs), ns / 400, 1e-9 * ns)
            << Name(level.tau) << " radix " << radix << " taps " << taps;
      }
    }
  }
  // Not by going through two thousand million blocks.
  Problem problem;
  problem.length = problem.taps = size_t{1} << 40;
  EXPECT_GT(LevelNs(problem, {4, Level::kToTheEnd, Tau::kDirectBlocked}, costs),
            1e9);
}

}  // namespace
}  // namespace lcsm::conv
