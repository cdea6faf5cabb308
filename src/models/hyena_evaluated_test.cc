// Filters evaluated from their networks while the model runs: the logits of
// filters that are held, in every bit, and less memory.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/cpu_info.h"
#include "base/mapped_bytes.h"
#include "conv/tap_source.h"
#include "models/test_model.h"

namespace lcsm {
namespace {

// For 130 to 256 positions; `word` follows the levels that may have one.
conv::PlanOptions PlanWith(const std::string& word) {
  conv::PlanOptions plan;
  plan.levels = conv::ParseLevels(
                    "1x8 direct-blocked, 8x2 fft-fused, 16x2 "
                    "fft-fused " +
                        word + ", 32x4 fft-fused, 128 fft-fused " + word,
                    "plan")
                    .value();
  return plan;
}

TEST(HyenaEvaluatedTest, AnyRangeHasTheBitsOfTheBank) {
  for (const HyenaConfig& config : AwkwardConfigs()) {
    const size_t lags = config.max_length;
    const TestTensors tensors = RandomTensors(config, 3);
    const auto weights =
        HyenaWeights::Bind(config, MakeMapSource(&tensors)).value();
    const auto taps = MakeHyenaTaps(weights);
    for (const std::string& target : SupportedSimdTargets()) {
      ASSERT_TRUE(ForceSimdTarget(target).ok());
      ThreadPool pool(2);
      const auto bank = MakeHyenaFilters(*weights, lags, pool, nullptr).value();
      FloatBuffer scratch =
          FloatBuffer::Allocate(HyenaTapCost(config).scratch_floats, "scratch")
              .value();
      for (const size_t cut : {size_t{1}, size_t{47}, size_t{100}, lags}) {
        for (size_t m = 0; m < bank->mixers(); ++m) {
          conv::Problem one;
          one.channels = config.width;
          one.length = one.taps = lags;
          const auto got = conv::FilterBank::Create(one).value();
          for (size_t first = 0; first < lags; first += cut) {
            taps->Evaluate(m, first, std::min(cut, lags - first),
                           scratch.data(), *got);
          }
          taps->Rest(m, lags);
          for (size_t g = 0; g < bank->groups(); ++g) {
            ASSERT_EQ(std::memcmp(got->Group(0, g), bank->Group(m, g),
                                  lags * kLanes * sizeof(float)),
                      0)
                << target << " mixer " << m << " cut " << cut;
          }
        }
      }
    }
    ASSERT_TRUE(ForceSimdTarget("best").ok());
  }
}

TEST(HyenaEvaluatedTest, LogitsHaveTheBitsOfHeldTaps) {
  for (const HyenaConfig& config : AwkwardConfigs()) {
    if (config.max_length < 300) continue;
    const TestModel test(config);
    for (const size_t length : {131, 199}) {
      const auto tokens = RandomTokens(length, config.vocab, 5);
      for (const std::string& target : SupportedSimdTargets()) {
        ASSERT_TRUE(ForceSimdTarget(target).ok());
        const auto run = [&](const std::string& word, size_t threads,
                             size_t chunk) {
          ThreadPool pool(threads);
          const auto state = test.NewState(pool, length, PlanWith(word));
          return RunTokens(*state, config.padded_vocab, tokens, chunk);
        };
        const std::vector<float> want = run("", 1, 0);
        EXPECT_EQ(run("remade", 1, 0), want);
        EXPECT_EQ(run("evaluated", 1, 0), want);
        EXPECT_EQ(run("evaluated", 3, 0), want);
        EXPECT_EQ(run("evaluated", 3, 50), want);
        EXPECT_EQ(run("evaluated", 1, length), want);
        if (HasFailure()) return;
      }
    }
    ASSERT_TRUE(ForceSimdTarget("best").ok());
  }
}

// Known tokens by layers, then steps, with spectra for the former kept and not.
TEST(HyenaEvaluatedTest, StepsBehindAPromptHaveTheBitsOfHeldTaps) {
  HyenaConfig config = SmallConfig();
  config.order = 3;
  const TestModel test(config);
  const size_t known = 120, steps = 140;
  const auto tokens = RandomTokens(known + steps, config.vocab, 6);
  const auto run = [&](const std::string& word, size_t threads) {
    ThreadPool pool(threads);
    const auto state =
        NewState(test, known + steps, steps, pool, PlanWith(word));
    EXPECT_TRUE(
        state->Prefill(std::span<const int32_t>(tokens).first(known), {}).ok());
    state->BeginSteps();
    const std::vector<int32_t> rest(tokens.begin() + known, tokens.end());
    return RunTokens(*state, config.padded_vocab, rest, 0);
  };
  const std::vector<float> want = run("", 1);
  EXPECT_EQ(run("evaluated", 1), want);
  EXPECT_EQ(run("evaluated", 3), want);
}

// Of lags that nobody holds, too, it is said before the first token.
TEST(HyenaEvaluatedTest, FiltersThatAreNotFiniteAreRefusedBeforehand) {
  const HyenaConfig config = SmallConfig();
  TestModel test(config);
  std::vector<float> t(config.max_length);
  for (size_t n = 0; n < t.size(); ++n) t[n] = static_cast<float>(n) / 299.0f;
  const std::string name = "backbone.layers.1.mixer.filter_fn.pos_emb.t";
  ThreadPool pool(2);
  for (const bool broken : {false, true}) {
    if (broken) t[180] = NAN;
    test.tensors[name] = {{1, config.max_length, 1}, t};
    test.Bind(WeightFormat::kFloat32);
    for (const char* word : {"", "evaluated"}) {
      const auto prepared = test.model->Prepare(
          {.horizon = 200, .plan = PlanWith(word)}, pool, nullptr);
      ASSERT_EQ(prepared.ok(), !broken) << word;
      if (!broken) continue;
      EXPECT_NE(prepared.status().message().find("layer 1"), std::string::npos)
          << prepared.status().message();
    }
  }
}

TEST(HyenaEvaluatedTest, AMemoryLimitIsMetOrRefusedWithNumbers) {
  const auto model = MakeSyntheticModel("hyenadna-small-32k", 1).value();
  PrepareOptions options = {.horizon = 32768, .plan = {}};
  options.plan.method = conv::Method::kPlanned;
  options.plan.threads = 2;
  const auto free = model->EstimateMemory(options, 2).value();
  EXPECT_FALSE(conv::Evaluates(free.plan));
  // Taps of 4 layers x 256 channels take 134 MB, histories half of that.
  options.memory_limit = 160'000'000;
  const auto memory = model->EstimateMemory(options, 2);
  ASSERT_TRUE(memory.ok()) << memory.status().message();
  EXPECT_TRUE(conv::Evaluates(memory->plan)) << memory->plan.Print();
  EXPECT_LE(memory->Total(), options.memory_limit);
  EXPECT_LT(memory->convolution.making, size_t{100'000'000});
  options.memory_limit = 80'000'000;
  const auto refused = model->EstimateMemory(options, 2);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().message().find("32768 positions take at least"),
            std::string::npos)
      << refused.status().message();
#if defined(LCSM_SANITIZED)
  GTEST_SKIP() << "sanitizers need memory of their own";
#endif
  options.memory_limit = 160'000'000;
  ThreadPool pool(2);
  const size_t before = MappedBytes();
  const auto state =
      model->Prepare(options, pool, nullptr).value()->NewState(pool).value();
  const size_t grown = MappedBytes() - before;
  // Weights were there before; the rest that is no histories, spectra or taps
  // is counted for the most it may be.
  EXPECT_LE(grown, memory->Total() - memory->weights + 1'000'000);
  EXPECT_GE(grown, memory->convolution.Total() - 1'000'000);
}

}  // namespace
}  // namespace lcsm
