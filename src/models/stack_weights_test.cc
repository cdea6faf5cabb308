// Descriptions that their tensors do not meet: one sentence each, with the
// tensor and the JSON path; and ways to store the same numbers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/safetensors.h"
#include "models/load_model.h"

namespace lcsm {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using testing::HasSubstr;

struct Tensor {
  std::vector<size_t> shape;
  std::vector<float> values;
};

class StackWeightsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name =
        (fs::temp_directory_path() / "lcsm-stack-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    config_ = Json::parse(R"({
      "model_type": "lcsm-stack", "vocab_size": 5, "width": 4,
      "max_length": 40, "embedding": "e",
      "blocks": [{"parts": [{"steps": [
        {"do": "linear", "from": "input", "to": ["a", "b"], "weight": "in",
         "bias": "in_bias"},
        {"do": "convolve", "from": ["a", "b"],
         "filter": {"kind": "taps", "tensor": "taps"}, "skip": "skip"},
        {"do": "multiply", "from": ["a", "b"], "to": "a"},
        {"do": "linear", "from": "a", "to": "output", "weight": "out"}
      ]}]}]})");
    Fill("e", {5, 4});
    Fill("in", {8, 4});
    Fill("in_bias", {8});
    Fill("taps", {8, 3});
    Fill("skip", {8});
    Fill("out", {4, 4});
  }
  void TearDown() override {
    std::error_code error;
    fs::remove_all(folder_, error);
  }

  void Fill(const std::string& name, std::vector<size_t> shape) {
    Tensor& tensor = tensors_[name];
    size_t elements = 1;
    for (const size_t n : shape) elements *= n;
    tensor.shape = std::move(shape);
    tensor.values.clear();
    for (size_t i = 0; i < elements; ++i) {
      tensor.values.push_back(static_cast<float>(
          std::sin(static_cast<double>(7 * name.size() + 3 * i + 1))));
    }
  }

  // Rows in turns of `run` channels of two streams.
  static Tensor InTurns(const Tensor& tensor, size_t run) {
    Tensor turned = tensor;
    const size_t rows = tensor.shape[0], size = tensor.values.size() / rows;
    for (size_t r = 0; r < rows; ++r) {
      const size_t p = r / (rows / 2), c = r % (rows / 2);
      const size_t at = c / run * 2 * run + p * run + c % run;
      std::copy_n(tensor.values.data() + r * size, size,
                  turned.values.data() + at * size);
    }
    return turned;
  }

  StatusOr<std::shared_ptr<const Model>> Load() {
    std::ofstream(folder_ / "config.json") << config_.dump();
    std::vector<io::SafetensorsWriter::Declaration> declared;
    for (const auto& [name, tensor] : tensors_) {
      declared.push_back({name, io::DType::kF32, tensor.shape});
    }
    auto writer = io::SafetensorsWriter::Create(folder_ / "model.safetensors",
                                                declared, {});
    EXPECT_TRUE(writer.ok());
    for (const auto& [name, tensor] : tensors_) {
      EXPECT_TRUE(writer->Write(std::as_bytes(std::span(tensor.values))).ok());
    }
    EXPECT_TRUE(writer->Finish().ok());
    return LoadModel(folder_);
  }

  std::vector<float> Logits() {
    const auto model = Load();
    EXPECT_TRUE(model.ok()) << model.status().message();
    if (!model.ok()) return {};
    ThreadPool pool(1);
    auto prepared =
        (*model)->Prepare({.horizon = 9, .plan = {}}, pool, nullptr);
    EXPECT_TRUE(prepared.ok()) << prepared.status().message();
    auto state = (*prepared)->NewState(pool);
    EXPECT_TRUE(state.ok());
    std::vector<float> all(9 * 5);
    for (size_t t = 0; t < 9; ++t) {
      (*state)->Step(static_cast<int32_t>(t * t % 5), all.data() + t * 5);
    }
    return all;
  }

  void ExpectError(const std::string& says) {
    const auto model = Load();
    ASSERT_FALSE(model.ok()) << says;
    EXPECT_THAT(model.status().message(), HasSubstr(says));
    EXPECT_EQ(model.status().message().find('\n'), std::string::npos);
  }

  Json& Step(size_t i) { return config_["blocks"][0]["parts"][0]["steps"][i]; }

  fs::path folder_;
  Json config_;
  std::map<std::string, Tensor> tensors_;
};

TEST_F(StackWeightsTest, TensorsThatDoNotMeet) {
  Fill("in", {8, 5});
  ExpectError(
      "tensor \"in\" has shape (8, 5), and blocks.0.parts.0.steps.0.weight "
      "calls for (8, 4)");
  Fill("in", {8, 4});
  Fill("taps", {3, 3});
  ExpectError(
      "tensor \"taps\" has shape (3, 3), and "
      "blocks.0.parts.0.steps.1.filter.tensor calls for (groups, taps)");
  Fill("taps", {2, 2, 3});
  ExpectError("tensor \"taps\" has shape (2, 2, 3)");
  Fill("taps", {8, 3});
  Fill("skip", {7});
  ExpectError("steps.1.skip calls for (8)");
  Fill("skip", {8});
  tensors_["out"].values[5] = NAN;
  ExpectError("tensor \"out\" holds nan at element 5, expected finite numbers");
  tensors_.erase("out");
  ExpectError(
      "tensor \"out\" is missing, which blocks.0.parts.0.steps.3.weight");
}

TEST_F(StackWeightsTest, AFamilysEps) {
  fs::remove_all(folder_);
  fs::copy(fs::path(LCSM_SOURCE_DIR) / "tests/data/golden/stu-approx", folder_);
  for (const double eps : {-1e-6, 2.0}) {
    std::ifstream file(fs::path(LCSM_SOURCE_DIR) /
                       "tests/data/golden/stu-approx/config.json");
    Json config = Json::parse(file);
    config["rms_norm_eps"] = eps;
    std::ofstream(folder_ / "config.json") << config.dump();
    const auto model = LoadModel(folder_);
    ASSERT_FALSE(model.ok());
    EXPECT_THAT(model.status().message(),
                HasSubstr("expected a number from 0"));
  }
}

TEST_F(StackWeightsTest, WhatMixersRefuse) {
  Step(1)["as"] = "recurrence";
  ExpectError("steps.1.as is \"recurrence\", expected that only of a filter");
  Step(1)["as"] = "fir";
  Fill("taps", {8, 257});
  ExpectError("steps.1.as is \"fir\", expected that only of a filter of at");
}

// Taps on even lags alone: two sequences in turns give what one with zeros in
// between does.
TEST_F(StackWeightsTest, HalfRateIsTheSameAsFullRate) {
  Fill("taps", {8, 300});
  for (float& v : tensors_["taps"].values) v *= 0.1f;
  Step(1)["filter"]["lags"] = "even";
  const std::vector<float> half = Logits();
  Step(1)["as"] = "half-rate";
  EXPECT_EQ(Logits(), half);
  Step(1)["as"] = "convolution";
  const std::vector<float> full = Logits();
  ASSERT_EQ(full.size(), half.size());
  for (size_t i = 0; i < full.size(); ++i) {
    EXPECT_NEAR(half[i], full[i], 1e-5);
  }
  Step(1)["as"] = "half-rate";
  Step(1)["filter"]["lags"] = "all";
  ExpectError("steps.1.as is \"half-rate\", expected that only of a filter on");
}

TEST_F(StackWeightsTest, WhatCannotBeReadAhead) {
  const Json steps = config_["blocks"][0]["parts"][0]["steps"];
  Json second = steps;
  second[2] = {{"do", "read"}, {"block", 0}, {"ahead", true}, {"to", "r"}};
  config_["blocks"].push_back({{"parts", {{{"steps", second}}}}});
  ExpectError(
      "blocks.1.parts.0.steps.2.ahead reads block 0 ahead, whose last "
      "convolution is a short filter");
  Step(1)["as"] = "convolution";
  EXPECT_EQ(Logits().size(), 45u);
  second[1] = {{"do", "activate"}, {"from", "a"}, {"with", "relu"}};
  config_["blocks"][1]["parts"][0]["steps"] = second;
  ExpectError(
      "blocks.1.parts.0.steps.2.ahead is wanted by block 1, none of whose");
}

TEST_F(StackWeightsTest, AStackThatMixesNothing) {
  Step(1) = {{"do", "activate"}, {"from", "a"}, {"with", "relu"}};
  ExpectError("no step of its blocks looks at other positions");
}

TEST_F(StackWeightsTest, TheSameNumbersStoredOtherwise) {
  const std::vector<float> wanted = Logits();
  ASSERT_EQ(wanted.size(), 45u);
  const std::map<std::string, Tensor> plain = tensors_;
  const Json config = config_;
  for (size_t run : {1, 2}) {
    for (size_t step : {0, 1}) Step(step)["run"] = run;
    for (const char* name : {"in", "in_bias", "taps", "skip"}) {
      tensors_[name] = InTurns(plain.at(name), run);
    }
    EXPECT_EQ(Logits(), wanted) << run;
  }
  config_ = config;
  tensors_ = plain;

  Step(3)["transposed"] = true;
  Step(1)["filter"]["time_first"] = true;
  for (size_t r = 0; r < 4; ++r) {
    for (size_t k = 0; k < 4; ++k) {
      tensors_["out"].values[k * 4 + r] = plain.at("out").values[r * 4 + k];
    }
  }
  tensors_["taps"].shape = {3, 8};
  for (size_t c = 0; c < 8; ++c) {
    for (size_t n = 0; n < 3; ++n) {
      tensors_["taps"].values[n * 8 + c] = plain.at("taps").values[c * 3 + n];
    }
  }
  EXPECT_EQ(Logits(), wanted);
}

// However a filter is run, the answers are the same but for rounding.
TEST_F(StackWeightsTest, TheSameFilterRunOtherwise) {
  const std::vector<float> wanted = Logits();
  Step(1)["as"] = "convolution";
  const std::vector<float> tiled = Logits();
  ASSERT_EQ(tiled.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_NEAR(tiled[i], wanted[i], 1e-5);
  }
  Step(1)["filter"] = {
      {"kind", "log-poles"}, {"log_poles", "l"}, {"residues", "taps"}};
  Fill("l", {8, 3});
  for (float& v : tensors_["l"].values) v = -std::abs(v);
  const std::vector<float> poles_tiled = Logits();
  Step(1)["as"] = "recurrence";
  const std::vector<float> poles = Logits();
  ASSERT_EQ(poles.size(), wanted.size());
  EXPECT_NE(poles, wanted);
  for (size_t i = 0; i < poles.size(); ++i) {
    EXPECT_NEAR(poles[i], poles_tiled[i], 1e-5);
  }
}

}  // namespace
}  // namespace lcsm
