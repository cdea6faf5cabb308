#include <gtest/gtest.h>

#include "base/cpu_info.h"
#include "conv/plan.h"

namespace lcsm::conv {
namespace {

Plan PlanFor(size_t length, size_t taps, Tau tau = Tau::kHybrid) {
  Problem problem;
  problem.channels = 5;
  problem.length = length;
  problem.taps = taps;
  PlanOptions options;
  options.tau = tau;
  return MakePlan(problem, options).value();
}

TEST(PlanTest, LevelsEndWhereTilesOrTapsEnd) {
  EXPECT_TRUE(PlanFor(1, 1).levels.empty());
  EXPECT_TRUE(PlanFor(100, 1).levels.empty());
  EXPECT_EQ(PlanFor(2, 2).levels.back().block, 1u);
  EXPECT_EQ(PlanFor(64, 64).levels.back().block, 32u);
  EXPECT_EQ(PlanFor(65, 65).levels.back().block, 64u);
  EXPECT_EQ(PlanFor(1000, 3).levels.back().block, 2u);
  EXPECT_EQ(PlanFor(1000, 6).levels.back().block, 8u);
}

TEST(PlanTest, ForcedTauRulesEveryBlockItCan) {
  for (const Level& level : PlanFor(5000, 5000, Tau::kFftFused).levels) {
    EXPECT_EQ(level.tau,
              level.block < 8 ? Tau::kDirectBlocked : Tau::kFftFused);
  }
  for (const Level& level : PlanFor(5000, 5000, Tau::kDirect).levels) {
    EXPECT_EQ(level.tau, Tau::kDirect);
  }
}

TEST(PlanTest, UntunedPlansAreAFunctionOfTheProblem) {
  // Changing this line changes everybody's bits: say so in the changelog.
  EXPECT_EQ(PlanFor(5000, 5000).Print(),
            "paper: direct-blocked U=1..16, fft-fused U=32..4096; "
            "across-layers");
}

TEST(PlanTest, EmptyAndOversizedProblemsAreErrors) {
  for (int field = 0; field < 5; ++field) {
    Problem problem;
    size_t* const fields[] = {&problem.mixers, &problem.channels,
                              &problem.batch, &problem.length, &problem.taps};
    *fields[field] = 0;
    const StatusOr<Plan> none = MakePlan(problem, {});
    ASSERT_FALSE(none.ok());
    EXPECT_NE(none.status().message().find("at least one"), std::string::npos);
    *fields[field] = size_t{1} << 62;
    EXPECT_FALSE(MakePlan(problem, {}).ok()) << field;
  }
}

TEST(PlanTest, NamesGoBothWays) {
  for (Tau tau : {Tau::kDirect, Tau::kDirectBlocked, Tau::kFftLibrary,
                  Tau::kFftFused, Tau::kFftPast, Tau::kHybrid}) {
    EXPECT_EQ(TauFromName(Name(tau)), tau);
  }
  for (Latency latency : {Latency::kBest, Latency::kFlat}) {
    EXPECT_EQ(LatencyFromName(Name(latency)), latency);
  }
  for (Method method :
       {Method::kLazy, Method::kEager, Method::kPaper, Method::kPlanned,
        Method::kFutureFill, Method::kGardner}) {
    EXPECT_EQ(MethodFromName(Name(method)), method);
  }
  for (Schedule schedule : {Schedule::kPerLayer, Schedule::kAcrossLayers}) {
    EXPECT_EQ(ScheduleFromName(Name(schedule)), schedule);
  }
  EXPECT_FALSE(TauFromName("fft").has_value());
}

}  // namespace
}  // namespace lcsm::conv
