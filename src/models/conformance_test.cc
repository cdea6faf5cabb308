// The conformance vector of model-formats 1.8: a model made of sines, with
// values of the original code in float64.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "models/hyena_filter.h"
#include "models/hyena_model.h"
#include "models/hyena_reference.h"

namespace lcsm {
namespace {

constexpr size_t kVocab = 16;

struct Case {
  double shift;
  double filter[3][4];  // Layer 0, lags 0 to 2.
  double first[5];      // Logits 7..11 at position 0.
  double last[kVocab];  // All logits at position 7.
};

const Case kCases[] = {
    {0.05,
     {{-0.10463464, 0.48776464, 0.1572697, -0.47079354},
      {-0.3053056, -0.37358626, 0.15290746, 0.2411068},
      {0.13302478, -0.0658937, -0.05530527, 0.02323595}},
     {0.5421348, -0.1878681, -0.7181735, -0.4850844, 0.2636332},
     {-0.3987491, -0.0582091, 0.3442052, 0.3807409, 0.0125616, -0.3689702,
      -0.3582990, 0.0332321, 0.3894386, 0.3316849, -0.0786388, -0.4053720,
      -0.3012083, 0.1231298, 0.4165851, 0.2672243}},
    {0.0,
     {{-0.09965204, 0.46453775, 0.14978067, -0.4483748},
      {-0.2876561, -0.34571862, 0.13826518, 0.2116591},
      {0.1237104, -0.05831546, -0.04517311, 0.01675107}},
     {0.5425839, -0.1871467, -0.7179466, -0.4855933, 0.2629295},
     {-0.3988086, -0.0586754, 0.3438277, 0.3808535, 0.0130447, -0.3686302,
      -0.3584634, 0.0327380, 0.3891400, 0.3318992, -0.0781394, -0.4051184,
      -0.3014701, 0.1226309, 0.4163793, 0.2675304}},
};

const std::vector<int32_t> kTokens = {7, 8, 9, 10, 11, 7, 8, 9};
const std::vector<size_t> kArgmax = {7, 7, 8, 10, 10, 7, 7, 8};

HyenaConfig Config(double shift) {
  HyenaConfig config;
  config.vocab = 12;
  config.padded_vocab = kVocab;
  config.width = 4;
  config.inner = 8;
  config.layers = 2;
  config.max_length = 16;
  config.features = 5;
  config.filter_width = 6;
  config.shift = shift;
  return config;
}

TestTensors SineTensors() {
  TestTensors tensors;
  size_t q = 0;
  const auto add = [&](const std::string& name, std::vector<size_t> shape) {
    size_t n = 1;
    for (size_t extent : shape) n *= extent;
    TestTensor tensor{std::move(shape), std::vector<float>(n)};
    const bool norm_weight = name.find("norm1.weight") != std::string::npos ||
                             name.find("norm2.weight") != std::string::npos ||
                             name.find("ln_f.weight") != std::string::npos;
    for (size_t j = 0; j < n; ++j) {
      const double sine = std::sin(0.7 * static_cast<double>(q) +
                                   1.3 * static_cast<double>(j) + 0.1);
      tensor.values[j] =
          static_cast<float>(norm_weight ? 1 + 0.1 * sine : 0.3 * sine);
    }
    tensors[name] = std::move(tensor);
    ++q;
  };
  add("backbone.embeddings.word_embeddings.weight", {16, 4});
  for (int layer = 0; layer < 2; ++layer) {
    const std::string p = fmt::format("backbone.layers.{}.", layer);
    const std::string f = p + "mixer.filter_fn.";
    add(p + "norm1.weight", {4});
    add(p + "norm1.bias", {4});
    add(p + "mixer.in_proj.weight", {12, 4});
    add(p + "mixer.in_proj.bias", {12});
    add(p + "mixer.short_filter.weight", {12, 1, 3});
    add(p + "mixer.short_filter.bias", {12});
    add(f + "bias", {4});
    add(f + "implicit_filter.0.weight", {6, 5});
    add(f + "implicit_filter.0.bias", {6});
    add(f + "implicit_filter.2.weight", {6, 6});
    add(f + "implicit_filter.2.bias", {6});
    add(f + "implicit_filter.4.weight", {6, 6});
    add(f + "implicit_filter.4.bias", {6});
    add(f + "implicit_filter.6.weight", {4, 6});
    add(p + "mixer.out_proj.weight", {4, 4});
    add(p + "mixer.out_proj.bias", {4});
    add(p + "norm2.weight", {4});
    add(p + "norm2.bias", {4});
    add(p + "mlp.fc1.weight", {8, 4});
    add(p + "mlp.fc1.bias", {8});
    add(p + "mlp.fc2.weight", {4, 8});
    add(p + "mlp.fc2.bias", {4});
    tensors[f + "implicit_filter.1.freq"] = {{1, 6},
                                             std::vector<float>(6, 10.0f)};
  }
  add("backbone.ln_f.weight", {4});
  add("backbone.ln_f.bias", {4});
  EXPECT_EQ(q, 47u);
  return tensors;
}

void ExpectLogits(const Case& want, size_t position, const float* logits) {
  size_t best = 7;
  for (size_t v = 8; v <= 11; ++v) {
    if (logits[v] > logits[best]) best = v;
  }
  EXPECT_EQ(best, kArgmax[position]);
  for (size_t v = 7; position == 0 && v <= 11; ++v) {
    EXPECT_NEAR(logits[v], want.first[v - 7], 1e-6);
  }
  for (size_t v = 0; position == 7 && v < kVocab; ++v) {
    EXPECT_NEAR(logits[v], want.last[v], 1e-6);
  }
}

TEST(ConformanceTest, FilterAndLogitsOfBothShifts) {
  const TestTensors tensors = SineTensors();
  for (const Case& want : kCases) {
    const HyenaConfig config = Config(want.shift);
    const auto weights = HyenaWeights::Bind(config, MakeMapSource(&tensors));
    ASSERT_TRUE(weights.ok()) << weights.status().message();

    double rows[3 * 4];
    ASSERT_TRUE(EvaluateHyenaFilterRows(config, (*weights)->layers()[0].filter,
                                        0, 3, rows)
                    .ok());
    for (size_t n = 0; n < 3; ++n) {
      for (size_t c = 0; c < 4; ++c) {
        // Positions are stored in float32, and one that differs in its last bit
        // moves the filter by several times that (three nested sines).
        EXPECT_NEAR(rows[n * 4 + c], want.filter[n][c], 4e-7);
      }
    }

    const HyenaModel model(*weights, "sines");
    ThreadPool pool(1);
    const auto prepared =
        model.Prepare({.horizon = 16, .plan = {}}, pool, nullptr);
    ASSERT_TRUE(prepared.ok()) << prepared.status().message();
    auto state = (*prepared)->NewState(pool);
    ASSERT_TRUE(state.ok());
    const Status status = (*state)->Prefill(
        kTokens,
        {.on_logits = [&](size_t position, std::span<const float> logits) {
          ExpectLogits(want, position, logits.data());
          return OkStatus();
        }});
    ASSERT_TRUE(status.ok()) << status.message();
    (*state)->Reset();
    for (size_t t = 0; t < kTokens.size(); ++t) {
      float logits[kVocab];
      (*state)->Step(kTokens[t], logits);
      ExpectLogits(want, t, logits);
    }
  }
}

// The tests' own oracle meets the published values too.
TEST(ConformanceTest, Oracle) {
  const TestTensors tensors = SineTensors();
  for (const Case& want : kCases) {
    const std::vector<double> logits =
        ReferenceLogits(Config(want.shift), tensors, kTokens);
    for (size_t v = 0; v < kVocab; ++v) {
      EXPECT_NEAR(logits[7 * kVocab + v], want.last[v], 3e-7);
    }
  }
}

}  // namespace
}  // namespace lcsm
