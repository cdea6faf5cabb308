// Layer by layer over known tokens, against the float64 oracle and against
// steps: any cut into calls, whatever is kept or made again, and what may
// follow.
#include "models/hyena_prefill.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/cpu_info.h"
#include "models/test_model.h"

namespace lcsm {
namespace {

using Request = ModelState::PrefillRequest;

TEST(HyenaPrefillTest, AwkwardShapesAgainstTheOracle) {
  const std::vector<HyenaConfig> configs = AwkwardConfigs();
  for (size_t i = 0; i < configs.size(); ++i) {
    SCOPED_TRACE(fmt::format("config {}", i));
    const TestModel test(configs[i], i + 1);
    const size_t length = std::min<size_t>(150, configs[i].max_length);
    const size_t vocab = configs[i].padded_vocab;
    const std::vector<int32_t> tokens =
        RandomTokens(length, configs[i].vocab, 5);
    const std::vector<double> want =
        ReferenceLogits(test.config, test.tensors, tokens);
    for (const bool kept : {true, false}) {
      ThreadPool pool(kept ? 2 : 3);
      const auto state = StateWithLimits(
          test, length, kept ? HyenaPrefillLimits() : kNothingKept, pool);
      for (const size_t chunk : {length, size_t{1}, size_t{37}}) {
        if (chunk == 1 && length > 20 && i != 1) continue;
        SCOPED_TRACE(fmt::format("kept {} pieces of {}", kept, chunk));
        state->Reset();
        const std::vector<float> logits =
            RunTokens(*state, vocab, tokens, chunk);
        ExpectNear(logits, want);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(HyenaPrefillTest, EverySimdTarget) {
  HyenaConfig config = SmallConfig();
  config.order = 3;
  const TestModel test(config);
  const std::vector<int32_t> tokens = RandomTokens(200, 12, 6);
  const std::vector<double> want =
      ReferenceLogits(test.config, test.tensors, tokens);
  for (const std::string& target : SupportedSimdTargets()) {
    SCOPED_TRACE(target);
    ASSERT_TRUE(ForceSimdTarget(target).ok());
    ThreadPool pool(2);
    const auto state = NewState(test, 200, 0, pool);
    ExpectNear(RunTokens(*state, 16, tokens, 200), want);
  }
  ASSERT_TRUE(ForceSimdTarget("best").ok());
}

// In every bit: threads, the state's earlier use, and whether gates are kept.
TEST(HyenaPrefillTest, TheSameBitsOnAnyNumberOfThreads) {
  HyenaConfig config = SmallConfig();
  config.width = 80;
  config.inner = 320;
  config.order = 3;
  config.fir_taps = 4;
  const TestModel test(config);
  const std::vector<int32_t> tokens = RandomTokens(290, 12, 7);
  std::vector<float> want;
  for (const size_t threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    for (const size_t gate_bytes : {size_t{0}, size_t{1} << 30}) {
      const auto state =
          StateWithLimits(test, 290, {.gate_bytes = gate_bytes}, pool);
      for (const size_t before : {0, 290, 31}) {
        // What another sequence left must not matter.
        state->Reset();
        RunTokens(*state, 16, RandomTokens(before, 12, 8), 290);
        state->Reset();
        const std::vector<float> got = RunTokens(*state, 16, tokens, 290);
        if (want.empty()) want = got;
        ASSERT_EQ(got, want) << threads << " threads, gates of " << gate_bytes
                             << " bytes, after " << before;
      }
    }
  }
}

// Nor does a longer horizon matter, or what it makes one keep.
TEST(HyenaPrefillTest, TheSameBitsWhateverItIsPreparedFor) {
  HyenaConfig config = SmallConfig();
  config.max_length = 5000;
  const TestModel test(config);
  for (const size_t length : {1, 5, 100, 300, 1000}) {
    const std::vector<int32_t> tokens = RandomTokens(length, 12, 7);
    std::vector<float> want;
    for (const size_t longer : {0, 1, 50, 700, 4000}) {
      for (const HyenaPrefillLimits& limits :
           {HyenaPrefillLimits(), kNothingKept}) {
        ThreadPool pool(1);
        const auto state = StateWithLimits(test, length + longer, limits, pool);
        std::vector<float> got;
        ASSERT_TRUE(
            state
                ->Prefill(tokens, {.on_logits =
                                       [&](size_t, std::span<const float> v) {
                                         got.insert(got.end(), v.begin(),
                                                    v.end());
                                         return OkStatus();
                                       },
                                   .following = 0})
                .ok());
        if (want.empty()) want = got;
        ASSERT_EQ(got, want) << length << " of " << length + longer;
      }
    }
  }
}

// Prefill, then steps: the logits of decode alone, whatever the plan.
TEST(HyenaPrefillTest, StepsGoOnBehindIt) {
  HyenaConfig config = SmallConfig();
  config.order = 3;
  const TestModel test(config);
  const std::vector<int32_t> tokens = RandomTokens(300, 12, 9);
  const std::vector<double> want =
      ReferenceLogits(test.config, test.tensors, tokens);
  conv::PlanOptions flat;
  flat.method = conv::Method::kPlanned;
  flat.latency = conv::Latency::kFlat;
  std::vector<conv::PlanOptions> plans = {{},
                                          {.method = conv::Method::kLazy},
                                          {.method = conv::Method::kEager},
                                          {.method = conv::Method::kPlanned},
                                          {.method = conv::Method::kFutureFill},
                                          {.method = conv::Method::kGardner},
                                          flat};
  for (const conv::PlanOptions& plan : plans) {
    for (const size_t known : {1, 2, 99, 200, 299}) {
      SCOPED_TRACE(fmt::format("{} after {}", conv::Name(plan.method), known));
      ThreadPool pool(2);
      const auto state = NewState(test, 300, 300 - known, pool, plan);
      for (const bool in_pieces : {false, true}) {
        state->Reset();
        EXPECT_EQ(state->horizon(), 300u);
        std::vector<float> logits(16);
        const std::span<const int32_t> prompt(tokens.data(), known);
        const size_t piece = in_pieces ? known / 2 : known;
        ASSERT_TRUE(state->Prefill(prompt.first(piece), {}).ok());
        if (piece != 0 && piece < known) {
          EXPECT_EQ(state->StepRoom(), 0u);
        }
        ASSERT_TRUE(
            state
                ->Prefill(prompt.subspan(piece), {.last_logits = logits.data()})
                .ok());
        ASSERT_EQ(state->StepRoom(), 300 - known);
        std::vector<float> all;
        for (size_t t = known; t < tokens.size(); ++t) {
          state->Step(tokens[t], logits.data());
          all.insert(all.end(), logits.begin(), logits.end());
        }
        EXPECT_EQ(state->StepRoom(), 0u);
        ExpectNear(all, {want.begin() + static_cast<ptrdiff_t>(known * 16),
                         want.end()});
        if (HasFatalFailure()) return;
      }
    }
  }
}

// Once steps have begun, known tokens go through the convolution too.
TEST(HyenaPrefillTest, KnownTokensBetweenSteps) {
  const TestModel test(SmallConfig());
  const std::vector<int32_t> tokens = RandomTokens(300, 12, 9);
  const std::vector<double> want =
      ReferenceLogits(test.config, test.tensors, tokens);
  ThreadPool pool(1);
  const auto state = NewState(test, 300, 150, pool);
  const std::span<const int32_t> all(tokens);
  std::vector<float> logits(16);
  ASSERT_TRUE(state->Prefill(all.first(150), {}).ok());
  for (size_t t = 150; t < 170; ++t) state->Step(tokens[t], logits.data());
  ASSERT_TRUE(
      state->Prefill(all.subspan(170, 100), {.last_logits = logits.data()})
          .ok());
  ExpectNear(logits, {want.begin() + 269 * 16, want.begin() + 270 * 16});
  EXPECT_EQ(state->StepRoom(), 30u);
  const Status status = state->Prefill(RandomTokens(31, 12, 1), {});
  EXPECT_NE(status.message().find("31 tokens do not fit into the 30 positions"),
            std::string::npos)
      << status.message();
}

// The less may follow, the less is refused later.
TEST(HyenaPrefillTest, WhatMayFollow) {
  const TestModel test(SmallConfig());
  const std::vector<int32_t> tokens = RandomTokens(200, 12, 9);
  const std::vector<double> want =
      ReferenceLogits(test.config, test.tensors, tokens);
  const std::span<const int32_t> all(tokens);
  ThreadPool pool(2);
  const auto state = NewState(test, 300, 0, pool);
  std::vector<float> logits(16);
  ASSERT_TRUE(state->Prefill(all.first(100), {.following = 100}).ok());
  EXPECT_EQ(state->horizon(), 200u);
  EXPECT_EQ(state->StepRoom(), 0u);
  EXPECT_FALSE(state->Prefill(RandomTokens(101, 12, 1), {}).ok());
  EXPECT_EQ(state->position(), 100u);
  ASSERT_TRUE(
      state->Prefill(all.subspan(100), {.last_logits = logits.data()}).ok());
  ExpectNear(logits, {want.end() - 16, want.end()});
  EXPECT_FALSE(state->Prefill(RandomTokens(1, 12, 1), {}).ok());
  state->Reset();
  EXPECT_EQ(state->horizon(), 300u);
  ASSERT_TRUE(state->Prefill({}, {}).ok());
  EXPECT_EQ(state->position(), 0u);
}

TEST(HyenaPrefillTest, ForksGoTheirOwnWays) {
  HyenaConfig config = SmallConfig();
  config.order = 3;
  const TestModel test(config);
  std::vector<int32_t> a = RandomTokens(220, 12, 9), b = a;
  for (size_t t = 120; t < b.size(); ++t) b[t] = (b[t] + 1) % 12;
  const std::vector<double> want_a =
      ReferenceLogits(test.config, test.tensors, a);
  const std::vector<double> want_b =
      ReferenceLogits(test.config, test.tensors, b);
  conv::PlanOptions flat;
  flat.method = conv::Method::kPlanned;
  flat.latency = conv::Latency::kFlat;
  for (const conv::PlanOptions& plan :
       {conv::PlanOptions{}, {.method = conv::Method::kEager}, flat}) {
    for (const size_t steps : {0, 100, 110, 220}) {
      SCOPED_TRACE(fmt::format("{} steps {}", conv::Name(plan.method), steps));
      ThreadPool pool(2);
      const auto state = NewState(test, 220, steps, pool, plan);
      const std::span<const int32_t> tokens(a);
      std::vector<float> logits(16);
      // Before the fork: known tokens, and steps where there can be any.
      const size_t known = steps == 110 ? 110 : 120;
      ASSERT_TRUE(state->Prefill(tokens.first(known), {}).ok());
      for (size_t t = known; t < 120; ++t) state->Step(a[t], logits.data());
      const auto fork = state->Fork().value();
      EXPECT_EQ(fork->position(), 120u);
      EXPECT_EQ(fork->StepRoom(), state->StepRoom());
      const auto finish = [&](ModelState& s, const std::vector<int32_t>& rest,
                              const std::vector<double>& want) {
        const std::span<const int32_t> all(rest);
        if (steps == 0) {
          ASSERT_TRUE(
              s.Prefill(all.subspan(120), {.last_logits = logits.data()}).ok());
        } else {
          for (size_t t = 120; t < rest.size(); ++t) {
            s.Step(rest[t], logits.data());
          }
        }
        ExpectNear(logits, {want.end() - 16, want.end()});
      };
      finish(*fork, b, want_b);
      finish(*state, a, want_a);
      if (HasFatalFailure()) return;
    }
  }
}

// The activations that are handed out, against the online path, which hands
// out the residual stream as it stands.
TEST(HyenaPrefillTest, ActivationsOfEveryLayer) {
  const TestModel test(SmallConfig());
  const std::vector<int32_t> tokens = RandomTokens(290, 12, 9);
  ThreadPool pool(2);
  for (const size_t layer :
       {size_t{0}, size_t{1}, size_t{2}, Request::kFinalNorm}) {
    std::vector<std::vector<float>> runs;
    for (const size_t steps : {0, 290}) {
      const auto state = NewState(test, 290, steps, pool);
      std::vector<float> rows;
      Request request;
      request.hidden_layer = layer;
      request.following = 0;
      request.on_hidden = [&](size_t position, std::span<const float> more) {
        EXPECT_EQ(position * 20, rows.size());
        rows.insert(rows.end(), more.begin(), more.end());
        return OkStatus();
      };
      ASSERT_TRUE(state->Prefill(tokens, request).ok());
      EXPECT_EQ(state->position(), 290u);
      ASSERT_EQ(rows.size(), 290u * 20);
      runs.push_back(std::move(rows));
    }
    for (size_t i = 0; i < runs[0].size(); ++i) {
      ASSERT_NEAR(runs[0][i], runs[1][i], 1e-4) << layer << " at " << i;
    }
  }
}

TEST(HyenaPrefillTest, SinksAndUsersMayStopIt) {
  const TestModel test(SmallConfig());
  const std::vector<int32_t> tokens = RandomTokens(290, 12, 9);
  ThreadPool pool(2);
  const auto state = NewState(test, 300, 0, pool);
  EXPECT_EQ(
      state->Prefill(tokens, {.progress = [](double) { return false; }}).code(),
      StatusCode::kCancelled);
  state->Reset();
  const Status full =
      state->Prefill(tokens, {.on_logits = [](size_t, std::span<const float>) {
                       return ResourceExhausted("disk full");
                     }});
  EXPECT_EQ(full.message(), "disk full");
  state->Reset();
  double last = 0;
  ASSERT_TRUE(state
                  ->Prefill(tokens, {.progress =
                                         [&](double done) {
                                           EXPECT_GE(done, last);
                                           last = done;
                                           return true;
                                         }})
                  .ok());
  EXPECT_LE(last, 1 + 1e-9);
  EXPECT_GT(last, 0.95);
  EXPECT_GT(state->times().mixers, 0);
  EXPECT_GT(state->times().blocks, 0);
}

TEST(HyenaPrefillTest, MemoryIsForetold) {
  HyenaConfig config = SmallConfig();
  config.width = 256;
  config.inner = 512;
  config.max_length = 60000;
  const TestModel test(config);
  for (const size_t limit : {size_t{0}, size_t{700} << 20}) {
    const PrepareOptions options = {
        .horizon = 60000, .steps = 0, .plan = {}, .memory_limit = limit};
    const ModelMemory memory = test.model->EstimateMemory(options, 2).value();
    EXPECT_GT(memory.prefill, 2u * 60000 * 256 * 4);
    if (limit != 0) {
      EXPECT_LE(memory.Total(), limit);
    }
  }
  EXPECT_FALSE(test.model
                   ->EstimateMemory({.horizon = 60000,
                                     .steps = 0,
                                     .plan = {},
                                     .memory_limit = size_t{50} << 20},
                                    2)
                   .ok());
}

}  // namespace
}  // namespace lcsm
