// That the search looks at valid plans, in order, and at enough of them.
#include "bench/plan_search.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "conv/planner.h"

namespace lcsm::bench {
namespace {

double Foretold(const conv::Problem& problem,
                const std::vector<conv::Level>& levels) {
  double ns = 0;
  for (const conv::Level& level : levels) {
    // Blocks of 1 and 2 ride with the red cells.
    const bool rides = level.radix == 2 && level.block < 4;
    if (!rides) ns += conv::LevelNs(problem, level, conv::TileCosts());
  }
  return ns;
}

TEST(PlanSearchTest, EnumeratesValidPlansOnceCheapestFirst) {
  for (const size_t length : {2u, 3u, 5u, 64u, 100u, 5000u, 65536u}) {
    conv::Problem problem;
    problem.channels = 16;
    problem.length = problem.taps = length;
    conv::PlanOptions options;
    options.method = conv::Method::kPlanned;
    const conv::Plan planner = conv::MakePlan(problem, options).value();
    const auto lists = EnumeratePlans(planner, conv::TileCosts(), 24);
    ASSERT_FALSE(lists.empty());
    double before = 0;
    for (const auto& levels : lists) {
      const auto plan =
          conv::MakePlan(problem, levels, conv::Schedule::kAcrossLayers);
      ASSERT_TRUE(plan.ok()) << plan.status().message();
      EXPECT_EQ(std::count(lists.begin(), lists.end(), levels), 1);
      const double ns = Foretold(problem, levels);
      if (length > 4) {
        EXPECT_GE(ns, before * (1 - 1e-9)) << plan->Levels();
      }
      before = ns;
    }
    if (length < 1000) continue;
    EXPECT_GE(lists.size(), 24u);
    // The planner is a search over fewer choices by the same costs.
    EXPECT_LE(Foretold(problem, lists[0]),
              Foretold(problem, planner.levels) * (1 + 1e-9));
    // Every radix of the planner's top block is tried.
    const conv::Level& top = planner.levels.back();
    for (const size_t radix : {size_t{2}, size_t{4}}) {
      if (top.block * radix >= length) continue;  // That is the end.
      EXPECT_TRUE(std::any_of(lists.begin(), lists.end(), [&](const auto& l) {
        return std::any_of(l.begin(), l.end(), [&](const conv::Level& one) {
          return one.block == top.block && one.radix == radix;
        });
      })) << radix;
    }
  }
}

TEST(PlanSearchTest, RunsThePlannerTheHybridAndWhatItFound) {
  PlanSearchCase wanted;
  wanted.problem.channels = 5;
  wanted.problem.length = wanted.problem.taps = 700;
  wanted.candidates = 3;
  wanted.finalists = 2;
  wanted.rounds = 3;
  double last = 0;
  const auto result = SearchPlans(wanted, [&last](double done) {
    EXPECT_GE(done, last);
    last = done;
    return true;
  });
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_LE(last, 1.0);
  ASSERT_EQ(result->rows.size(), 4u);
  EXPECT_GE(result->enumerated, 2u);
  EXPECT_EQ(result->rows[0].name, "planner");
  EXPECT_EQ(result->rows[0].to_planner.median, 1);
  EXPECT_EQ(result->rows[1].name, "hybrid");
  for (const PlanRow& row : result->rows) {
    EXPECT_GT(row.ns.median, 0);
    EXPECT_GT(row.max_relative_error, 0);
    EXPECT_GT(row.bytes, 0u);
    EXPECT_EQ(row.name == "found", row.screened_ns > 0);
  }
  EXPECT_FALSE(SearchPlans(wanted, [](double) { return false; }).ok());
}

}  // namespace
}  // namespace lcsm::bench
