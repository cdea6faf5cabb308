// Whole models of awkward shapes against the float64 oracle, and the promises
// of design 6: prefill equals decode, bits do not depend on threads or on how a
// prompt is cut, steps do not allocate, memory is foretold.
#include "models/hyena_model.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "base/cpu_info.h"
#include "models/hyena_reference.h"
#include "models/test_model.h"

namespace lcsm {
namespace {

TEST(HyenaModelTest, AwkwardShapesAgainstTheOracle) {
  const std::vector<HyenaConfig> configs = AwkwardConfigs();
  for (size_t i = 0; i < configs.size(); ++i) {
    SCOPED_TRACE(fmt::format("config {}", i));
    const TestModel test(configs[i], i + 1);
    const size_t length = std::min<size_t>(150, configs[i].max_length);
    const std::vector<int32_t> tokens =
        RandomTokens(length, configs[i].vocab, 5);
    const std::vector<double> want =
        ReferenceLogits(test.config, test.tensors, tokens);
    ThreadPool pool(1);
    const auto state = test.NewState(pool, length);
    const std::vector<float> steps =
        RunTokens(*state, configs[i].padded_vocab, tokens, 0);
    ExpectNear(steps, want);
    state->Reset();
    EXPECT_EQ(RunTokens(*state, configs[i].padded_vocab, tokens, length),
              steps);
  }
}

TEST(HyenaModelTest, EverySimdTarget) {
  HyenaConfig config = SmallConfig();
  config.order = 3;
  const TestModel test(config);
  const std::vector<int32_t> tokens = RandomTokens(140, 12, 6);
  const std::vector<double> want =
      ReferenceLogits(test.config, test.tensors, tokens);
  for (const std::string& target : SupportedSimdTargets()) {
    SCOPED_TRACE(target);
    ASSERT_TRUE(ForceSimdTarget(target).ok());
    ThreadPool pool(1);
    const auto state = test.NewState(pool, 140);
    const std::vector<float> steps = RunTokens(*state, 16, tokens, 0);
    ExpectNear(steps, want);
    state->Reset();
    EXPECT_EQ(RunTokens(*state, 16, tokens, 140), steps);
  }
  ASSERT_TRUE(ForceSimdTarget("best").ok());
}

// In every bit: threads, prefill against decode, the cutting of a prompt, and a
// mixture of prefill and steps.
TEST(HyenaModelTest, TheSameBitsHoweverItIsRun) {
  HyenaConfig config = SmallConfig();
  // Large enough that threads get their share.
  config.width = 80;
  config.inner = 320;
  config.order = 3;
  const TestModel test(config);
  const std::vector<int32_t> tokens = RandomTokens(290, 12, 7);
  for (conv::Schedule schedule :
       {conv::Schedule::kPerLayer, conv::Schedule::kAcrossLayers}) {
    std::vector<float> want;
    for (size_t threads : {1, 2, 3}) {
      ThreadPool pool(threads);
      const auto state = test.NewState(pool, 290, {.schedule = schedule});
      if (want.empty()) want = RunTokens(*state, 16, tokens, 0);
      for (size_t chunk : {0, 1, 37, 128, 290}) {
        state->Reset();
        ASSERT_EQ(RunTokens(*state, 16, tokens, chunk), want)
            << threads << " threads, pieces of " << chunk;
      }
      state->Reset();
      std::vector<float> logits(16);
      ASSERT_TRUE(state->Prefill(std::span(tokens).first(131), {}).ok());
      EXPECT_EQ(state->position(), 131u);
      for (size_t t = 131; t < tokens.size(); ++t) {
        state->Step(tokens[t], logits.data());
        ASSERT_TRUE(std::equal(logits.begin(), logits.end(),
                               want.begin() + static_cast<long>(t * 16)));
      }
    }
  }
}

// A shorter horizon is a prefix of the same model.
TEST(HyenaModelTest, HorizonDoesNotChangeTheModel) {
  const TestModel test(SmallConfig());
  const std::vector<int32_t> tokens = RandomTokens(60, 12, 8);
  const std::vector<double> want =
      ReferenceLogits(test.config, test.tensors, tokens);
  ThreadPool pool(1);
  for (size_t horizon : {60, 61, 128, 300}) {
    const auto state = test.NewState(pool, horizon);
    EXPECT_EQ(state->horizon(), horizon);
    ExpectNear(RunTokens(*state, 16, tokens, 0), want);
  }
  EXPECT_EQ(test.NewState(pool, 0)->horizon(), 300u);
}

TEST(HyenaModelTest, SkippedMixersKeepThePosition) {
  const TestModel test(SmallConfig());
  ThreadPool pool(1);
  const auto state = test.NewState(pool, 20);
  std::vector<float> logits(16);
  state->SkipMixers(true);
  for (int i = 0; i < 5; ++i) state->Step(7, logits.data());
  state->SkipMixers(false);
  state->Step(7, logits.data());
  EXPECT_EQ(state->position(), 6u);
  for (float v : logits) EXPECT_TRUE(std::isfinite(v));
}

// For benchmarks: at any position at once, and back as if nothing had been.
TEST(HyenaModelTest, GoesOnFromAMadeUpPast) {
  const TestModel test(SmallConfig());
  ThreadPool pool(1);
  const auto state = test.NewState(pool, 100);
  const std::vector<int32_t> tokens = RandomTokens(100, 12, 9);
  const std::vector<float> want = RunTokens(*state, 16, tokens, 0);
  std::vector<float> logits(16);
  ASSERT_TRUE(state->Pretend(99).ok());
  for (const size_t position : {99, 0, 63}) {
    state->MoveTo(position);
    EXPECT_EQ(state->position(), position);
    EXPECT_EQ(state->StepRoom(), 100 - position);
    while (state->StepRoom() > 0) {
      state->Step(3, logits.data());
      for (const float v : logits) ASSERT_TRUE(std::isfinite(v));
    }
  }
  state->Reset();
  EXPECT_EQ(RunTokens(*state, 16, tokens, 0), want);
}

TEST(HyenaModelTest, TimesAddUp) {
  const TestModel test(SmallConfig());
  ThreadPool pool(1);
  const auto state = test.NewState(pool, 200);
  RunTokens(*state, 16, RandomTokens(200, 12, 1), 0);
  EXPECT_GT(state->times().mixers, 0);
  EXPECT_GT(state->times().blocks, 0);
  EXPECT_GT(state->times().head, 0);
  state->Reset();
  EXPECT_EQ(state->times().blocks, 0);
}

TEST(HyenaModelTest, BadInput) {
  const TestModel test(SmallConfig());
  ThreadPool pool(1);
  const auto too_long =
      test.model->Prepare({.horizon = 301, .plan = {}}, pool, nullptr);
  ASSERT_FALSE(too_long.ok());
  EXPECT_NE(too_long.status().message().find("301"), std::string::npos);
  const auto state = test.NewState(pool, 10);
  EXPECT_FALSE(state->Prefill(std::vector<int32_t>{7, 16}, {}).ok());
  EXPECT_FALSE(state->Prefill(std::vector<int32_t>{-1}, {}).ok());
  EXPECT_FALSE(state->Prefill(std::vector<int32_t>(11, 7), {}).ok());
  EXPECT_EQ(state->position(), 0u);
  // Stopped half way.
  const Status stopped = state->Prefill(
      std::vector<int32_t>(10, 7), {.progress = [](double) { return false; }});
  EXPECT_EQ(stopped.code(), StatusCode::kCancelled);
  const auto cancelled = test.model->Prepare({.horizon = 10, .plan = {}}, pool,
                                             [](double) { return false; });
  EXPECT_EQ(cancelled.status().code(), StatusCode::kCancelled);
}

// The matrices are rounded beforehand to what each format holds exactly: then
// a model in fewer bits must answer as the float64 model of these tensors does,
// which it does only if every matrix is the right one in the right place.
TEST(HyenaModelTest, FewerBitsAgainstTheOracle) {
  HyenaConfig config = SmallConfig();
  config.order = 3;
  config.width = 35;
  for (const WeightFormat format : {WeightFormat::kBf16, WeightFormat::kInt8}) {
    SCOPED_TRACE(Name(format));
    TestModel test(config);
    const size_t exact_bytes = test.model->info().weight_bytes;
    size_t saved = 0, step_bytes = 16 * config.width * sizeof(float);
    for (auto& [name, tensor] : test.tensors) {
      const auto ends = [&, &of = name](const char* what) {
        return of.ends_with(what);
      };
      if (!ends("in_proj.weight") && !ends("out_proj.weight") &&
          !ends("fc1.weight") && !ends("fc2.weight")) {
        continue;
      }
      const size_t rows = tensor.shape[0], in = tensor.shape[1];
      for (size_t r = 0; r < rows; ++r) {
        for (size_t k = 0; k < in; ++k) {
          float& w = tensor.values[r * in + k];
          // Multiples of a power of two, with 127 of them in each row.
          const float steps = std::clamp(std::round(w * 256), -127.0f, 127.0f);
          w = (k == r % in ? 127 : steps) / 256;
        }
      }
      const size_t bytes = PackedMatrix::Bytes(format, in, rows);
      saved += tensor.values.size() * sizeof(float) - bytes;
      step_bytes += bytes;
    }
    test.Bind(format);
    const ModelInfo& info = test.model->info();
    EXPECT_EQ(info.weight_format, Name(format));
    EXPECT_EQ(info.weight_bytes, exact_bytes - saved);
    EXPECT_EQ(info.step_bytes, step_bytes);
    const std::vector<int32_t> tokens = RandomTokens(150, config.vocab, 9);
    const std::vector<double> want =
        ReferenceLogits(config, test.tensors, tokens);
    ThreadPool pool(2);
    const auto state = test.NewState(pool, tokens.size());
    const std::vector<float> stepped =
        RunTokens(*state, config.padded_vocab, tokens, 0);
    ExpectNear(stepped, want);
    for (const size_t chunk : {7, 150}) {
      state->Reset();
      EXPECT_EQ(RunTokens(*state, config.padded_vocab, tokens, chunk), stepped)
          << "prefill gives the bits of decoding";
    }
    ThreadPool alone(1);
    const auto other = test.NewState(alone, tokens.size());
    EXPECT_EQ(RunTokens(*other, config.padded_vocab, tokens, 0), stepped);
  }
}

TEST(HyenaModelTest, MemoryIsForetold) {
  const auto model = MakeSyntheticModel("hyenadna-small-32k", 1);
  ASSERT_TRUE(model.ok()) << model.status().message();
  const PrepareOptions options = {.horizon = 16384, .plan = {}};
  ThreadPool pool(2);
  const auto memory = (*model)->EstimateMemory(options, 2);
  ASSERT_TRUE(memory.ok());
  // 3.3 M weights; all taps at first, then histories, of 4 layers x 256
  // channels.
  EXPECT_GT(memory->weights, 13'000'000u);
  EXPECT_LT(memory->weights, 16'000'000u);
  EXPECT_GE(memory->convolution.bank, size_t{4} * 256 * 16384 * 4);
  EXPECT_GE(memory->convolution.histories, size_t{4} * 256 * 8192 * 4);
#if defined(LCSM_SANITIZED)
  GTEST_SKIP() << "sanitizers need memory of their own";
#endif
  const size_t before = PeakRssBytes();
  const auto prepared = (*model)->Prepare(options, pool, nullptr);
  ASSERT_TRUE(prepared.ok());
  const auto state = (*prepared)->NewState(pool);
  ASSERT_TRUE(state.ok());
  const std::vector<int32_t> tokens = RandomTokens(16384, 12, 3);
  ASSERT_TRUE((*state)->Prefill(tokens, {}).ok());
  // The peak of this process has seen other tests before, so this bounds what
  // came on top of it from one side only.
  const double grown = static_cast<double>(PeakRssBytes() - before);
  EXPECT_LT(grown, 64e6 + 1.15 * static_cast<double>(memory->Total() -
                                                     memory->weights));
}

TEST(HyenaSyntheticTest, PublishedParameterCounts) {
  const std::pair<const char*, double> counts[] = {
      {"hyenadna-tiny-1k", 0.436e6},  {"hyenadna-tiny-1k-d256", 1.64e6},
      {"hyenadna-small-32k", 3.28e6}, {"hyenadna-medium-160k", 6.55e6},
      {"hyena-150m", 152.5e6},  // 153.7 M less 1.2 M of trained positions.
  };
  for (const auto& [shape, count] : counts) {
    const auto model = MakeSyntheticModel(shape, 1);
    ASSERT_TRUE(model.ok()) << shape;
    EXPECT_NEAR(static_cast<double>((*model)->info().parameters), count,
                0.005 * count)
        << shape;
  }
  const auto unknown = MakeSyntheticModel("hyena-2t", 1);
  ASSERT_FALSE(unknown.ok());
  EXPECT_NE(unknown.status().message().find("hyenadna-large-1m"),
            std::string::npos);
}

}  // namespace
}  // namespace lcsm
