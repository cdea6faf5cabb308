// Saved sessions: a run that goes on from a file gives the bits of one that was
// never broken, whatever the plan; and files that do not fit are refused.
#include "runtime/session_file.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "io/atomic_file.h"
#include "io/test_util.h"
#include "models/test_model.h"

namespace lcsm {
namespace {

std::vector<conv::PlanOptions> AllPlans() {
  conv::PlanOptions flat;
  flat.method = conv::Method::kPlanned;
  flat.latency = conv::Latency::kFlat;
  conv::PlanOptions evaluated;
  evaluated.levels = conv::ParseLevels(
                         "1x8 direct, 8x2 fft-fused evaluated, 16x8 fft-fused, "
                         "128 fft-fused evaluated",
                         "plan")
                         .value();
  return {{},
          {.method = conv::Method::kLazy},
          {.method = conv::Method::kEager},
          {.method = conv::Method::kPlanned},
          {.method = conv::Method::kFutureFill},
          {.method = conv::Method::kGardner},
          {.method = conv::Method::kPlanned, .rings = conv::Rings::kTwoBlocks},
          flat,
          evaluated};
}

std::shared_ptr<const PreparedModel> Prepare(const TestModel& test,
                                             size_t horizon, size_t steps,
                                             const conv::PlanOptions& plan,
                                             ThreadPool& pool) {
  return test.model
      ->Prepare({.horizon = horizon, .steps = steps, .plan = plan}, pool,
                nullptr)
      .value();
}

GenerateOptions Wanted(size_t tokens) {
  GenerateOptions options;
  options.max_new_tokens = tokens;
  options.sampler.seed = 5;
  options.logprobs = true;
  options.ends_sequence = true;
  return options;
}

// A generation of which the file holds the first `half` tokens.
struct Broken {
  std::vector<int32_t> prompt;
  GeneratedSample whole;
};
Broken SaveHalf(const TestModel& test, const conv::PlanOptions& plan,
                bool long_prompt, size_t half,
                const std::filesystem::path& file) {
  ThreadPool pool(2);
  Broken broken;
  broken.prompt = RandomTokens(100, 12, 3);
  const size_t horizon = 100 + 149, steps = long_prompt ? 149 : horizon;
  const auto prepared = Prepare(test, horizon, steps, plan, pool);
  const auto run = [&](size_t stop_after) {
    const auto state = prepared->NewState(pool).value();
    std::atomic<bool> cancel{stop_after == 0};
    GenerateOptions options = Wanted(150);
    options.cancel = &cancel;
    const auto generator =
        Generator::Create(*test.model, *state, nullptr, options).value();
    GenerateHooks hooks;
    size_t seen = 0;
    hooks.on_token = [&](int32_t, double) {
      if (++seen == stop_after) cancel = true;
      return OkStatus();
    };
    if (stop_after == 0) cancel = false;
    GeneratedSample sample = generator->Run(broken.prompt, 0, hooks).value();
    if (stop_after != 0) {
      EXPECT_EQ(sample.tokens.size(), stop_after);
      EXPECT_TRUE(SaveSession(file,
                              MakeSessionRecord(*test.model, *prepared,
                                                *generator, broken.prompt, 0),
                              *state)
                      .ok());
    }
    return sample;
  };
  broken.whole = run(0);
  EXPECT_EQ(broken.whole.tokens.size(), 150u);
  run(half);
  return broken;
}

TEST(SessionTest, ResumedRunsAreUnbroken) {
  HyenaConfig config = SmallConfig();
  config.order = 3;
  const TestModel test(config);
  io::ScratchFolder folder;
  for (const conv::PlanOptions& plan : AllPlans()) {
    for (const bool long_prompt : {false, true}) {
      for (const size_t half : {1, 2, 77, 149}) {
        SCOPED_TRACE(fmt::format("{} {} long {} after {}",
                                 conv::Name(plan.method),
                                 conv::Name(plan.latency), long_prompt, half));
        const Broken broken =
            SaveHalf(test, plan, long_prompt, half, folder / "s");
        auto opened = OpenSession(folder / "s");
        ASSERT_TRUE(opened.ok()) << opened.status().message();
        ASSERT_TRUE(opened->Check(test.model->info()).ok());
        EXPECT_EQ(opened->record.prompt, broken.prompt);
        EXPECT_EQ(opened->record.rings,
                  long_prompt ? conv::Rings::kNone : plan.rings);
        // Another number of threads.
        ThreadPool pool(3);
        conv::PlanOptions threads;
        threads.threads = 3;
        const auto prepared =
            test.model
                ->Prepare(opened->ToPrepareOptions(threads).value(), pool,
                          nullptr)
                .value();
        const auto state = prepared->NewState(pool).value();
        const Status loaded = opened->Load(*state);
        ASSERT_TRUE(loaded.ok()) << loaded.message();
        const auto generator = Generator::Create(*test.model, *state, nullptr,
                                                 opened->record.options)
                                   .value();
        const auto sample = generator->Resume(broken.prompt.size(),
                                              opened->record.sampled, 0, {});
        ASSERT_TRUE(sample.ok()) << sample.status().message();
        EXPECT_EQ(sample->tokens, broken.whole.tokens);
        EXPECT_EQ(sample->logprobs, broken.whole.logprobs);
      }
    }
  }
}

// Known tokens in pieces, each finding fewer positions to follow than the one
// before, and more of them than steps.
TEST(SessionTest, SavedBetweenKnownTokens) {
  const TestModel test(SmallConfig());
  ThreadPool pool(1);
  const auto tokens = RandomTokens(120, 12, 4);
  const auto prepared = Prepare(test, 200, 60, {}, pool);
  const auto state = prepared->NewState(pool).value();
  for (const size_t first : {0, 30, 60}) {
    ASSERT_TRUE(state->Prefill(std::span(tokens.data() + first, 30), {}).ok());
  }
  io::ScratchFolder folder;
  SessionRecord record = MakeSessionRecord(
      *test.model, *prepared, {tokens.begin(), tokens.begin() + 90});
  record.sampled.logits.resize(16);
  ASSERT_TRUE(SaveSession(folder / "s", record, *state).ok());
  auto opened = OpenSession(folder / "s");
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const auto again = prepared->NewState(pool).value();
  const Status loaded = opened->Load(*again);
  ASSERT_TRUE(loaded.ok()) << loaded.message();
  std::vector<float> want(16), got(16);
  const std::span<const int32_t> last(tokens.data() + 90, 30);
  ASSERT_TRUE(state->Prefill(last, {.last_logits = want.data()}).ok());
  ASSERT_TRUE(again->Prefill(last, {.last_logits = got.data()}).ok());
  EXPECT_EQ(got, want);
  state->BeginSteps();
  again->BeginSteps();
  state->Step(1, want.data());
  again->Step(1, got.data());
  EXPECT_EQ(got, want);
}

TEST(SessionTest, AFileCutShortAnywhereIsRefused) {
  HyenaConfig config = SmallConfig();
  config.width = 3;
  config.inner = 3;
  config.layers = 1;
  const TestModel test(config);
  io::ScratchFolder folder;
  SaveHalf(test, {.method = conv::Method::kLazy}, true, 20, folder / "whole");
  const std::string whole = io::ReadFile(folder / "whole", 1 << 24).value();
  ASSERT_TRUE(OpenSession(folder / "whole").ok());
  for (size_t n = 0; n < whole.size(); ++n) {
    // Cut in place: a thousandth of the time of writing each anew.
    std::filesystem::resize_file(folder / "whole", whole.size() - 1 - n);
    const auto opened = OpenSession(folder / "whole");
    ASSERT_FALSE(opened.ok()) << whole.size() - 1 - n << " bytes";
    ASSERT_EQ(opened.status().message().find('\n'), std::string::npos);
  }
}

TEST(SessionTest, WhatDoesNotFitIsNamed) {
  const TestModel test(SmallConfig()), other(SmallConfig(), 2);
  EXPECT_NE(test.model->info().hash, other.model->info().hash);
  EXPECT_EQ(test.model->info().hash,
            TestModel(SmallConfig()).model->info().hash);
  io::ScratchFolder folder;
  SaveHalf(test, {}, true, 20, folder / "s");
  auto opened = OpenSession(folder / "s").value();
  const Status model = opened.Check(other.model->info());
  EXPECT_NE(model.message().find("was saved with the model test ("),
            std::string::npos)
      << model.message();
  ModelInfo bf16 = test.model->info();
  bf16.weight_format = "bf16";
  EXPECT_NE(opened.Check(bf16).message().find("--weights f32, expected bf16"),
            std::string::npos);
  // A state of another preparation.
  ThreadPool pool(1);
  const auto state = Prepare(test, 250, 250, {}, pool)->NewState(pool).value();
  EXPECT_FALSE(opened.Load(*state).ok());
  // More tokens than the session has room for.
  auto again = OpenSession(folder / "s").value();
  const auto prepared =
      test.model->Prepare(again.ToPrepareOptions({}).value(), pool, nullptr)
          .value();
  const auto fitting = prepared->NewState(pool).value();
  ASSERT_TRUE(again.Load(*fitting).ok());
  const auto generator =
      Generator::Create(*test.model, *fitting, nullptr, Wanted(151)).value();
  const auto more = generator->Resume(100, again.record.sampled, 0, {});
  EXPECT_NE(more.status().message().find("room for 150"), std::string::npos)
      << more.status().message();
}

}  // namespace
}  // namespace lcsm
