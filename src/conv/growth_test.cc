// Sessions that grow, against sessions that were made long: every bit, for
// every method, wherever they stand when it happens.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include "base/cpu_info.h"
#include "conv/online_convolution.h"
#include "conv/random_plan.h"
#include "conv/reference.h"

namespace lcsm::conv {
namespace {

using Prepared = std::shared_ptr<const PreparedConvolution>;

// Noise for a problem of the longest length that a test grows to.
struct Data {
  Problem problem;
  std::vector<float> taps;    // [M][H][D]
  std::vector<float> inputs;  // [M][L][B][D]

  Data(const Problem& longest, uint32_t seed) : problem(longest) {
    std::mt19937 rng(seed);
    std::normal_distribution<float> normal;
    taps.resize(problem.mixers * problem.taps * problem.channels);
    inputs.resize(problem.mixers * problem.length * Width());
    for (float& v : taps) v = normal(rng);
    for (float& v : inputs) v = normal(rng);
  }
  size_t Width() const { return problem.batch * problem.channels; }
  size_t At(size_t m, size_t t) const {
    return (m * problem.length + t) * Width();
  }
  Prepared Prepare(const Plan& plan, ThreadPool& pool,
                   const PreparedConvolution* shorter = nullptr) const {
    std::shared_ptr<FilterBank> bank = FilterBank::Create(plan.problem).value();
    for (size_t m = 0; m < problem.mixers; ++m) {
      bank->SetTaps(m, 0, bank->taps(),
                    taps.data() + m * problem.taps * problem.channels);
    }
    return PreparedConvolution::Create(plan, bank, pool, shorter).value();
  }
  // Takes in the inputs up to `until`, some by StepMany.
  void Run(OnlineConvolution& conv, size_t until, std::vector<float>& y) const {
    while (conv.position() < until) {
      const size_t t = conv.position();
      const bool many = t % 5 == 3 && until - t > 4;
      for (size_t m = 0; m < problem.mixers; ++m) {
        if (many) {
          conv.StepMany(m, 4, inputs.data() + At(m, t), y.data() + At(m, t));
        } else {
          conv.Step(m, inputs.data() + At(m, t), y.data() + At(m, t));
        }
      }
      many ? conv.AdvanceMany(4) : conv.Advance();
    }
  }
  void ExpectMatchesReference(const std::vector<float>& y) const {
    const Problem& p = problem;
    for (size_t m = 0; m < p.mixers; ++m) {
      for (size_t c = 0; c < Width(); ++c) {
        std::vector<float> x(p.length), rho(p.taps);
        for (size_t t = 0; t < p.length; ++t) x[t] = inputs[At(m, t) + c];
        for (size_t n = 0; n < p.taps; ++n) {
          rho[n] = taps[(m * p.taps + n) * p.channels + c % p.channels];
        }
        const std::vector<double> want =
            ReferenceConvolution(x.data(), p.length, rho.data(), p.taps);
        const double bound = ErrorBound(x.data(), p.length, rho.data(), p.taps);
        for (size_t t = 0; t < p.length; ++t) {
          ASSERT_NEAR(y[At(m, t) + c], want[t], bound)
              << "mixer " << m << " channel " << c << " t " << t;
        }
      }
    }
  }
};

// The session has `plans[0]` to begin with and grows to each further plan at
// its position; what it puts out under a plan is what a session of that plan
// would.
void ExpectSameAsMadeLong(const Data& data,
                          const std::vector<std::pair<size_t, Plan>>& plans,
                          size_t threads, bool share) {
  ThreadPool pool(threads);
  std::vector<float> y(data.inputs.size()), want(data.inputs.size());
  std::unique_ptr<OnlineConvolution> conv;
  Prepared now;
  for (size_t i = 0; i < plans.size(); ++i) {
    const auto& [position, plan] = plans[i];
    SCOPED_TRACE("at " + std::to_string(position) + " to " +
                 std::to_string(plan.problem.length) + ": " + plan.Print());
    now = data.Prepare(plan, pool, share ? now.get() : nullptr);
    if (i == 0) {
      conv = OnlineConvolution::Create(now, pool).value();
    } else {
      const Status status = conv->Reserve(now);
      ASSERT_TRUE(status.ok()) << status.message();
    }
    ASSERT_EQ(conv->position(), position);
    ASSERT_EQ(conv->length(), plan.problem.length);
    const size_t until =
        i + 1 < plans.size() ? plans[i + 1].first : plan.problem.length;
    data.Run(*conv, until, y);
    // The same without growing, and without shared levels.
    const auto whole =
        OnlineConvolution::Create(data.Prepare(plan, pool), pool).value();
    data.Run(*whole, until, want);
    for (size_t m = 0; m < data.problem.mixers; ++m) {
      const size_t first = data.At(m, position);
      for (size_t k = first; k < data.At(m, 0) + until * data.Width(); ++k) {
        ASSERT_EQ(y[k], want[k])
            << "mixer " << m << " t " << (k - data.At(m, 0)) / data.Width();
      }
    }
  }
  data.ExpectMatchesReference(y);
}

std::vector<PlanOptions> AllOptions() {
  std::vector<PlanOptions> all;
  const Schedule schedule = Schedule::kAcrossLayers;
  for (const Method method : {Method::kLazy, Method::kEager, Method::kPlanned,
                              Method::kFutureFill, Method::kGardner}) {
    all.push_back({method, Tau::kHybrid, schedule});
  }
  for (const Tau tau :
       {Tau::kDirectBlocked, Tau::kFftLibrary, Tau::kFftFused, Tau::kHybrid}) {
    all.push_back({Method::kPaper, tau, schedule});
  }
  all.push_back({Method::kPaper, Tau::kHybrid, Schedule::kPerLayer});
  PlanOptions flat;
  flat.method = Method::kPlanned;
  flat.latency = Latency::kFlat;
  all.push_back(flat);
  return all;
}

class GrowthTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { ASSERT_TRUE(ForceSimdTarget(GetParam()).ok()); }
  void TearDown() override { ASSERT_TRUE(ForceSimdTarget("best").ok()); }
};

// Growing at every kind of position: before anything, around blocks, at the
// very end; twice on the spot; from lengths that have no levels at all.
TEST_P(GrowthTest, EveryMethodGrowsAnywhere) {
  std::mt19937 rng(5);
  uint32_t seed = 0;
  const std::vector<std::vector<std::pair<size_t, size_t>>> ways = {
      {{0, 1}, {0, 300}},
      {{0, 1}, {1, 2}, {1, 3}, {2, 9}, {9, 130}},
      {{0, 40}, {31, 300}},
      {{0, 40}, {32, 301}},
      {{0, 40}, {33, 130}, {64, 131}, {65, 257}},
      {{0, 100}, {100, 200}, {200, 333}},
      {{0, 64}, {50, 64}, {50, 65}, {50, 600}},
  };
  for (const PlanOptions& options : AllOptions()) {
    for (const auto& way : ways) {
      Problem problem;
      problem.growable = true;
      problem.mixers = 1 + rng() % 2;
      problem.channels = std::vector<size_t>{1, 16, 17}[rng() % 3];
      problem.batch = 1 + rng() % 2;
      const size_t longest = way.back().second;
      const size_t lengths[] = {longest, 37, 2 + rng() % longest};
      problem.taps = lengths[rng() % 3];
      problem.length = longest;
      const Data data(problem, ++seed);
      std::vector<std::pair<size_t, Plan>> plans;
      for (const auto& [position, length] : way) {
        problem.length = length;
        plans.emplace_back(
            position,
            plans.empty()
                ? MakePlan(problem, options).value()
                : GrowPlan(plans.back().second, length, options).value());
      }
      SCOPED_TRACE(std::string(Name(options.method)) + " taps " +
                   std::to_string(problem.taps));
      ExpectSameAsMadeLong(data, plans, 1 + rng() % 3, true);
      if (HasFatalFailure()) return;
    }
  }
}

// Any plan may follow any other one, whether the two share levels or not.
TEST_P(GrowthTest, RandomPlans) {
  std::mt19937 rng(6);
#if defined(__SANITIZE_THREAD__)
  constexpr uint32_t kTrials = 8;
#else
  constexpr uint32_t kTrials = 40;
#endif
  for (uint32_t trial = 0; trial < kTrials; ++trial) {
    Problem problem;
    problem.growable = true;
    problem.mixers = 1 + rng() % 2;
    problem.channels = std::vector<size_t>{1, 15, 17}[rng() % 3];
    problem.batch = 1 + rng() % 2;
    const size_t longest = 20 + rng() % (trial % 4 == 0 ? 1500 : 300);
    problem.length = longest;
    problem.taps = rng() % 3 == 0 ? 1 + rng() % longest : longest;
    const Data data(problem, 2000 + trial);
    std::vector<size_t> lengths = {1 + rng() % longest, 1 + rng() % longest,
                                   longest};
    std::sort(lengths.begin(), lengths.end());
    std::vector<std::pair<size_t, Plan>> plans;
    size_t position = 0;
    for (const size_t length : lengths) {
      problem.length = length;
      plans.emplace_back(position, RandomPlan(problem, rng));
      position += rng() % (length - position + 1);
    }
    ExpectSameAsMadeLong(data, plans, 1 + rng() % 3, trial % 2 == 0);
    if (HasFatalFailure()) return;
  }
}

// The last growth may end in a ring: what follows needs no more of the inputs.
TEST_P(GrowthTest, MayEndInARing) {
  for (const Latency latency : {Latency::kBest, Latency::kFlat}) {
    for (const size_t position : {1u, 127u, 128u, 300u, 511u, 512u}) {
      PlanOptions options;
      options.method = Method::kPlanned;
      options.latency = latency;
      Problem problem;
      // Flat plans take so few as 60 directly, from inputs far back.
      problem.taps = latency == Latency::kFlat ? 200 : 60;
      problem.channels = 3;
      problem.length = 2000;
      const Data data(problem, 77);
      const Plan ring = MakePlan(problem, options).value();
      ASSERT_LT(HistoryLines(ring), problem.length);
      problem.growable = true;
      problem.length = 512;
      ExpectSameAsMadeLong(
          data, {{0, MakePlan(problem, options).value()}, {position, ring}}, 2,
          true);
      if (HasFatalFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, GrowthTest,
                         testing::ValuesIn(SupportedSimdTargets()),
                         [](const auto& target) { return target.param; });

TEST(GrowPlanTest, SmallLevelsStayAndAreShared) {
  Problem problem;
  problem.growable = true;
  problem.channels = 17;
  problem.taps = 5000;
  problem.length = 600;
  for (const Method method : {Method::kPaper, Method::kPlanned}) {
    PlanOptions options;
    options.method = method;
    const Plan small = MakePlan(problem, options).value();
    const Plan large = GrowPlan(small, 5000, options).value();
    EXPECT_EQ(large.problem.length, 5000u);
    ASSERT_GE(large.levels.size(), small.levels.size());
    for (size_t k = 0; k + 1 < small.levels.size(); ++k) {
      EXPECT_EQ(small.levels[k], large.levels[k]) << large.Print();
    }
    Problem longest = problem;
    longest.length = 5000;
    const Data data(longest, 3);
    ThreadPool pool(2);
    const Prepared before = data.Prepare(small, pool);
    const Prepared after = data.Prepare(large, pool, before.get());
    size_t shared = 0;
    for (size_t k = 0; k + 1 < small.levels.size(); ++k) {
      shared += before->ops()[k] == after->ops()[k];
    }
    EXPECT_EQ(shared, small.levels.size() - 1) << small.Print();
    EXPECT_NE(before->ops().back(), after->ops()[small.levels.size() - 1]);
    EXPECT_FALSE(GrowPlan(large, 4999, options).ok());
  }
}

// Spectra whose taps were cut off by the shorter length are made anew.
TEST(GrowPlanTest, CutSlicesAreNotShared) {
  Problem problem;
  problem.growable = true;
  problem.taps = 400;
  problem.length = 100;
  const std::vector<Level> levels = {{1, 64, Tau::kDirectBlocked},
                                     {64, Level::kToTheEnd, Tau::kFftFused}};
  const Plan small = MakePlan(problem, levels, Schedule::kAcrossLayers).value();
  problem.length = 120;
  const Plan large = MakePlan(problem, levels, Schedule::kAcrossLayers).value();
  const Data data(problem, 4);
  ThreadPool pool(1);
  const Prepared before = data.Prepare(small, pool);
  const Prepared after = data.Prepare(large, pool, before.get());
  EXPECT_EQ(before->ops()[0], after->ops()[0]);
  EXPECT_NE(before->ops()[1], after->ops()[1]);
}

// Whatever is refused leaves the session as it was.
TEST(GrowthErrorsTest, FailuresChangeNothing) {
  Problem problem;
  problem.channels = 3;
  problem.length = 2000;
  problem.taps = 60;
  PlanOptions options;
  options.method = Method::kPlanned;
  ThreadPool pool(1);
  const auto expect = [&](const Problem& from, const Problem& to,
                          size_t position, const char* words) {
    Problem longest = from;
    longest.taps = std::max(from.taps, to.taps);
    const Data data(longest, 8);
    std::vector<float> y(data.inputs.size()), want(data.inputs.size());
    const auto conv =
        OnlineConvolution::Create(
            data.Prepare(MakePlan(from, options).value(), pool), pool)
            .value();
    data.Run(*conv, position, y);
    PlanOptions lazy;  // Whose memory is that of histories alone.
    lazy.method = Method::kLazy;
    const Status status = conv->Reserve(
        Data({to.mixers, to.channels, to.batch, 1, to.taps}, 8)
            .Prepare(MakePlan(to, to.length > 100000 ? lazy : options).value(),
                     pool));
    ASSERT_FALSE(status.ok()) << words;
    EXPECT_NE(status.message().find(words), std::string::npos)
        << status.message();
    EXPECT_EQ(conv->position(), position);
    EXPECT_EQ(conv->length(), from.length);
    data.Run(*conv, from.length, y);
    const auto same =
        OnlineConvolution::Create(
            data.Prepare(MakePlan(from, options).value(), pool), pool)
            .value();
    data.Run(*same, from.length, want);
    EXPECT_EQ(y, want);
  };
  Problem to = problem;
  to.length = 1999;
  expect(problem, to, 0, "expected at least as many");
  to.length = 3000;
  to.channels = 4;
  expect(problem, to, 7, "3 channels");
  to.channels = 3;
  ASSERT_LT(HistoryLines(MakePlan(problem, options).value()), 2000u);
  expect(problem, to, 1900, "growable");
  Problem primed = problem;
  primed.primed = true;
  expect(primed, to, 0, "earlier inputs");
  problem.growable = to.growable = true;
  to.length = size_t{1} << 45;
  expect(problem, to, 400, "histories");
}

}  // namespace
}  // namespace lcsm::conv
