// Every method, tau, schedule, thread count and SIMD target against float64
// direct sums, and the mathematics of convolution as a second oracle.
#include "conv/online_convolution.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "base/cpu_info.h"
#include "conv/random_plan.h"
#include "conv/reference.h"

namespace lcsm::conv {
namespace {

using Signal = std::vector<float>;  // [t][B][D] or [m][n][D]

struct Case {
  Problem problem;
  PlanOptions options;
  std::vector<Level> levels = {};  // Instead of what the options would give.
  Signal taps;                     // [M][H][D]
  Signal inputs;                   // [M][L][B][D]

  size_t Width() const { return problem.batch * problem.channels; }
  float* Input(size_t m, size_t t) {
    return inputs.data() + (m * problem.length + t) * Width();
  }
  const float* Input(size_t m, size_t t) const {
    return inputs.data() + (m * problem.length + t) * Width();
  }
};

Case RandomCase(Problem problem, PlanOptions options, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  Case c{problem, options, {}, {}, {}};
  c.taps.resize(problem.mixers * problem.taps * problem.channels);
  c.inputs.resize(problem.mixers * problem.length * c.Width());
  for (float& v : c.taps) v = normal(rng);
  for (float& v : c.inputs) v = normal(rng);
  return c;
}

std::shared_ptr<const PreparedConvolution> Prepare(const Case& c,
                                                   ThreadPool& pool) {
  const Plan plan =
      c.levels.empty()
          ? MakePlan(c.problem, c.options).value()
          : MakePlan(c.problem, c.levels, c.options.schedule).value();
  std::shared_ptr<FilterBank> bank = FilterBank::Create(c.problem).value();
  for (size_t m = 0; m < c.problem.mixers; ++m) {
    bank->SetTaps(m, 0, bank->taps(),
                  c.taps.data() + m * c.problem.taps * c.problem.channels);
  }
  return PreparedConvolution::Create(plan, bank, pool).value();
}

std::string RandomPlanText(const Case& c) {
  return MakePlan(c.problem, c.levels, c.options.schedule)->Levels() + " L " +
         std::to_string(c.problem.length) + " H " +
         std::to_string(c.problem.taps) + " M " +
         std::to_string(c.problem.mixers) + " B " +
         std::to_string(c.problem.batch) + " D " +
         std::to_string(c.problem.channels);
}

// Outputs in the layout of the inputs; positions in `many` pieces go through
// StepMany.
Signal RunCase(const Case& c, size_t threads,
               const std::vector<size_t>& many = {}) {
  ThreadPool pool(threads);
  std::unique_ptr<OnlineConvolution> conv =
      OnlineConvolution::Create(Prepare(c, pool), pool).value();
  Signal y(c.inputs.size());
  const auto out = [&](size_t m, size_t t) {
    return y.data() + (m * c.problem.length + t) * c.Width();
  };
  for (size_t count : many) {
    const size_t t = conv->position();
    for (size_t m = 0; m < c.problem.mixers; ++m) {
      conv->StepMany(m, count, c.Input(m, t), out(m, t));
    }
    conv->AdvanceMany(count);
  }
  while (conv->position() < c.problem.length) {
    const size_t t = conv->position();
    for (size_t m = 0; m < c.problem.mixers; ++m)
      conv->Step(m, c.Input(m, t), out(m, t));
    conv->Advance();
  }
  return y;
}

// One channel's values out of a strided signal.
Signal Column(const float* base, size_t stride, size_t count) {
  Signal column(count);
  for (size_t i = 0; i < count; ++i) column[i] = base[i * stride];
  return column;
}

void ExpectMatchesReference(const Case& c, const Signal& y) {
  const Problem& p = c.problem;
  for (size_t m = 0; m < p.mixers; ++m) {
    for (size_t row = 0; row < p.batch; ++row) {
      for (size_t ch = 0; ch < p.channels; ++ch) {
        const size_t offset = row * p.channels + ch;
        const Signal x = Column(c.Input(m, 0) + offset, c.Width(), p.length);
        const Signal rho = Column(c.taps.data() + m * p.taps * p.channels + ch,
                                  p.channels, p.taps);
        const std::vector<double> want =
            ReferenceConvolution(x.data(), p.length, rho.data(), p.taps);
        const double bound = ErrorBound(x.data(), p.length, rho.data(), p.taps);
        for (size_t t = 0; t < p.length; ++t) {
          ASSERT_NEAR(y[(m * p.length + t) * c.Width() + offset], want[t],
                      bound)
              << "mixer " << m << " row " << row << " channel " << ch << " t "
              << t;
        }
      }
    }
  }
}

std::vector<PlanOptions> AllOptions() {
  std::vector<PlanOptions> all;
  for (Schedule schedule : {Schedule::kPerLayer, Schedule::kAcrossLayers}) {
    all.push_back({Method::kLazy, Tau::kHybrid, schedule});
    all.push_back({Method::kEager, Tau::kHybrid, schedule});
    for (Tau tau : {Tau::kDirect, Tau::kDirectBlocked, Tau::kFftLibrary,
                    Tau::kFftFused, Tau::kHybrid}) {
      all.push_back({Method::kPaper, tau, schedule});
    }
    all.push_back({Method::kPlanned, Tau::kHybrid, schedule});
    all.push_back({Method::kFutureFill, Tau::kHybrid, schedule});
  }
  // Deferred levels have one schedule.
  all.push_back({Method::kGardner, Tau::kHybrid, Schedule::kAcrossLayers});
  PlanOptions flat;
  flat.method = Method::kPlanned;
  flat.latency = Latency::kFlat;
  all.push_back(flat);
  return all;
}

class OnlineConvolutionTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { ASSERT_TRUE(ForceSimdTarget(GetParam()).ok()); }
  void TearDown() override { ASSERT_TRUE(ForceSimdTarget("best").ok()); }
};

TEST_P(OnlineConvolutionTest, EveryMethodAgreesWithDirectSumsAtAwkwardSizes) {
  std::mt19937 rng(42);
  uint32_t seed = 0;
  for (const PlanOptions& options : AllOptions()) {
    for (size_t length : {1, 2, 3, 5, 16, 31, 32, 33, 63, 64, 65, 100, 257}) {
      Problem problem;
      problem.length = length;
      problem.mixers = 1 + rng() % 3;
      problem.channels = std::vector<size_t>{1, 3, 15, 16, 17, 40}[rng() % 6];
      problem.batch = 1 + rng() % 3;
      const size_t lengths[] = {1, 2, length, length + 5, 1 + rng() % length};
      problem.taps = lengths[rng() % 5];
      const Case c = RandomCase(problem, options, ++seed);
      SCOPED_TRACE(MakePlan(problem, options).value().Print() + " L " +
                   std::to_string(length) + " D " +
                   std::to_string(problem.channels) + " H " +
                   std::to_string(problem.taps));
      ExpectMatchesReference(c, RunCase(c, 1 + rng() % 3));
      if (HasFatalFailure()) return;
    }
  }
}

// Any valid list of levels gives the right answer, and the same bits however
// threads and calls cut the work.
TEST_P(OnlineConvolutionTest, RandomPlans) {
  std::mt19937 rng(43);
#if defined(__SANITIZE_THREAD__)
  constexpr uint32_t kTrials = 12;  // Each takes seconds there.
#else
  constexpr uint32_t kTrials = 60;
#endif
  for (uint32_t trial = 0; trial < kTrials; ++trial) {
    Problem problem;
    problem.length = 1 + rng() % (trial % 4 == 0 ? 2000 : 300);
    problem.taps = rng() % 3 == 0 ? 1 + rng() % problem.length : problem.length;
    problem.mixers = 1 + rng() % 3;
    problem.channels = std::vector<size_t>{1, 15, 16, 17}[rng() % 4];
    problem.batch = 1 + rng() % 3;
    Case c = RandomCase(problem, {}, 1000 + trial);
    c.levels = RandomPlan(problem, rng).levels;
    SCOPED_TRACE(RandomPlanText(c));
    const Signal one = RunCase(c, 1 + rng() % 3);
    ExpectMatchesReference(c, one);
    EXPECT_EQ(one, RunCase(c, 1 + rng() % 3));
    const size_t first = rng() % (problem.length + 1);
    const size_t second = rng() % (problem.length - first + 1);
    EXPECT_EQ(one, RunCase(c, 2, {first, second}));
    if (HasFailure()) return;
  }
}

TEST_P(OnlineConvolutionTest, LongerSequences) {
  uint32_t seed = 100;
  for (const PlanOptions& options : AllOptions()) {
    if (options.schedule == Schedule::kPerLayer) continue;
    Problem problem;
    problem.length = 2500;
    problem.taps = 2500;
    problem.channels = 17;
    const Case c = RandomCase(problem, options, ++seed);
    SCOPED_TRACE(MakePlan(problem, options).value().Print());
    ExpectMatchesReference(c, RunCase(c, 2));
    if (HasFatalFailure()) return;
  }
}

TEST_P(OnlineConvolutionTest, BitsDoNotDependOnThreadsScheduleOrChunking) {
  uint32_t seed = 200;
  for (const PlanOptions& options : AllOptions()) {
    Problem problem;
    problem.length = 150;
    problem.taps = 150;
    problem.mixers = 3;
    problem.channels = 33;
    problem.batch = 2;
    Case c = RandomCase(problem, options, ++seed);
    const Signal one = RunCase(c, 1);
    EXPECT_EQ(one, RunCase(c, 2));
    EXPECT_EQ(one, RunCase(c, 3));
    EXPECT_EQ(one, RunCase(c, 2, {150}));
    EXPECT_EQ(one, RunCase(c, 1, {1, 63, 0, 1, 30}));
    if (MakePlan(problem, options)->Deferred()) continue;
    c.options.schedule = options.schedule == Schedule::kPerLayer
                             ? Schedule::kAcrossLayers
                             : Schedule::kPerLayer;
    EXPECT_EQ(one, RunCase(c, 2));
  }
}

TEST_P(OnlineConvolutionTest, BitsDoNotDependOnBatchMates) {
  for (const PlanOptions& options : AllOptions()) {
    Problem problem;
    problem.length = problem.taps = 100;
    problem.channels = 18;
    problem.batch = 3;
    const Case all = RandomCase(problem, options, 7);
    problem.batch = 1;
    Case alone = RandomCase(problem, options, 7);
    alone.taps = all.taps;
    const Signal y = RunCase(all, 2);
    for (size_t row = 0; row < 3; ++row) {
      for (size_t t = 0; t < 100; ++t) {
        std::copy_n(all.Input(0, t) + row * 18, 18, alone.Input(0, t));
      }
      const Signal z = RunCase(alone, 1);
      for (size_t t = 0; t < 100; ++t) {
        EXPECT_EQ(
            std::memcmp(&y[(t * 3 + row) * 18], &z[t * 18], 18 * sizeof(float)),
            0);
      }
    }
  }
}

// No output depends, in any bit, on a later input.
TEST_P(OnlineConvolutionTest, Causality) {
  for (const PlanOptions& options : AllOptions()) {
    Problem problem;
    problem.length = problem.taps = 96;
    problem.channels = 4;
    Case c = RandomCase(problem, options, 8);
    const Signal y = RunCase(c, 1);
    for (size_t cut : {1u, 31u, 64u, 90u}) {
      Case changed = c;
      for (size_t t = cut; t < 96; ++t) changed.Input(0, t)[1] = 1e6f;
      const Signal z = RunCase(changed, 1);
      EXPECT_EQ(std::memcmp(y.data(), z.data(), cut * 4 * sizeof(float)), 0);
    }
  }
}

TEST_P(OnlineConvolutionTest, ImpulseAndShift) {
  for (const PlanOptions& options : AllOptions()) {
    Problem problem;
    problem.length = problem.taps = 70;
    problem.channels = 2;
    Case c = RandomCase(problem, options, 9);
    double norm = 0;
    for (float v : c.taps) norm += v * v;
    for (size_t shift : {0u, 1u, 37u}) {
      std::fill(c.inputs.begin(), c.inputs.end(), 0.0f);
      c.Input(0, shift)[0] = c.Input(0, shift)[1] = 1.0f;
      const Signal y = RunCase(c, 1);
      for (size_t t = 0; t < 70; ++t) {
        for (size_t ch = 0; ch < 2; ++ch) {
          const float want = t < shift ? 0.0f : c.taps[(t - shift) * 2 + ch];
          // An impulse has norm 1: the bound of ErrorBound with ||x|| = 1.
          ASSERT_NEAR(y[t * 2 + ch], want,
                      2 * 0x1p-24 * std::log2(140.0) * std::sqrt(norm));
        }
      }
    }
  }
}

// Scaling by powers of two is exact, so this holds in every bit.
TEST_P(OnlineConvolutionTest, Homogeneity) {
  for (const PlanOptions& options : AllOptions()) {
    Problem problem;
    problem.length = problem.taps = 130;
    problem.channels = 3;
    Case c = RandomCase(problem, options, 10);
    const Signal y = RunCase(c, 1);
    for (float& v : c.inputs) v *= -8.0f;
    const Signal z = RunCase(c, 1);
    for (size_t i = 0; i < y.size(); ++i) ASSERT_EQ(z[i], -8.0f * y[i]);
  }
}

TEST_P(OnlineConvolutionTest, ResetForgetsEverything) {
  for (const PlanOptions& options : AllOptions()) {
    Problem problem;
    problem.length = problem.taps = 40;
    problem.channels = 20;
    const Case c = RandomCase(problem, options, 11);
    ThreadPool pool(2);
    std::unique_ptr<OnlineConvolution> conv =
        OnlineConvolution::Create(Prepare(c, pool), pool).value();
    Signal first(40 * 20), second(40 * 20);
    for (Signal* y : {&first, &second}) {
      for (size_t t = 0; t < 40; ++t) {
        conv->Step(0, c.Input(0, t), y->data() + t * 20);
        conv->Advance();
      }
      conv->Reset();
      EXPECT_EQ(conv->position(), 0u);
    }
    EXPECT_EQ(first, second);
  }
}

// Design 6: at most 2e-6 of max |y| on Gaussian data.
TEST_P(OnlineConvolutionTest, GaussianErrorIsFarBelowTheBound) {
  for (const PlanOptions& options : AllOptions()) {
    if (options.schedule == Schedule::kPerLayer) continue;
    Problem problem;
    problem.length = problem.taps = 4096;
    const Case c = RandomCase(problem, options, 12);
    const Signal y = RunCase(c, 1);
    const std::vector<double> want =
        ReferenceConvolution(c.inputs.data(), 4096, c.taps.data(), 4096);
    double largest = 0, error = 0;
    for (size_t t = 0; t < 4096; ++t) {
      largest = std::max(largest, std::abs(want[t]));
      error = std::max(error, std::abs(y[t] - want[t]));
    }
    EXPECT_LT(error, 2e-6 * largest)
        << MakePlan(problem, options).value().Print();
  }
}

// The longest sums that design 6 speaks of: a lazy output at 2^20, and eager
// accumulators after 2^13 inputs (their cost is quadratic).
TEST(LongSumsTest, KeepTheGaussianBound) {
  for (Method method : {Method::kLazy, Method::kEager}) {
    Problem problem;
    problem.length = problem.taps =
        method == Method::kLazy ? size_t{1} << 20 : size_t{1} << 13;
    const size_t length = problem.length;
    PlanOptions options;
    options.method = method;
    const Case c = RandomCase(problem, options, 13);
    ThreadPool pool(1);
    std::unique_ptr<OnlineConvolution> conv =
        OnlineConvolution::Create(Prepare(c, pool), pool).value();
    float y = 0;
    if (method == Method::kLazy) {
      conv->PretendHistory(length - 1, c.inputs.data(), length);
      conv->RunDueWork(length - 1);
      conv->Step(0, c.Input(0, length - 1), &y);
    } else {
      for (size_t t = 0; t < length; ++t) {
        conv->Step(0, c.Input(0, t), &y);
        conv->Advance();
      }
    }
    const double want = ReferenceOutput(c.inputs.data(), length - 1,
                                        c.taps.data(), c.problem.taps);
    // max |y| of that many Gaussian outputs is above 4 sqrt(L).
    EXPECT_NEAR(y, want, 2e-6 * 4 * std::sqrt(static_cast<double>(length)))
        << Name(method);
  }
}

TEST(PreparedConvolutionTest, RefusesFiltersOfAnotherProblem) {
  Problem problem;
  problem.channels = 4;
  problem.length = problem.taps = 8;
  std::shared_ptr<FilterBank> bank = FilterBank::Create(problem).value();
  problem.channels = 5;
  ThreadPool pool(1);
  EXPECT_FALSE(
      PreparedConvolution::Create(MakePlan(problem, {}).value(), bank, pool)
          .ok());
}

INSTANTIATE_TEST_SUITE_P(Targets, OnlineConvolutionTest,
                         testing::ValuesIn(SupportedSimdTargets()),
                         [](const auto& target) { return target.param; });

}  // namespace
}  // namespace lcsm::conv
