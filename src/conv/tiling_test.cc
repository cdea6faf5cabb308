// Every contribution exactly once, whatever the levels; and plans as text.
#include <gtest/gtest.h>

#include <random>

#include "conv/plan.h"
#include "conv/random_plan.h"

namespace lcsm::conv {
namespace {

// How often each pair (input i, output t), i < t, is served, walking through
// the sequence as the executor does.
std::vector<std::vector<int>> Coverage(const Plan& plan) {
  const size_t length = plan.problem.length;
  std::vector<std::vector<int>> times(length, std::vector<int>(length, 0));
  const auto add = [&](const Level& level, const Tile& tile, size_t known) {
    for (size_t k = 0; k < tile.terms; ++k) {
      const size_t block = tile.newest - k;
      for (size_t i = block * level.block; i < (block + 1) * level.block; ++i) {
        EXPECT_LT(i, known) << "an input that is not there yet";
        for (size_t j = 0; j < tile.outputs; ++j) {
          const size_t t = tile.target * level.block + j;
          EXPECT_GE(t, known) << "an output that is over";
          ++times[i][t];
        }
      }
    }
  };
  for (size_t known = 1; known < length && !plan.levels.empty(); ++known) {
    const Level& due = plan.levels[DueLevel(plan.levels, known)];
    add(due, TileAt(plan.problem, due, known), known);
    for (const Level& level : plan.levels) {
      if (level.serves == Serves::kDistant && known % level.block == 0) {
        add(level, TileAt(plan.problem, level, known), known);
      }
    }
  }
  return times;
}

void ExpectEachPairOnce(const Plan& plan) {
  const std::vector<std::vector<int>> times = Coverage(plan);
  const size_t taps = std::min(plan.problem.taps, plan.problem.length);
  for (size_t t = 0; t < plan.problem.length; ++t) {
    for (size_t i = 0; i < t; ++i) {
      // Pairs that no tap bridges may be served, and add zero.
      if (t - i < taps) {
        ASSERT_EQ(times[i][t], 1) << "input " << i << " output " << t;
      } else {
        ASSERT_LE(times[i][t], 1) << "input " << i << " output " << t;
      }
    }
  }
}

TEST(TilingTest, RandomPlansServeEveryPairOnce) {
  std::mt19937 rng(1);
  for (int trial = 0; trial < 300; ++trial) {
    Problem problem;
    problem.length = 1 + rng() % 300;
    problem.taps = rng() % 3 == 0 ? 1 + rng() % problem.length : 400;
    const Plan plan = RandomPlan(problem, rng);
    SCOPED_TRACE(plan.Levels() + " L " + std::to_string(problem.length) +
                 " H " + std::to_string(problem.taps));
    ExpectEachPairOnce(plan);
    if (HasFatalFailure()) return;
  }
}

TEST(TilingTest, EveryMethodServesEveryPairOnce) {
  for (Method method : {Method::kPaper, Method::kPlanned, Method::kFutureFill,
                        Method::kGardner}) {
    for (Latency latency : {Latency::kBest, Latency::kFlat}) {
      for (size_t length : {1, 2, 3, 4, 5, 31, 32, 33, 64, 65, 100, 400}) {
        for (size_t taps : {size_t{1}, size_t{2}, size_t{7}, length}) {
          Problem problem;
          problem.length = length;
          problem.taps = taps;
          PlanOptions options;
          options.method = method;
          options.latency = latency;
          const Plan plan = MakePlan(problem, options).value();
          SCOPED_TRACE(plan.Print() + " L " + std::to_string(length) + " H " +
                       std::to_string(taps));
          ExpectEachPairOnce(plan);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST(TilingTest, PlansSurviveBeingWrittenAndRead) {
  std::mt19937 rng(2);
  for (int trial = 0; trial < 100; ++trial) {
    Problem problem;
    problem.length = problem.taps = 1 + rng() % 5000;
    const Plan plan = RandomPlan(problem, rng);
    const auto read = ParseLevels(plan.Levels(), "a plan");
    ASSERT_TRUE(read.ok()) << plan.Levels();
    EXPECT_EQ(*read, plan.levels);
  }
  const auto commented = ParseLevels(
      "# ours\n1x2 direct-blocked\n\n2 direct-blocked # to the end\n", "f");
  ASSERT_TRUE(commented.ok());
  EXPECT_EQ(commented->size(), 2u);
}

TEST(TilingTest, ImpossiblePlansAreRefusedWithASentence) {
  Problem problem;
  problem.length = problem.taps = 1000;
  for (const auto& [text, complaint] :
       std::vector<std::pair<std::string, std::string>>{
           {"", "red cells only"},
           {"1x2 direct", "the last level has a radix"},
           {"1x2 direct, 4 direct", "make up blocks of 2"},
           {"1x1 direct, 1 direct", "radix is 1"},
           {"1x12 direct, 12 fft-fused", "powers of two"},
           {"1x4 direct, 4 fft-fused", "powers of two"},
           {"1x8 direct, 8x4 fft-library, 32 fft-fused", "radix is 2"},
           {"1x8 direct, 8 fft-fused remade", "one block of inputs"},
           {"1 direct, 2 direct", "expected that to be the last"},
           {"1x8 direct, 8 distant fft-fused", "expected siblings first"},
           {"1x8 direct, 8 neighbours direct, 8 distant direct",
            "only fft-fused can"},
           {"1x8 direct, 8 neighbours direct", "nobody serves"},
           {"1x512 direct, 512 neighbours direct, 512 distant fft-fused remade",
            "for no others"},
           {"1x2 direct remade, 2 direct", "for no others"},
           {"1x99999999999999999 direct, 99999999999999999 direct",
            "out of range"}}) {
    const auto levels = ParseLevels(text, "plan.txt");
    ASSERT_TRUE(levels.ok()) << text << levels.status().message();
    const auto plan = MakePlan(problem, *levels, Schedule::kAcrossLayers);
    ASSERT_FALSE(plan.ok()) << text;
    EXPECT_NE(plan.status().message().find(complaint), std::string::npos)
        << text << ": " << plan.status().message();
  }
  for (const char* text :
       {"x", "1x2", "0 direct", "1x0 direct", "1 hybrid", "1 direct again",
        "-1 direct", "1x2x3 direct", "18446744073709551616 direct"}) {
    const auto levels = ParseLevels(text, "plan.txt");
    ASSERT_FALSE(levels.ok()) << text;
    EXPECT_NE(levels.status().message().find("plan.txt, line 1"),
              std::string::npos);
  }
}

// 64-bit throughout: nothing here allocates.
TEST(TilingTest, HorizonsBeyond31Bits) {
  for (Method method : {Method::kPlanned, Method::kPaper}) {
    Problem problem;
    problem.mixers = 4;
    problem.channels = 64;
    problem.length = size_t{1} << 33;
    problem.taps = size_t{1} << 22;
    PlanOptions options;
    options.method = method;
    const Plan plan = MakePlan(problem, options).value();
    EXPECT_GT(plan.Memory(1).Total(), size_t{1} << 32);
    const Level& top = plan.levels.back();
    const size_t known = (problem.length - 1) / top.block * top.block;
    const Tile tile = TileAt(problem, top, known);
    EXPECT_EQ(tile.target * top.block, known);
    EXPECT_GT(tile.terms, 0u);
    EXPECT_EQ(tile.outputs, problem.length - known);
  }
}

}  // namespace
}  // namespace lcsm::conv
