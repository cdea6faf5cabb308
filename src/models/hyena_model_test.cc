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
#include "models/hyena_synthetic.h"

namespace lcsm {
namespace {

HyenaConfig SmallConfig() {
  HyenaConfig config;
  config.vocab = 12;
  config.padded_vocab = 16;
  config.width = 20;
  config.inner = 33;
  config.layers = 2;
  config.max_length = 300;
  config.filter_width = 9;
  config.shift = 0.05;
  return config;
}

std::vector<int32_t> RandomTokens(size_t n, size_t vocab, uint32_t seed) {
  std::mt19937 rng(seed);
  std::vector<int32_t> tokens(n);
  for (int32_t& t : tokens) t = static_cast<int32_t>(rng() % vocab);
  return tokens;
}

// A model and the tensors it is made of.
struct TestModel {
  HyenaConfig config;
  TestTensors tensors;
  std::shared_ptr<const Model> model;

  explicit TestModel(const HyenaConfig& c, uint64_t seed = 1)
      : config(c), tensors(RandomTensors(c, seed)) {
    Bind(WeightFormat::kFloat32);
  }

  void Bind(WeightFormat format) {
    auto weights = HyenaWeights::Bind(config, MakeMapSource(&tensors), format);
    ASSERT_TRUE(weights.ok()) << weights.status().message();
    model = std::make_shared<HyenaModel>(*weights, "test");
  }

  std::unique_ptr<ModelState> NewState(ThreadPool& pool, size_t horizon,
                                       conv::PlanOptions plan = {}) const {
    auto prepared =
        model->Prepare({.horizon = horizon, .plan = plan}, pool, nullptr);
    EXPECT_TRUE(prepared.ok()) << prepared.status().message();
    auto state = (*prepared)->NewState(pool);
    EXPECT_TRUE(state.ok()) << state.status().message();
    return std::move(*state);
  }
};

// Logits of all positions; the prompt is cut into pieces of `chunk` tokens, 0
// means steps.
std::vector<float> RunTokens(ModelState& state, size_t vocab,
                             const std::vector<int32_t>& tokens, size_t chunk) {
  std::vector<float> all;
  if (chunk == 0) {
    all.resize(tokens.size() * vocab);
    for (size_t t = 0; t < tokens.size(); ++t) {
      state.Step(tokens[t], all.data() + t * vocab);
    }
    return all;
  }
  for (size_t t = 0; t < tokens.size(); t += chunk) {
    const std::span<const int32_t> piece(tokens.data() + t,
                                         std::min(chunk, tokens.size() - t));
    std::vector<float> last(vocab);
    const Status status = state.Prefill(
        piece,
        {.last_logits = last.data(),
         .on_logits = [&](size_t position, std::span<const float> logits) {
           EXPECT_EQ(position * vocab, all.size());
           all.insert(all.end(), logits.begin(), logits.end());
           return OkStatus();
         }});
    EXPECT_TRUE(status.ok()) << status.message();
    EXPECT_TRUE(std::equal(last.begin(), last.end(), all.end() - vocab));
  }
  return all;
}

void ExpectNear(const std::vector<float>& got,
                const std::vector<double>& want) {
  ASSERT_EQ(got.size(), want.size());
  double scale = 1;
  for (double v : want) scale = std::max(scale, std::abs(v));
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], 2e-5 * scale) << "at " << i;
  }
}

TEST(HyenaModelTest, AwkwardShapesAgainstTheOracle) {
  std::vector<HyenaConfig> configs(12, SmallConfig());
  configs[1].order = 3;
  configs[2].order = 4;
  configs[2].layout = FilterLayout::kOrderFastest;
  configs[3].order = 3;
  configs[3].layout = FilterLayout::kOrderFastest;
  configs[3].width = 17;
  configs[4].width = 1;
  configs[4].inner = 1;
  configs[4].filter_width = 1;
  configs[5].width = 5;
  configs[5].fir_taps = 1;
  configs[5].features = 3;
  configs[6].fir_taps = 5;
  configs[6].modulate = false;
  configs[6].filter_inner_layers = 0;
  configs[7].normalized = true;
  configs[7].order = 3;
  configs[7].features = 9;
  configs[8].width = 67;
  configs[8].inner = 131;
  configs[8].vocab = 13;
  configs[8].padded_vocab = 13;
  configs[9].layers = 5;
  configs[9].filter_inner_layers = 3;
  configs[10].max_length = 2;
  configs[11].block_norm_eps = 1e-3;
  configs[11].final_norm_eps = 1e-2;
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
  EXPECT_GE(memory->convolution.making, size_t{4} * 256 * 16384 * 4);
  EXPECT_GE(memory->convolution.histories, size_t{4} * 256 * 16384 * 4);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
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
