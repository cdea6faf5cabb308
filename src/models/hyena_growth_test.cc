// Sessions of a Hyena model that get a longer horizon, against sessions that
// were made long.
//
// Which bits can be the same: methods without transforms (lazy, eager) give
// those of a session that was long from the start. A transform's rounding
// depends on the taps that are in it, and those end with the horizon, so that
// elsewhere the same holds from where nothing was taken in yet, and otherwise
// logits are the reference's.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/cpu_info.h"
#include "io/test_util.h"
#include "models/test_model.h"
#include "runtime/session_file.h"

namespace lcsm {
namespace {

using Prepared = std::shared_ptr<const PreparedModel>;

StatusOr<Prepared> TryPrepare(const TestModel& test, size_t horizon,
                              const conv::PlanOptions& plan, ThreadPool& pool,
                              const PreparedModel* shorter = nullptr,
                              size_t memory_limit = 0) {
  return test.model->Prepare({.horizon = horizon,
                              .plan = plan,
                              .memory_limit = memory_limit,
                              .growable = true,
                              .shorter = shorter},
                             pool, nullptr);
}
Prepared Prepare(const TestModel& test, size_t horizon,
                 const conv::PlanOptions& plan, ThreadPool& pool,
                 const PreparedModel* shorter = nullptr) {
  auto prepared = TryPrepare(test, horizon, plan, pool, shorter);
  EXPECT_TRUE(prepared.ok()) << prepared.status().message();
  return *std::move(prepared);
}

// Steps to position `until`; appends the logits.
void StepTo(ModelState& state, const std::vector<int32_t>& tokens, size_t until,
            std::vector<float>* all) {
  const size_t vocab = state.padded_vocab();
  while (state.position() < until) {
    all->resize(all->size() + vocab);
    state.Step(tokens[state.position()], all->data() + all->size() - vocab);
  }
}

// Logits of all tokens, by steps, of a session that grows at `positions` to the
// next of `horizons`.
std::vector<float> Grow(const TestModel& test,
                        const std::vector<int32_t>& tokens,
                        const conv::PlanOptions& plan,
                        const std::vector<size_t>& horizons,
                        const std::vector<size_t>& positions,
                        ThreadPool& pool) {
  std::vector<float> all;
  Prepared prepared = Prepare(test, horizons[0], plan, pool);
  auto state = prepared->NewState(pool).value();
  for (size_t k = 0; k < positions.size(); ++k) {
    StepTo(*state, tokens, positions[k], &all);
    prepared = Prepare(test, horizons[k + 1], plan, pool, prepared.get());
    auto grown = prepared->Grow(*state);
    EXPECT_TRUE(grown.ok()) << grown.status().message();
    if (!grown.ok()) return {};
    state = *std::move(grown);
    EXPECT_EQ(state->position(), positions[k]);
    EXPECT_EQ(state->horizon(), horizons[k + 1]);
    EXPECT_EQ(state->StepRoom(), horizons[k + 1] - positions[k]);
  }
  StepTo(*state, tokens, tokens.size(), &all);
  return all;
}

struct Case {
  std::vector<size_t> horizons, positions;
};
const Case kCases[] = {
    {{200, 200}, {0}},
    {{1, 200}, {0}},
    {{1, 2, 200}, {1, 2}},
    {{63, 64, 65, 200}, {63, 63, 65}},
    {{100, 199, 200}, {31, 199}},
    {{128, 200, 200}, {128, 200}},
};

TEST(HyenaGrowthTest, GrownIsMadeLongInEveryBit) {
  HyenaConfig config = SmallConfig();
  config.order = 3;
  const TestModel test(config);
  const auto tokens = RandomTokens(200, config.vocab, 3);
  for (const std::string& target : SupportedSimdTargets()) {
    ASSERT_TRUE(ForceSimdTarget(target).ok());
    for (const auto method : {conv::Method::kLazy, conv::Method::kEager}) {
      for (const auto schedule :
           {conv::Schedule::kAcrossLayers, conv::Schedule::kPerLayer}) {
        const conv::PlanOptions plan = {.method = method, .schedule = schedule};
        ThreadPool pool(2);
        const auto made = test.NewState(pool, 200, plan);
        const std::vector<float> want =
            RunTokens(*made, config.padded_vocab, tokens, 0);
        for (const Case& c : kCases) {
          ThreadPool other(3);
          EXPECT_EQ(Grow(test, tokens, plan, c.horizons, c.positions, other),
                    want)
              << target << " " << conv::Name(method) << " from "
              << c.horizons[0];
        }
      }
    }
  }
  ASSERT_TRUE(ForceSimdTarget("best").ok());
}

TEST(HyenaGrowthTest, EveryMethodKeepsToTheReference) {
  for (const HyenaConfig& config : AwkwardConfigs()) {
    if (config.max_length < 300) continue;
    const TestModel test(config);
    const auto tokens = RandomTokens(200, config.vocab, 3);
    const std::vector<double> want =
        ReferenceLogits(config, test.tensors, tokens);
    ThreadPool pool(2);
    for (const auto method :
         {conv::Method::kPaper, conv::Method::kPlanned,
          conv::Method::kFutureFill, conv::Method::kGardner}) {
      for (const auto latency : {conv::Latency::kBest, conv::Latency::kFlat}) {
        SCOPED_TRACE(
            fmt::format("{} {}", conv::Name(method), conv::Name(latency)));
        const conv::PlanOptions plan = {.method = method, .latency = latency};
        for (const Case& c : kCases) {
          ExpectNear(Grow(test, tokens, plan, c.horizons, c.positions, pool),
                     want);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

// Where nothing was taken in, a planned session is one of the plan it got.
TEST(HyenaGrowthTest, AtPositionZeroThePlanDecides) {
  const TestModel test(SmallConfig());
  const auto tokens = RandomTokens(200, 12, 3);
  const conv::PlanOptions plan = {.method = conv::Method::kPlanned};
  ThreadPool pool(2);
  const Prepared shorter = Prepare(test, 70, plan, pool);
  const Prepared longer = Prepare(test, 200, plan, pool, shorter.get());
  const auto grown = longer->Grow(*shorter->NewState(pool).value()).value();
  const auto made = longer->NewState(pool).value();
  EXPECT_EQ(RunTokens(*grown, 16, tokens, 0), RunTokens(*made, 16, tokens, 0));
}

TEST(HyenaGrowthTest, KnownTokensForksAndRows) {
  const TestModel test(SmallConfig());
  const auto tokens = RandomTokens(200, 12, 3);
  const std::span<const int32_t> all(tokens);
  ThreadPool pool(2);
  for (const auto method : {conv::Method::kLazy, conv::Method::kPlanned}) {
    const conv::PlanOptions plan = {.method = method};
    const Prepared shorter = Prepare(test, 90, plan, pool);
    const Prepared longer = Prepare(test, 200, plan, pool, shorter.get());
    const auto begin = [&](const PreparedModel& prepared) {
      auto state = prepared.NewState(pool).value();
      EXPECT_TRUE(state->Prefill(all.first(61), {}).ok());
      std::vector<float> logits;
      StepTo(*state, tokens, 80, &logits);
      return state;
    };
    const auto state = begin(*shorter);
    const auto before = state->Fork().value();
    const auto grown = longer->Grow(*state).value();
    const auto after = grown->Fork().value();
    const auto rest = [&](ModelState& one, size_t until) {
      std::vector<float> logits;
      StepTo(one, tokens, until, &logits);
      return logits;
    };
    // Both ways to a fork that is long; whoever stays goes on to its own end.
    const auto late = longer->Grow(*before).value();
    const std::vector<float> old = rest(*state, 90);
    EXPECT_EQ(rest(*before, 90), old);
    EXPECT_EQ(state->StepRoom(), 0u);
    const auto batch = grown->Spread(3).value();
    EXPECT_EQ(batch->StepRoom(), 120u);
    const std::vector<float> want = rest(*grown, 200);
    EXPECT_EQ(rest(*after, 200), want);
    EXPECT_EQ(rest(*late, 200), want);
    std::vector<float> logits(3 * 16);
    for (size_t t = 80; t < 200; ++t) {
      const int32_t rows[] = {tokens[t], tokens[t], tokens[t]};
      batch->Step(rows, logits.data());
      for (size_t i = 0; i < 48; ++i) {
        ASSERT_EQ(logits[i], want[(t - 80) * 16 + i % 16]) << t;
      }
    }
    if (method == conv::Method::kLazy) {
      EXPECT_EQ(rest(*begin(*longer), 200), want);
    }
    // Known tokens may follow too, and Reset gives back the longer horizon.
    const auto known = longer->Grow(*begin(*shorter)).value();
    ASSERT_TRUE(known->Prefill(all.subspan(80, 120), {}).ok());
    known->Reset();
    EXPECT_EQ(known->horizon(), 200u);
  }
}

TEST(HyenaGrowthTest, FiltersAreEvaluatedForNewLagsOnly) {
  HyenaConfig config = SmallConfig();
  TestModel test(config);
  std::vector<float> t(config.max_length);
  for (size_t n = 0; n < t.size(); ++n) t[n] = static_cast<float>(n) / 299.0f;
  const std::string name = "backbone.layers.1.mixer.filter_fn.pos_emb.t";
  test.tensors[name] = {{1, config.max_length, 1}, t};
  test.Bind(WeightFormat::kFloat32);
  const auto tokens = RandomTokens(250, config.vocab, 3);
  ThreadPool pool(2);
  const auto made = test.NewState(pool, 250);
  const Prepared shorter = Prepare(test, 100, {}, pool);
  const auto state = shorter->NewState(pool).value();
  // Whoever evaluates a lag that was evaluated before meets a NaN.
  for (size_t n = 0; n < 100; ++n) test.tensors[name].values[n] = NAN;
  ASSERT_FALSE(TryPrepare(test, 250, {}, pool).ok());
  const Prepared longer = Prepare(test, 250, {}, pool, shorter.get());
  const auto grown = longer->Grow(*state).value();
  EXPECT_EQ(RunTokens(*grown, 16, tokens, 0), RunTokens(*made, 16, tokens, 0));
  // And those that are new are looked at.
  test.tensors[name].values[260] = NAN;
  EXPECT_FALSE(TryPrepare(test, 270, {}, pool, longer.get()).ok());
}

TEST(HyenaGrowthTest, WhatIsRefusedChangesNothing) {
  const TestModel test(SmallConfig()), other(SmallConfig(), 2);
  const auto tokens = RandomTokens(100, 12, 3);
  const conv::PlanOptions plan = {.method = conv::Method::kPlanned};
  ThreadPool pool(2);
  const Prepared prepared = Prepare(test, 100, plan, pool);
  const auto state = prepared->NewState(pool).value();
  const auto twin = prepared->NewState(pool).value();
  std::vector<float> got, want;
  StepTo(*state, tokens, 50, &got);
  StepTo(*twin, tokens, 50, &want);
  const auto refused = [&](const auto& result, const char* words) {
    ASSERT_FALSE(result.ok()) << words;
    EXPECT_NE(result.status().message().find(words), std::string::npos)
        << result.status().message();
    EXPECT_EQ(result.status().message().find('\n'), std::string::npos);
  };
  refused(TryPrepare(test, 301, plan, pool, prepared.get()),
          "301 positions are wanted, and the model test is made for at most "
          "300");
  refused(TryPrepare(test, 99, plan, pool, prepared.get()),
          "100 positions was to grow to 99");
  refused(TryPrepare(other, 200, plan, pool, prepared.get()), "another model");
  refused(test.model->Prepare(
              {.horizon = 200, .plan = plan, .shorter = prepared.get()}, pool,
              nullptr),
          "may not grow");
  const auto fixed =
      test.model->Prepare({.horizon = 80, .plan = plan}, pool, nullptr).value();
  refused(TryPrepare(test, 200, plan, pool, fixed.get()), "may not grow");
  refused(test.model->Prepare(
              {.horizon = 200, .steps = 60, .plan = plan, .growable = true},
              pool, nullptr),
          "200 positions of which 60 may come by steps cannot grow");
  conv::PlanOptions evaluated;
  evaluated.levels =
      conv::ParseLevels("1x16 direct, 16 fft-fused evaluated", "plan").value();
  refused(TryPrepare(test, 32, evaluated, pool), "evaluated");
  // The memory limit holds for the longer one, numbers and all.
  const size_t enough =
      test.model
          ->EstimateMemory({.horizon = 100, .plan = plan, .growable = true}, 1)
          ->Total() *
      3 / 2;
  ASSERT_TRUE(TryPrepare(test, 100, plan, pool, nullptr, enough).ok());
  refused(TryPrepare(test, 300, plan, pool, prepared.get(), enough),
          "300 positions");
  // States of other preparations.
  refused(Prepare(other, 200, plan, pool)->Grow(*state), "another model");
  refused(Prepare(test, 60, plan, pool)->Grow(*state), "for 100 positions");
  const auto layers =
      test.model
          ->Prepare({.horizon = 200, .steps = 60, .plan = plan}, pool, nullptr)
          .value();
  refused(layers->Grow(*state), "layer by layer");
  refused(Prepare(test, 200, plan, pool)->Grow(*layers->NewState(pool).value()),
          "layer by layer");
  StepTo(*state, tokens, 100, &got);
  StepTo(*twin, tokens, 100, &want);
  EXPECT_EQ(got, want);
}

// States that were not made to grow do so as long as they have their inputs.
TEST(HyenaGrowthTest, RingsHaveForgottenAndSaySo) {
  const TestModel test(SmallConfig());
  const auto tokens = RandomTokens(300, 12, 3);
  conv::PlanOptions plan;
  plan.levels =
      conv::ParseLevels("1x8 direct, 8x2 fft-fused, 16 fft-fused", "plan")
          .value();
  ThreadPool pool(1);
  const auto fixed =
      test.model->Prepare({.horizon = 200, .plan = plan}, pool, nullptr)
          .value();
  const Prepared growable = Prepare(test, 200, plan, pool);
  ASSERT_LT(conv::HistoryLines(fixed->plan()), 200u);
  EXPECT_EQ(conv::HistoryLines(growable->plan()), 200u);
  const Prepared longer = Prepare(test, 300, plan, pool, growable.get());
  const auto ring = fixed->NewState(pool).value();
  EXPECT_TRUE(longer->Grow(*ring).ok());
  std::vector<float> logits;
  StepTo(*ring, tokens, 100, &logits);
  const auto refused = longer->Grow(*ring);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().message().find("growable"), std::string::npos)
      << refused.status().message();
}

// A file of a growable session brings back one that may grow.
TEST(HyenaGrowthTest, SavedAndLoaded) {
  const TestModel test(SmallConfig());
  const auto tokens = RandomTokens(250, 12, 3);
  const conv::PlanOptions plan = {.method = conv::Method::kPlanned};
  const io::ScratchFolder folder;
  ThreadPool pool(2);
  const Prepared prepared = Prepare(test, 90, plan, pool);
  const auto state = prepared->NewState(pool).value();
  std::vector<float> logits;
  StepTo(*state, tokens, 77, &logits);
  SessionRecord record = MakeSessionRecord(
      *test.model, *prepared,
      std::vector<int32_t>(tokens.begin(), tokens.begin() + 77));
  record.sampled.logits.assign(logits.end() - 16, logits.end());
  ASSERT_TRUE(SaveSession(folder / "s", record, *state).ok());
  auto opened = OpenSession(folder / "s");
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const PrepareOptions options = opened->ToPrepareOptions({}).value();
  EXPECT_TRUE(options.growable);
  const auto again = test.model->Prepare(options, pool, nullptr).value();
  const auto loaded = again->NewState(pool).value();
  const Status status = opened->Load(*loaded);
  ASSERT_TRUE(status.ok()) << status.message();
  const Prepared longer = Prepare(test, 250, plan, pool, prepared.get());
  const Prepared same = Prepare(test, 250, plan, pool, again.get());
  EXPECT_EQ(longer->plan().Levels(), same->plan().Levels());
  const auto a = longer->Grow(*state).value(), b = same->Grow(*loaded).value();
  std::vector<float> got, want;
  StepTo(*a, tokens, 250, &want);
  StepTo(*b, tokens, 250, &got);
  EXPECT_EQ(got, want);
}

}  // namespace
}  // namespace lcsm
