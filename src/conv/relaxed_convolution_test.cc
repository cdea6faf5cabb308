// Relaxed convolution against float64 direct sums, with filters that depend on
// the outputs before; and its mathematics: causality, linearity in both
// operands, the known-filter executor.
#include "conv/relaxed_convolution.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "base/cpu_info.h"
#include "conv/online_convolution.h"
#include "conv/reference.h"

namespace lcsm::conv {
namespace {

using Signal = std::vector<float>;  // [m][t][B][D]

struct Case {
  Problem problem;
  PlanOptions options;
  Signal x, rho;
  // Taps whose signs the last output decides.
  bool dependent = false;

  size_t Width() const { return problem.batch * problem.channels; }
  size_t At(size_t m, size_t t) const {
    return (m * problem.length + t) * Width();
  }
};

Case RandomCase(Problem problem, PlanOptions options, uint32_t seed) {
  problem.taps = problem.length;
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  Case c{problem, std::move(options), {}, {}};
  c.x.resize(c.At(problem.mixers, 0));
  c.rho.resize(c.x.size());
  for (float& v : c.x) v = normal(rng);
  for (float& v : c.rho) v = normal(rng);
  return c;
}

// Outputs; with dependent filters c.rho becomes what they turned out to be.
Signal RunCase(Case& c, size_t threads, const std::vector<size_t>& many = {}) {
  ThreadPool pool(threads);
  const auto conv = RelaxedConvolution::Create(
                        MakeRelaxedPlan(c.problem, c.options).value(), pool)
                        .value();
  Signal y(c.x.size());
  for (const size_t count : many) {
    const size_t t = conv->position();
    for (size_t m = 0; m < c.problem.mixers; ++m) {
      const size_t at = c.At(m, t);
      conv->StepMany(m, count, &c.x[at], &c.rho[at], &y[at]);
    }
    conv->AdvanceMany(count);
  }
  while (conv->position() < c.problem.length) {
    const size_t t = conv->position();
    for (size_t m = 0; m < c.problem.mixers; ++m) {
      const size_t at = c.At(m, t);
      for (size_t i = 0; c.dependent && t > 0 && i < c.Width(); ++i) {
        if (y[at - c.Width() + i] < 0) c.rho[at + i] *= -1;
      }
      conv->Step(m, &c.x[at], &c.rho[at], &y[at]);
    }
    conv->Advance();
  }
  return y;
}

Signal Column(const Signal& signal, const Case& c, size_t m, size_t i) {
  Signal column(c.problem.length);
  for (size_t t = 0; t < column.size(); ++t) column[t] = signal[c.At(m, t) + i];
  return column;
}

void ExpectMatchesReference(const Case& c, const Signal& y) {
  const size_t length = c.problem.length;
  for (size_t m = 0; m < c.problem.mixers; ++m) {
    for (size_t i = 0; i < c.Width(); ++i) {
      const Signal x = Column(c.x, c, m, i), rho = Column(c.rho, c, m, i);
      const std::vector<double> want =
          ReferenceConvolution(x.data(), length, rho.data(), length);
      const double bound = ErrorBound(x.data(), length, rho.data(), length);
      for (size_t t = 0; t < length; ++t) {
        ASSERT_NEAR(y[c.At(m, t) + i], want[t], bound)
            << "mixer " << m << " channel " << i << " t " << t;
      }
    }
  }
}

std::vector<PlanOptions> AllOptions() {
  std::vector<PlanOptions> all;
  for (const Schedule schedule :
       {Schedule::kAcrossLayers, Schedule::kPerLayer}) {
    all.push_back({Method::kLazy, Tau::kHybrid, schedule});
    all.push_back({Method::kPlanned, Tau::kHybrid, schedule});
    for (const Tau tau :
         {Tau::kDirect, Tau::kDirectBlocked, Tau::kFftFused, Tau::kHybrid}) {
      all.push_back({Method::kPaper, tau, schedule});
    }
  }
  return all;
}

// Any levels that MakeRelaxedPlan takes.
std::vector<Level> RandomLevels(size_t length, std::mt19937& rng) {
  std::vector<Level> levels;
  const size_t until = 1 + rng() % length;
  size_t block = 1;
  const auto tau = [&]() {
    const Tau direct = rng() % 2 == 0 ? Tau::kDirect : Tau::kDirectBlocked;
    return block >= FftTables::kMinBlock && rng() % 4 != 0 ? Tau::kFftFused
                                                           : direct;
  };
  while (block < until) {
    const size_t radix = size_t{2} << (rng() % 4);
    levels.push_back({block, radix, tau()});
    block *= radix;
  }
  levels.push_back({block, Level::kToTheEnd, tau()});
  return levels;
}

class RelaxedConvolutionTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { ASSERT_TRUE(ForceSimdTarget(GetParam()).ok()); }
  void TearDown() override { ASSERT_TRUE(ForceSimdTarget("best").ok()); }
};

TEST_P(RelaxedConvolutionTest, AgreesWithDirectSumsAtAwkwardSizes) {
  std::mt19937 rng(42);
  uint32_t seed = 0;
  for (const PlanOptions& options : AllOptions()) {
    for (const size_t length :
         {1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 32, 33, 63, 64, 65, 100, 257}) {
      Problem problem;
      problem.length = length;
      problem.mixers = 1 + rng() % 3;
      problem.channels = std::vector<size_t>{1, 3, 15, 16, 17, 40}[rng() % 6];
      problem.batch = 1 + rng() % 3;
      Case c = RandomCase(problem, options, ++seed);
      c.dependent = true;
      SCOPED_TRACE(MakeRelaxedPlan(c.problem, options).value().Print() + " L " +
                   std::to_string(length));
      const Signal y = RunCase(c, 1 + rng() % 3);
      ExpectMatchesReference(c, y);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(RelaxedConvolutionTest, RandomPlans) {
  std::mt19937 rng(43);
#if defined(__SANITIZE_THREAD__)
  constexpr uint32_t kTrials = 12;  // Each takes seconds there.
#else
  constexpr uint32_t kTrials = 60;
#endif
  for (uint32_t trial = 0; trial < kTrials; ++trial) {
    Problem problem;
    problem.length = 1 + rng() % (trial % 4 == 0 ? 2500 : 300);
    problem.mixers = 1 + rng() % 2;
    problem.channels = std::vector<size_t>{1, 15, 17}[rng() % 3];
    problem.batch = 1 + rng() % 2;
    PlanOptions options;
    options.levels = RandomLevels(problem.length, rng);
    Case c = RandomCase(problem, options, 1000 + trial);
    SCOPED_TRACE(MakeRelaxedPlan(c.problem, options).value().Levels() + " L " +
                 std::to_string(problem.length));
    const Signal one = RunCase(c, 1 + rng() % 3);
    ExpectMatchesReference(c, one);
    if (HasFatalFailure()) return;
    const size_t first = rng() % (problem.length + 1);
    const size_t second = rng() % (problem.length - first + 1);
    EXPECT_EQ(one, RunCase(c, 2, {first, second}));
    if (HasFailure()) return;
  }
}

TEST_P(RelaxedConvolutionTest, BitsDoNotDependOnThreadsScheduleOrChunking) {
  uint32_t seed = 200;
  for (const PlanOptions& options : AllOptions()) {
    Problem problem;
    problem.length = 150;
    problem.mixers = 3;
    problem.channels = 33;
    problem.batch = 2;
    Case c = RandomCase(problem, options, ++seed);
    const Signal one = RunCase(c, 1);
    EXPECT_EQ(one, RunCase(c, 2));
    EXPECT_EQ(one, RunCase(c, 3));
    EXPECT_EQ(one, RunCase(c, 2, {150}));
    EXPECT_EQ(one, RunCase(c, 1, {1, 63, 0, 1, 30}));
    c.options.schedule = options.schedule == Schedule::kPerLayer
                             ? Schedule::kAcrossLayers
                             : Schedule::kPerLayer;
    EXPECT_EQ(one, RunCase(c, 2));
  }
}

TEST_P(RelaxedConvolutionTest, BitsDoNotDependOnBatchMates) {
  for (const PlanOptions& options : AllOptions()) {
    Problem problem;
    problem.length = 140;
    problem.channels = 18;
    problem.batch = 3;
    Case all = RandomCase(problem, options, 7);
    const Signal y = RunCase(all, 2);
    problem.batch = 1;
    Case alone = RandomCase(problem, options, 7);
    for (size_t row = 0; row < 3; ++row) {
      for (size_t t = 0; t < 140; ++t) {
        std::copy_n(&all.x[all.At(0, t) + row * 18], 18,
                    &alone.x[alone.At(0, t)]);
        std::copy_n(&all.rho[all.At(0, t) + row * 18], 18,
                    &alone.rho[alone.At(0, t)]);
      }
      const Signal z = RunCase(alone, 1);
      for (size_t t = 0; t < 140; ++t) {
        EXPECT_EQ(
            std::memcmp(&y[(t * 3 + row) * 18], &z[t * 18], 18 * sizeof(float)),
            0);
      }
    }
  }
}

// No output depends, in any bit, on a later input or tap.
TEST_P(RelaxedConvolutionTest, Causality) {
  for (const PlanOptions& options : AllOptions()) {
    Problem problem;
    problem.length = 200;
    problem.channels = 4;
    Case c = RandomCase(problem, options, 8);
    const Signal y = RunCase(c, 1);
    for (const size_t cut : {1u, 2u, 31u, 64u, 65u, 127u, 128u, 190u}) {
      for (const bool taps : {false, true}) {
        Case changed = c;
        Signal& signal = taps ? changed.rho : changed.x;
        for (size_t t = cut; t < 200; ++t) signal[t * 4 + 1] = 1e6f;
        const Signal z = RunCase(changed, 1);
        EXPECT_EQ(std::memcmp(y.data(), z.data(), cut * 4 * sizeof(float)), 0);
        EXPECT_NE(y[cut * 4 + 1], z[cut * 4 + 1]);
      }
    }
  }
}

// Scaling by powers of two is exact, so this holds in every bit; sums of
// operands up to rounding.
TEST_P(RelaxedConvolutionTest, LinearInBothOperands) {
  for (const PlanOptions& options : AllOptions()) {
    Problem problem;
    problem.length = 130;
    problem.channels = 3;
    Case c = RandomCase(problem, options, 10);
    const Case more = RandomCase(problem, options, 11);
    const Signal y = RunCase(c, 1);
    for (const bool taps : {false, true}) {
      Case scaled = c, other = c, both = c;
      for (size_t i = 0; i < c.x.size(); ++i) {
        (taps ? scaled.rho : scaled.x)[i] *= -8.0f;
        (taps ? other.rho : other.x)[i] = more.x[i];
        (taps ? both.rho : both.x)[i] += more.x[i];
      }
      const Signal z = RunCase(scaled, 1);
      for (size_t i = 0; i < y.size(); ++i) ASSERT_EQ(z[i], -8.0f * y[i]);
      const Signal part = RunCase(other, 1), sum = RunCase(both, 1);
      for (size_t i = 0; i < 3; ++i) {
        double bound = 0;
        for (const Case* one : {&c, &other, &both}) {
          bound += ErrorBound(Column(one->x, c, 0, i).data(), 130,
                              Column(one->rho, c, 0, i).data(), 130);
        }
        for (size_t t = 0; t < 130; ++t) {
          ASSERT_NEAR(sum[t * 3 + i], y[t * 3 + i] + part[t * 3 + i], bound);
        }
      }
    }
  }
}

// A filter that depends on nothing may as well be known.
TEST_P(RelaxedConvolutionTest, AgreesWithTheKnownFilterExecutor) {
  for (const PlanOptions& options : AllOptions()) {
    Problem problem;
    problem.length = 700;
    problem.channels = 17;
    Case c = RandomCase(problem, options, 14);
    const Signal y = RunCase(c, 2);
    ThreadPool pool(1);
    std::shared_ptr<FilterBank> bank = FilterBank::Create(c.problem).value();
    bank->SetTaps(0, 0, 700, c.rho.data());
    const auto known = OnlineConvolution::Create(
                           PreparedConvolution::Create(
                               MakePlan(c.problem, options).value(), bank, pool)
                               .value(),
                           pool)
                           .value();
    Signal z(y.size());
    for (size_t t = 0; t < 700; ++t) {
      known->Step(0, &c.x[t * 17], &z[t * 17]);
      known->Advance();
    }
    for (size_t i = 0; i < 17; ++i) {
      const double bound = 2 * ErrorBound(Column(c.x, c, 0, i).data(), 700,
                                          Column(c.rho, c, 0, i).data(), 700);
      for (size_t t = 0; t < 700; ++t) {
        ASSERT_NEAR(y[t * 17 + i], z[t * 17 + i], bound);
      }
    }
  }
}

// Design 6: at most 2e-6 of max |y| on Gaussian data.
TEST_P(RelaxedConvolutionTest, GaussianErrorIsFarBelowTheBound) {
  for (const PlanOptions& options : AllOptions()) {
    if (options.schedule == Schedule::kPerLayer) continue;
    Problem problem;
    problem.length = 4096;
    Case c = RandomCase(problem, options, 12);
    c.dependent = true;
    const Signal y = RunCase(c, 1);
    const std::vector<double> want =
        ReferenceConvolution(c.x.data(), 4096, c.rho.data(), 4096);
    double largest = 0, error = 0;
    for (size_t t = 0; t < 4096; ++t) {
      largest = std::max(largest, std::abs(want[t]));
      error = std::max(error, std::abs(y[t] - want[t]));
    }
    EXPECT_LT(error, 2e-6 * largest)
        << MakeRelaxedPlan(c.problem, options).value().Print();
  }
}

TEST_P(RelaxedConvolutionTest, ResetForgetsAndForksGoTheirOwnWay) {
  for (const PlanOptions& options : AllOptions()) {
    Problem problem;
    problem.length = 90;
    problem.mixers = 2;
    problem.channels = 20;
    Case c = RandomCase(problem, options, 11);
    const Signal want = RunCase(c, 1);
    Case changed = c;
    for (size_t t = 50; t < 90; ++t) changed.rho[c.At(1, t) + 3] = 5;
    const Signal wanted_of_fork = RunCase(changed, 1);
    ThreadPool pool(2);
    auto conv = RelaxedConvolution::Create(
                    MakeRelaxedPlan(c.problem, options).value(), pool)
                    .value();
    std::unique_ptr<RelaxedConvolution> fork;
    const auto run = [&](RelaxedConvolution& session, Case& inputs,
                         size_t until, Signal& y) {
      while (session.position() < until) {
        for (size_t m = 0; m < 2; ++m) {
          const size_t at = c.At(m, session.position());
          // Outputs may take the place of either operand.
          Signal row(inputs.rho.begin() + static_cast<ptrdiff_t>(at),
                     inputs.rho.begin() + static_cast<ptrdiff_t>(at + 20));
          session.Step(m, &inputs.x[at], row.data(), row.data());
          std::copy(row.begin(), row.end(),
                    y.begin() + static_cast<ptrdiff_t>(at));
        }
        session.Advance();
      }
    };
    Signal y(want.size()), z(want.size());
    run(*conv, c, 71, y);
    conv->Reset();
    EXPECT_EQ(conv->position(), 0u);
    run(*conv, c, 50, y);
    z = y;
    fork = conv->Fork().value();
    run(*conv, c, 90, y);
    run(*fork, changed, 90, z);
    EXPECT_EQ(y, want);
    EXPECT_EQ(z, wanted_of_fork);
  }
}

TEST_P(RelaxedConvolutionTest, GrownIsMadeLong) {
  for (const PlanOptions& options : AllOptions()) {
    Problem problem;
    problem.mixers = 2;
    problem.channels = 19;
    problem.batch = 2;
    problem.length = 301;
    Case c = RandomCase(problem, options, 21);
    ThreadPool pool(3);
    const auto plan = [&](size_t length) {
      Problem shorter = c.problem;
      shorter.length = shorter.taps = length;
      return MakeRelaxedPlan(shorter, options).value();
    };
    const auto take = [&](RelaxedConvolution& conv, size_t until, Signal& y) {
      while (conv.position() < until) {
        for (size_t m = 0; m < 2; ++m) {
          const size_t at = c.At(m, conv.position());
          conv.Step(m, &c.x[at], &c.rho[at], &y[at]);
        }
        conv.Advance();
      }
    };
    const Signal want = RunCase(c, 1);
    for (const auto& [length, position] : {std::pair<size_t, size_t>{1, 0},
                                           {1, 1},
                                           {17, 16},
                                           {64, 64},
                                           {100, 31},
                                           {261, 261},
                                           {301, 300}}) {
      SCOPED_TRACE(plan(length).Print() + " at " + std::to_string(position));
      auto conv = RelaxedConvolution::Create(plan(length), pool).value();
      Signal y(want.size()), rest(want.size());
      take(*conv, position, y);
      const auto grown = conv->Grown(plan(301)).value();
      EXPECT_EQ(grown->position(), position);
      rest = y;
      take(*grown, 301, rest);
      for (size_t m = 0; m < 2; ++m) {
        for (size_t i = c.At(m, position); i < c.At(m + 1, 0); ++i) {
          ASSERT_EQ(rest[i], want[i]) << i;
        }
      }
      // The one that stays takes no notice.
      EXPECT_EQ(conv->position(), position);
      take(*conv, length, y);
      auto twin = RelaxedConvolution::Create(plan(length), pool).value();
      Signal same(want.size());
      take(*twin, length, same);
      EXPECT_EQ(y, same);
    }
    const auto full = RelaxedConvolution::Create(plan(300), pool).value();
    EXPECT_NE(full->Grown(plan(299)).status().message().find("for 300"),
              std::string::npos);
    Problem other = c.problem;
    other.channels = 20;
    other.taps = other.length;
    EXPECT_FALSE(full->Grown(MakeRelaxedPlan(other, options).value()).ok());
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, RelaxedConvolutionTest,
                         testing::ValuesIn(SupportedSimdTargets()),
                         [](const auto& target) { return target.param; });

// Every pair (i, j) with i + j < L is in exactly one red cell, tile or corner,
// and at that time both sides are known.
TEST(RelaxedPlanTest, TilesCoverEveryProductOnce) {
  std::mt19937 rng(9);
  for (int trial = 0; trial < 40; ++trial) {
    Problem problem;
    problem.length = problem.taps = 1 + rng() % 150;
    const size_t length = problem.length;
    PlanOptions options;
    options.levels = RandomLevels(length, rng);
    const Plan plan = MakeRelaxedPlan(problem, options).value();
    SCOPED_TRACE(plan.Levels() + " L " + std::to_string(length));
    std::vector<std::vector<int>> count(length, std::vector<int>(length));
    for (size_t t = 0; t < length; ++t) {
      ++count[t][0];
      if (t > 0) ++count[0][t];
    }
    for (size_t r = 1; r < length; ++r) {
      if (std::has_single_bit(r)) {
        for (size_t i = 1; i < r; ++i) {
          for (size_t j = r - i; j < r && i + j < length; ++j) ++count[i][j];
        }
        continue;
      }
      const Level& level = plan.levels[DueLevel(plan.levels, r)];
      const size_t target = r / level.block;
      const size_t first = FirstBlock(level, target);
      ASSERT_LT(first, target);
      EXPECT_LE(target - first, RelaxedTerms(problem, level));
      for (size_t t = r; t < std::min(length, r + level.block); ++t) {
        for (size_t i = first * level.block; i < r; ++i) {
          ASSERT_LT(t - i, r) << "a tap that is not known";
          ++count[i][t - i];
          ++count[t - i][i];
        }
      }
    }
    for (size_t i = 0; i < length; ++i) {
      for (size_t j = 0; i + j < length; ++j) {
        ASSERT_EQ(count[i][j], 1) << i << " " << j;
      }
    }
  }
}

TEST(RelaxedPlanTest, RefusesWhatItCannotRun) {
  Problem problem;
  problem.length = problem.taps = 300;
  const auto message = [](const Problem& asked, const PlanOptions& options) {
    const auto plan = MakeRelaxedPlan(asked, options);
    return plan.ok() ? std::string() : plan.status().message();
  };
  PlanOptions options;
  EXPECT_EQ(message(problem, options), "");
  for (const Method method :
       {Method::kEager, Method::kFutureFill, Method::kGardner}) {
    options.method = method;
    EXPECT_NE(message(problem, options).find(Name(method)), std::string::npos);
  }
  options.method = Method::kPaper;
  options.tau = Tau::kFftLibrary;
  EXPECT_NE(message(problem, options).find("powers of two"), std::string::npos);
  options.tau = Tau::kHybrid;
  options.levels = {{1, 3, Tau::kDirect}, {3, 0, Tau::kDirect}};
  EXPECT_NE(message(problem, options).find("powers of two"), std::string::npos);
  options.levels = {};
  options.method = Method::kPlanned;
  options.latency = Latency::kFlat;
  problem.length = problem.taps = 1 << 14;
  EXPECT_NE(message(problem, options).find("deferred"), std::string::npos);
  problem.length = problem.taps = 300;
  options.latency = Latency::kBest;
  options.memory_limit = 1000;
  EXPECT_NE(message(problem, options).find("memory limit"), std::string::npos);
  options.memory_limit = RelaxedBytes(
      MakeRelaxedPlan(problem, {.method = Method::kPlanned}).value(), 1);
  EXPECT_EQ(message(problem, options), "");
  problem.taps = 299;
  EXPECT_NE(message(problem, options).find("a tap for every position"),
            std::string::npos);
  problem.length = problem.taps = kLongestRelaxed + 1;
  options.memory_limit = 0;
  EXPECT_NE(message(problem, options).find("end at"), std::string::npos);
  problem.length = problem.taps = 0;
  EXPECT_FALSE(MakeRelaxedPlan(problem, {}).ok());
}

}  // namespace
}  // namespace lcsm::conv
