// One row spread over many: each goes on in the bits of a session of its own.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "base/cpu_info.h"
#include "conv/online_convolution.h"
#include "conv/random_plan.h"

namespace lcsm::conv {
namespace {

class SpreadTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { ASSERT_TRUE(ForceSimdTarget(GetParam()).ok()); }
  void TearDown() override { ASSERT_TRUE(ForceSimdTarget("best").ok()); }
};

std::vector<float> Noise(size_t n, std::mt19937& rng) {
  std::normal_distribution<float> normal;
  std::vector<float> noise(n);
  for (float& v : noise) v = normal(rng);
  return noise;
}

// Takes positions up to `until` in: rows of x are those of position t,
// [mixers][until][D], of each of `rows` inputs. Appends the outputs to y.
void Run(OnlineConvolution& conv, size_t until,
         const std::vector<std::vector<float>>& rows,
         std::vector<std::vector<float>>& y) {
  const Problem& problem = conv.plan().problem;
  const size_t width = problem.channels;
  std::vector<float> line(rows.size() * width);
  while (conv.position() < until) {
    const size_t t = conv.position();
    for (size_t m = 0; m < problem.mixers; ++m) {
      const size_t at = (m * problem.length + t) * width;
      for (size_t r = 0; r < rows.size(); ++r) {
        std::copy_n(&rows[r][at], width, &line[r * width]);
      }
      conv.Step(m, line.data(), line.data());
      for (size_t r = 0; r < rows.size(); ++r) {
        std::copy_n(&line[r * width], width, &y[r][at]);
      }
    }
    conv.Advance();
  }
}

// The same of one row, all positions in one call.
void RunMany(OnlineConvolution& conv, size_t until, const std::vector<float>& x,
             std::vector<float>& y) {
  const Problem& problem = conv.plan().problem;
  const size_t first = conv.position(), count = until - first;
  std::vector<float> lines(count * problem.channels);
  for (size_t m = 0; m < problem.mixers; ++m) {
    const size_t at = (m * problem.length + first) * problem.channels;
    std::copy_n(&x[at], lines.size(), lines.data());
    conv.StepMany(m, count, lines.data(), lines.data());
    std::copy_n(lines.data(), lines.size(), &y[at]);
  }
  conv.AdvanceMany(count);
}

// The trunk comes to `position` by steps, or by known positions up to `known`
// and steps from there.
void ExpectRowsAreSessions(const Plan& plan, size_t position, size_t num_rows,
                           size_t threads, std::mt19937& rng,
                           size_t known = 0) {
  SCOPED_TRACE(plan.Print() + " at " + std::to_string(position) + " of " +
               std::to_string(plan.problem.length) + ", " +
               std::to_string(num_rows) + " rows, " + std::to_string(known) +
               " known");
  const Problem& problem = plan.problem;
  ThreadPool pool(threads);
  std::shared_ptr<FilterBank> bank = FilterBank::Create(problem).value();
  for (size_t m = 0; m < problem.mixers; ++m) {
    bank->SetTaps(m, 0, bank->taps(),
                  Noise(bank->taps() * problem.channels, rng).data());
  }
  const auto prepared = PreparedConvolution::Create(plan, bank, pool).value();
  const size_t floats = problem.mixers * problem.length * problem.channels;
  // The same up to `position`, then each its own.
  std::vector<std::vector<float>> x(num_rows, Noise(floats, rng));
  for (std::vector<float>& row : x) {
    for (size_t m = 0; m < problem.mixers; ++m) {
      const size_t first = (m * problem.length + position) * problem.channels;
      const size_t count = (problem.length - position) * problem.channels;
      const std::vector<float> own = Noise(count, rng);
      std::copy(own.begin(), own.end(), row.begin() + static_cast<long>(first));
    }
  }
  std::vector<std::vector<float>> want(num_rows, std::vector<float>(floats));
  for (size_t r = 0; r < num_rows; ++r) {
    const auto alone = OnlineConvolution::Create(prepared, pool).value();
    std::vector<std::vector<float>> one = {want[r]};
    Run(*alone, problem.length, {x[r]}, one);
    want[r] = one[0];
  }
  const auto trunk = OnlineConvolution::Create(prepared, pool).value();
  std::vector<std::vector<float>> got(num_rows, std::vector<float>(floats));
  std::vector<std::vector<float>> before = {got[0]};
  if (known != 0) RunMany(*trunk, known, x[0], before[0]);
  Run(*trunk, position, {x[0]}, before);
  const auto batch = trunk->Spread(num_rows);
  ASSERT_TRUE(batch.ok()) << batch.status().message();
  ASSERT_EQ((*batch)->position(), position);
  for (std::vector<float>& row : got) row = before[0];
  Run(**batch, problem.length, x, got);
  for (size_t r = 0; r < num_rows; ++r)
    ASSERT_EQ(got[r], want[r]) << "row " << r;
  // The one it came from goes on as if nothing had happened.
  Run(*trunk, problem.length, {x[0]}, before);
  EXPECT_EQ(before[0], want[0]);
}

TEST_P(SpreadTest, EveryMethodAnywhere) {
  std::mt19937 rng(1);
  for (Method method :
       {Method::kLazy, Method::kEager, Method::kPaper, Method::kPlanned,
        Method::kFutureFill, Method::kGardner}) {
    for (Schedule schedule : {Schedule::kAcrossLayers, Schedule::kPerLayer}) {
      Problem problem;
      problem.mixers = 1 + rng() % 2;
      problem.channels = std::vector<size_t>{1, 16, 17}[rng() % 3];
      problem.length = 131;
      problem.taps = rng() % 2 == 0 ? 131 : 50;
      PlanOptions options;
      options.method = method;
      options.schedule = schedule;
      const auto plan = MakePlan(problem, options);
      if (!plan.ok()) continue;
      for (size_t position : {0, 1, 31, 64, 65, 130, 131}) {
        ExpectRowsAreSessions(*plan, position, 1 + rng() % 4, 1 + rng() % 3,
                              rng);
      }
    }
  }
}

TEST_P(SpreadTest, RandomPlans) {
  std::mt19937 rng(2);
  size_t tried = 0;
  while (tried < 12) {
    Problem problem;
    problem.channels = 1 + rng() % 20;
    problem.length = 2 + rng() % 200;
    problem.taps = 1 + rng() % problem.length;
    const Plan plan = RandomPlan(problem, rng);
    if (plan.Deferred()) continue;
    ++tried;
    ExpectRowsAreSessions(plan, rng() % problem.length, 1 + rng() % 9, 2, rng);
  }
}

// Distant levels: where a tile has just begun, where it is half done, at its
// last step, and where none is open.
TEST_P(SpreadTest, InTheMiddleOfDistantTiles) {
  std::mt19937 rng(3);
  size_t tried = 0, rows = 0;
  while (tried < 6) {
    Problem problem;
    problem.mixers = 1 + rng() % 2;
    problem.channels = 1 + rng() % 20;
    problem.length = 100 + rng() % 300;
    problem.taps = rng() % 2 == 0 ? problem.length : 1 + rng() % problem.length;
    const Plan plan = RandomPlan(problem, rng);
    if (!plan.Deferred()) continue;
    ++tried;
    for (const Level& level : plan.levels) {
      if (level.serves != Serves::kDistant) continue;
      const size_t blocks = problem.length / level.block;
      if (blocks < 2) continue;
      const size_t begun = (1 + rng() % (blocks - 1)) * level.block;
      const size_t offsets[] = {0, 1, level.block / 2, level.block - 1};
      for (const size_t offset : offsets) {
        const size_t at = std::min(begun + offset, problem.length);
        rows = rows % 8 + 1;
        ExpectRowsAreSessions(plan, at, rows, 1 + rows % 2, rng,
                              rng() % 2 == 0 ? 0 : rng() % (at + 1));
      }
    }
  }
}

TEST_P(SpreadTest, FlatPlans) {
  std::mt19937 rng(4);
  Problem problem;
  problem.mixers = 2;
  problem.channels = 17;
  problem.length = problem.taps = 3000;
  PlanOptions options;
  options.method = Method::kPlanned;
  options.latency = Latency::kFlat;
  const Plan plan = MakePlan(problem, options).value();
  ASSERT_TRUE(plan.Deferred()) << plan.Print();
  for (size_t rows = 1; rows <= 8; ++rows) {
    ExpectRowsAreSessions(plan, rng() % 3000, rows, 1 + rows / 2 % 2, rng);
  }
  ExpectRowsAreSessions(plan, 1500, 3, 2, rng, 1500);  // A prompt, then steps.
}

TEST_P(SpreadTest, WhatCannotBeSpreadSaysSo) {
  Problem problem;
  problem.length = problem.taps = 300;
  ThreadPool pool(1);
  const auto make = [&](const Problem& p) {
    PlanOptions options;
    options.method = Method::kPlanned;
    std::shared_ptr<FilterBank> bank = FilterBank::Create(p).value();
    return OnlineConvolution::Create(
               PreparedConvolution::Create(MakePlan(p, options).value(), bank,
                                           pool)
                   .value(),
               pool)
        .value();
  };
  EXPECT_FALSE(make(problem)->Spread(0).ok());
  problem.batch = 2;
  EXPECT_FALSE(make(problem)->Spread(2).ok());
}

INSTANTIATE_TEST_SUITE_P(Targets, SpreadTest,
                         testing::ValuesIn(SupportedSimdTargets()),
                         [](const auto& target) { return target.param; });

}  // namespace
}  // namespace lcsm::conv
