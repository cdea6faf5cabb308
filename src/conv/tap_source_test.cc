// Levels whose taps are evaluated while running against the same levels with
// taps or spectra kept: the same bits, whoever evaluates when.
#include "conv/tap_source.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <random>
#include <vector>

#include "base/cpu_info.h"
#include "base/mapped_bytes.h"
#include "conv/online_convolution.h"
#include "conv/planner.h"
#include "conv/random_plan.h"

namespace lcsm::conv {
namespace {

using Signal = std::vector<float>;

constexpr size_t kScratchFloats = 3 * kLanes;

// Taps that are noise; [M][H][D]. Counts what is asked of it, and sees to it
// that scratch is its thread's alone.
class NoiseTaps final : public TapSource {
 public:
  NoiseTaps(const Problem& problem, Signal taps)
      : problem_(problem), taps_(std::move(taps)) {}

  const float* At(size_t mixer, size_t lag) const {
    return taps_.data() + (mixer * problem_.taps + lag) * problem_.channels;
  }

  void Evaluate(size_t mixer, size_t first, size_t count, float* scratch,
                FilterBank& out) const noexcept override {
    const float mine = static_cast<float>(first);
    std::fill_n(scratch, kScratchFloats, mine);
    out.SetTaps(0, first, count, At(mixer, first));
    lags_ += count;
    for (size_t i = 0; i < kScratchFloats; ++i) {
      if (scratch[i] != mine) shared_ = true;
    }
  }
  void Rest(size_t, size_t count) const noexcept override { rested_ += count; }

  size_t lags() const { return lags_; }
  size_t rested() const { return rested_; }
  bool scratch_was_shared() const { return shared_; }

 private:
  const Problem problem_;
  const Signal taps_;
  mutable std::atomic<size_t> lags_{0}, rested_{0};
  mutable std::atomic<bool> shared_{false};
};

Signal Noise(size_t count, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  Signal noise(count);
  for (float& v : noise) v = normal(rng);
  return noise;
}

struct Case {
  explicit Case(const Problem& p, uint32_t seed)
      : problem(p),
        taps(std::make_shared<NoiseTaps>(
            p, Noise(p.mixers * p.taps * p.channels, seed))),
        inputs(Noise(p.mixers * p.length * p.batch * p.channels, seed + 1)) {}

  // From a bank of no more taps than the plan says that it needs.
  StatusOr<std::shared_ptr<const PreparedConvolution>> Prepare(
      const Plan& plan, ThreadPool& pool) const {
    Problem first = problem;
    first.taps = TapsMade(plan);
    std::shared_ptr<FilterBank> bank = FilterBank::Create(first).value();
    for (size_t m = 0; m < problem.mixers; ++m) {
      bank->SetTaps(m, 0, bank->taps(), taps->At(m, 0));
    }
    return PreparedConvolution::Create(plan, bank, pool, nullptr, taps);
  }

  Signal Run(const Plan& plan, size_t threads,
             const std::vector<size_t>& many = {}) const {
    ThreadPool pool(threads);
    const auto session =
        OnlineConvolution::Create(Prepare(plan, pool).value(), pool).value();
    Signal y(inputs.size());
    for (const size_t count : many) {
      const size_t t = session->position();
      for (size_t m = 0; m < problem.mixers; ++m) {
        session->StepMany(m, count, inputs.data() + At(m, t),
                          y.data() + At(m, t));
      }
      session->AdvanceMany(count);
    }
    Steps(*session, problem.length, y);
    return y;
  }

  void Steps(OnlineConvolution& session, size_t end, Signal& y) const {
    for (size_t t = session.position(); t < end; ++t) {
      for (size_t m = 0; m < problem.mixers; ++m) {
        session.Step(m, inputs.data() + At(m, t), y.data() + At(m, t));
      }
      session.Advance();
    }
  }

  size_t At(size_t m, size_t t) const {
    return (m * problem.length + t) * problem.batch * problem.channels;
  }

  const Problem problem;
  const std::shared_ptr<const NoiseTaps> taps;
  const Signal inputs;
};

// The same plan with all spectra that need not be kept from there.
Plan With(const Plan& plan, Spectra spectra, Schedule schedule) {
  std::vector<Level> levels = plan.levels;
  for (Level& level : levels) {
    if (level.tau == Tau::kFftFused && level.serves != Serves::kDistant &&
        SlicesOf(plan.problem, level).count <= 1) {
      level.spectra = spectra;
    }
  }
  return MakePlan(plan.problem, levels, schedule).value();
}

Plan BinaryPlan(const Problem& problem) {
  PlanOptions options;
  options.method = Method::kPaper;
  options.tau = Tau::kFftFused;
  return MakePlan(problem, options).value();
}

class EvaluatedTapsTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { ASSERT_TRUE(ForceSimdTarget(GetParam()).ok()); }
  void TearDown() override { ASSERT_TRUE(ForceSimdTarget("best").ok()); }
};

TEST_P(EvaluatedTapsTest, GiveTheBitsOfKeptOnes) {
  std::mt19937 rng(5);
#if defined(__SANITIZE_THREAD__)
  constexpr uint32_t kTrials = 12;  // Each takes seconds there.
#else
  constexpr uint32_t kTrials = 40;
#endif
  size_t evaluated = 0;
  for (uint32_t trial = 0; trial < kTrials; ++trial) {
    Problem problem;
    problem.length = 1 + rng() % (trial % 8 == 0 ? 2000 : 500);
    problem.taps = rng() % 3 == 0 ? 1 + rng() % problem.length : problem.length;
    problem.mixers = 1 + rng() % 3;
    problem.channels = std::vector<size_t>{1, 15, 16, 17, 40}[rng() % 5];
    problem.batch = 1 + rng() % 3;
    problem.evaluation = {1, kScratchFloats};
    const Case c(problem, 100 + trial);
    const Plan plan =
        trial % 2 == 0 ? BinaryPlan(problem) : RandomPlan(problem, rng);
    const Schedule schedule = plan.Deferred() || rng() % 2 == 0
                                  ? Schedule::kAcrossLayers
                                  : Schedule::kPerLayer;
    const Plan without = With(plan, Spectra::kEvaluated, schedule);
    SCOPED_TRACE(without.Print() + " L " + std::to_string(problem.length) +
                 " H " + std::to_string(problem.taps) + " D " +
                 std::to_string(problem.channels) + " B " +
                 std::to_string(problem.batch));
    evaluated += Evaluates(without);
    const Signal want = c.Run(With(plan, Spectra::kKept, schedule), 1);
    EXPECT_EQ(c.taps->lags(), 0u);
    EXPECT_EQ(want, c.Run(With(plan, Spectra::kRemade, schedule), 2));
    EXPECT_EQ(c.taps->lags(), 0u);
    EXPECT_EQ(want, c.Run(without, 1));
    EXPECT_EQ(want, c.Run(without, 3));
    const size_t first = rng() % (problem.length + 1);
    const size_t second = rng() % (problem.length - first + 1);
    EXPECT_EQ(want, c.Run(without, 3, {first, second}));
    EXPECT_EQ(want, c.Run(without, 1, {problem.length}));
    EXPECT_FALSE(c.taps->scratch_was_shared());
    if (HasFailure()) return;
  }
  EXPECT_GT(evaluated, kTrials / 3);
}

TEST_P(EvaluatedTapsTest, ForksAndRowsOfABatchGoOnInTheSameBits) {
  Problem problem;
  problem.mixers = 2;
  problem.channels = 17;
  problem.length = problem.taps = 300;
  problem.evaluation = {1, kScratchFloats};
  const Case c(problem, 7);
  const Plan plan =
      With(BinaryPlan(problem), Spectra::kEvaluated, Schedule::kAcrossLayers);
  const Signal want = c.Run(plan, 1);
  ThreadPool pool(3);
  const auto session =
      OnlineConvolution::Create(c.Prepare(plan, pool).value(), pool).value();
  Signal y(want.size());
  c.Steps(*session, 100, y);
  Signal forked = y;
  const auto fork = session->Fork().value();
  c.Steps(*fork, 300, forked);
  EXPECT_EQ(forked, want);
  const auto rows = session->Spread(2).value();
  Signal x(2 * problem.channels), out(x.size());
  for (size_t t = 100; t < 300; ++t) {
    for (size_t m = 0; m < problem.mixers; ++m) {
      for (size_t i = 0; i < x.size(); ++i) {
        x[i] = c.inputs[c.At(m, t) + i % problem.channels];
      }
      rows->Step(m, x.data(), out.data());
      for (size_t i = 0; i < x.size(); ++i) {
        ASSERT_EQ(out[i], want[c.At(m, t) + i % problem.channels]);
      }
    }
    rows->Advance();
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, EvaluatedTapsTest,
                         testing::ValuesIn(SupportedSimdTargets()),
                         [](const auto& target) { return target.param; });

TEST(TapSourceTest, IsAskedForWhatTilesReadAndNoMore) {
  Problem problem;
  problem.mixers = 2;
  problem.channels = 20;
  problem.length = problem.taps = 300;
  problem.evaluation = {1, kScratchFloats};
  const Case c(problem, 8);
  const Plan plan =
      With(BinaryPlan(problem), Spectra::kEvaluated, Schedule::kAcrossLayers);
  size_t lags = 0;
  for (size_t known = 1; known < problem.length; ++known) {
    const Level& level = plan.levels[DueLevel(plan.levels, known)];
    if (level.spectra != Spectra::kEvaluated) continue;
    lags += problem.mixers * std::min<size_t>(300, 2 * level.block);
  }
  c.Run(plan, 3);
  EXPECT_EQ(c.taps->lags(), lags);
  EXPECT_EQ(c.taps->rested(), lags);
  ThreadPool pool(1);
  EXPECT_EQ(c.Prepare(plan, pool).value()->filters().taps(), TapsKept(plan));
  EXPECT_LE(TapsMade(plan), 16u);
}

TEST(TapSourceTest, WithoutOneOrWithTooFewTapsNothingIsPrepared) {
  Problem problem;
  problem.channels = 4;
  problem.length = problem.taps = 200;
  problem.evaluation = {1, kScratchFloats};
  const Plan plan =
      With(BinaryPlan(problem), Spectra::kEvaluated, Schedule::kAcrossLayers);
  std::shared_ptr<FilterBank> bank = FilterBank::Create(problem).value();
  ThreadPool pool(1);
  const auto none = PreparedConvolution::Create(plan, bank, pool);
  ASSERT_FALSE(none.ok());
  EXPECT_NE(none.status().message().find("evaluates taps"), std::string::npos);
  const Case c(problem, 1);
  bank = FilterBank::First(*bank, TapsMade(plan) - 1, pool).value();
  EXPECT_FALSE(
      PreparedConvolution::Create(plan, bank, pool, nullptr, c.taps).ok());
  // Nor does anybody grow into it.
  problem.growable = true;
  const Plan fixed = BinaryPlan(problem);
  const auto session =
      OnlineConvolution::Create(c.Prepare(fixed, pool).value(), pool).value();
  const Status grown = session->Reserve(c.Prepare(plan, pool).value());
  ASSERT_FALSE(grown.ok());
  EXPECT_NE(grown.message().find("evaluates taps"), std::string::npos);
}

TEST(TapSourceTest, PlansSayItAndAreRefusedWhereItCannotBe) {
  Problem problem;
  problem.length = problem.taps = 200;
  const std::string text =
      "1x8 direct, 8x2 fft-fused remade, 16x8 fft-fused, "
      "128 fft-fused evaluated";
  const auto levels = ParseLevels(text, "p");
  ASSERT_TRUE(levels.ok()) << levels.status().message();
  EXPECT_EQ(levels->back().spectra, Spectra::kEvaluated);
  const auto given = MakePlan(problem, *levels, Schedule::kAcrossLayers);
  ASSERT_FALSE(given.ok());
  EXPECT_NE(given.status().message().find("would be evaluated while running"),
            std::string::npos);
  problem.evaluation = {1, kScratchFloats};
  EXPECT_EQ(
      MakePlan(problem, *levels, Schedule::kAcrossLayers).value().Levels(),
      text);
  for (const auto& [bad, complaint] :
       std::vector<std::pair<std::string, std::string>>{
           {"1x8 direct, 8 fft-fused evaluated", "one block of inputs"},
           {"1x8 direct, 8x16 direct-blocked evaluated, 128 direct",
            "for no others"},
           {"1x64 direct, 64 neighbours direct, 64 distant fft-fused remade",
            "for no others"}}) {
    const auto plan = MakePlan(problem, ParseLevels(bad, "p").value(),
                               Schedule::kAcrossLayers);
    ASSERT_FALSE(plan.ok()) << bad;
    EXPECT_NE(plan.status().message().find(complaint), std::string::npos)
        << plan.status().message();
  }
  EXPECT_FALSE(ParseLevels("8 fft-fused remade evaluated", "p").ok());
}

TEST(TapSourceTest, MemoryIsWhatThePlanSays) {
#if defined(LCSM_SANITIZED)
  GTEST_SKIP() << "sanitizers need memory of their own";
#endif
  Problem problem;
  problem.mixers = 3;
  problem.channels = 64;
  problem.length = problem.taps = 60000;
  problem.evaluation = {1, size_t{1} << 18};
  for (const size_t threads : {1, 3}) {
    ThreadPool pool(threads);
    for (const Spectra spectra :
         {Spectra::kKept, Spectra::kRemade, Spectra::kEvaluated}) {
      const Plan plan =
          With(BinaryPlan(problem), spectra, Schedule::kAcrossLayers);
      const Case c(problem, 1);
      const size_t before = MappedBytes();
      const auto session =
          OnlineConvolution::Create(c.Prepare(plan, pool).value(), pool)
              .value();
      const double grown = static_cast<double>(MappedBytes() - before);
      // Pages that are not full, and what malloc rounds tables up to.
      EXPECT_NEAR(grown, static_cast<double>(plan.Memory(threads).Total()), 1e6)
          << plan.Print();
    }
  }
}

TEST(PlannerTest, EvaluatesTapsWhereALimitAsksForIt) {
  Problem given;
  given.mixers = 8;
  given.channels = 256;
  given.length = given.taps = 1'000'000;
  Problem problem = given;
  problem.evaluation = {180, size_t{1} << 17};
  PlanOptions options;
  options.method = Method::kPlanned;
  options.threads = 2;
  // What can be had without a limit is what there was.
  EXPECT_EQ(MakePlan(problem, options)->Print(),
            MakePlan(given, options)->Print());
  double last = 0;
  for (const size_t gib : {24, 20, 16, 12, 8, 6}) {
    SCOPED_TRACE(gib);
    options.memory_limit = gib << 30;
    const auto plan = MakePlan(problem, options);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    EXPECT_LE(plan->Memory(2).AtMost(), options.memory_limit);
    // Never at no need: who has more room is not slower for it.
    EXPECT_GE(PlanNs(*plan, TileCosts()), last);
    last = PlanNs(*plan, TileCosts());
    EXPECT_EQ(ParseLevels(plan->Levels(), "p").value(), plan->levels);
    // Taps of all positions and histories of half of them take 11.6 GiB.
    if (gib < 11) {
      EXPECT_TRUE(Evaluates(*plan));
      EXPECT_LT(plan->Memory(2).taps, size_t{4} << 30);
      EXPECT_FALSE(MakePlan(given, options).ok());
    }
  }
  options.memory_limit = size_t{4} << 30;  // As histories alone.
  const auto none = MakePlan(problem, options);
  ASSERT_FALSE(none.ok());
  EXPECT_NE(none.status().message().find("take at least 5."), std::string::npos)
      << none.status().message();
  EXPECT_NE(none.status().message().find("leaves 4.00 GiB"), std::string::npos)
      << none.status().message();
}

TEST(PlannerTest, EvaluatingCostsWhatTheSourceSays) {
  Problem problem;
  problem.length = problem.taps = 1024;
  problem.evaluation = {100, kScratchFloats};
  Level level = {128, 2, Tau::kFftFused};
  level.spectra = Spectra::kRemade;
  const TileCosts costs;
  const double remade = LevelNs(problem, level, costs);
  level.spectra = Spectra::kEvaluated;
  // 256 taps every 256 positions.
  EXPECT_NEAR(LevelNs(problem, level, costs), remade + 100, 1e-6);
  problem.batch = 4;
  EXPECT_NEAR(LevelNs(problem, level, costs), remade + 25, 1e-6);
}

}  // namespace
}  // namespace lcsm::conv
