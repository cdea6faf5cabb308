// Small random models for tests, and ways to run them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "models/hyena_filter.h"
#include "models/hyena_model.h"
#include "models/hyena_reference.h"
#include "models/hyena_synthetic.h"

namespace lcsm {

inline HyenaConfig SmallConfig() {
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

inline std::vector<int32_t> RandomTokens(size_t n, size_t vocab,
                                         uint32_t seed) {
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

// A state with all `limits` can change.
inline std::unique_ptr<ModelState> StateWithLimits(
    const TestModel& test, size_t horizon, const HyenaPrefillLimits& limits,
    ThreadPool& pool) {
  HyenaState::Shared shared;
  shared.weights =
      HyenaWeights::Bind(test.config, MakeMapSource(&test.tensors)).value();
  shared.horizon = horizon;
  const size_t taps = HyenaPrefillShared::TapsFor(test.config, horizon, limits);
  const std::unique_ptr<conv::FilterBank> filters =
      taps != 0 ? MakeHyenaFilters(*shared.weights, taps, pool, nullptr).value()
                : nullptr;
  shared.prefill = HyenaPrefillShared::Create(*shared.weights, horizon, limits,
                                              filters.get(), pool)
                       .value();
  return HyenaState::Create(std::move(shared), pool).value();
}

inline std::unique_ptr<ModelState> NewState(
    const TestModel& test, size_t horizon, size_t steps, ThreadPool& pool,
    const conv::PlanOptions& plan = {}) {
  return test.model
      ->Prepare({.horizon = horizon, .steps = steps, .plan = plan}, pool,
                nullptr)
      .value()
      ->NewState(pool)
      .value();
}

inline constexpr HyenaPrefillLimits kNothingKept = {.spectra_bytes = 0,
                                                    .gate_bytes = 0};

// Logits of all positions; the prompt is cut into pieces of `chunk` tokens, 0
// means steps.
inline std::vector<float> RunTokens(ModelState& state, size_t vocab,
                                    const std::vector<int32_t>& tokens,
                                    size_t chunk) {
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

inline void ExpectNear(const std::vector<float>& got,
                       const std::vector<double>& want) {
  ASSERT_EQ(got.size(), want.size());
  double scale = 1;
  for (double v : want) scale = std::max(scale, std::abs(v));
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], 2e-5 * scale) << "at " << i;
  }
}

inline std::vector<HyenaConfig> AwkwardConfigs() {
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
  return configs;
}

}  // namespace lcsm
