#include "models/classifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

namespace lcsm {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr size_t kWidth = 3;

struct Tensor {
  std::string name;
  std::vector<size_t> shape;
  std::vector<float> values;
};

// A folder with these tensors and one of a backbone, that goes away again.
class ClassifierTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name =
        (std::filesystem::temp_directory_path() / "lcsm-test-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  StatusOr<ClassifierHead> Load(std::vector<Tensor> tensors,
                                const std::string& config = "{}") {
    tensors.push_back({"backbone.ln_f.weight", {1}, {1}});
    std::vector<io::SafetensorsWriter::Declaration> declared;
    for (const Tensor& t : tensors) {
      declared.push_back({t.name, io::DType::kF32, t.shape});
    }
    auto writer = io::SafetensorsWriter::Create(folder_ / "model.safetensors",
                                                declared, {});
    EXPECT_TRUE(writer.ok());
    for (const Tensor& t : tensors) {
      EXPECT_TRUE(writer->Write(std::as_bytes(std::span(t.values))).ok());
    }
    EXPECT_TRUE(writer->Finish().ok());
    std::ofstream(folder_ / "config.json") << config;
    return ClassifierHead::Load(folder_, kWidth);
  }
  void Refuse(std::vector<Tensor> tensors, const std::string& config,
              const std::string& says) {
    const auto head = Load(std::move(tensors), config);
    ASSERT_FALSE(head.ok()) << says;
    EXPECT_THAT(head.status().message(), HasSubstr(says));
  }

  std::filesystem::path folder_;
  const Tensor score_ = {"score.weight", {2, 3}, {1, 2, 3, -1, 0, 0.5f}};
  const Tensor decoder_ = {
      "head.output_transform.weight", {2, 3}, {1, 2, 3, -1, 0, 0.5f}};
};

TEST_F(ClassifierTest, HeadOfHuggingFace) {
  const auto head = Load({score_}, R"({"id2label": {"0": "no", "1": "yes"}})");
  ASSERT_TRUE(head.ok()) << head.status().message();
  EXPECT_TRUE(head->is_score());
  EXPECT_EQ(head->usual_pooling(), Pooling::kLast);
  EXPECT_THAT(head->labels(), ElementsAre("no", "yes"));
  const std::vector<double> logits =
      head->Logits(std::vector<double>{1, 10, 100});
  EXPECT_THAT(logits, ElementsAre(321, 49));
  EXPECT_EQ(head->task(), ClassifierHead::Task::kOneOf);
}

TEST_F(ClassifierTest, SequenceDecoder) {
  const Tensor bias = {"head.output_transform.bias", {2}, {0.5f, -0.5f}};
  for (const char* prefix : {"head.", "model.head.", "decoder.0."}) {
    Tensor weight = decoder_, moved = bias;
    weight.name = std::string(prefix) + "output_transform.weight";
    moved.name = std::string(prefix) + "output_transform.bias";
    const auto head = Load({weight, moved});
    ASSERT_TRUE(head.ok()) << head.status().message();
    EXPECT_FALSE(head->is_score());
    EXPECT_EQ(head->usual_pooling(), Pooling::kMean);
    EXPECT_THAT(head->labels(), ElementsAre("0", "1"));
    EXPECT_THAT(head->Logits(std::vector<double>{1, 10, 100}),
                ElementsAre(321.5, 48.5));
  }
  EXPECT_TRUE(Load({decoder_}).ok());  // A bias is not a must.
}

TEST_F(ClassifierTest, Outputs) {
  const std::vector<double> logits = {1000, 1000 + std::log(3)};
  const auto one_of = Load({score_});
  EXPECT_THAT(one_of->Outputs(logits),
              ElementsAre(DoubleNear(0.25, 1e-12), DoubleNear(0.75, 1e-12)));
  const auto several =
      Load({score_}, R"({"problem_type": "multi_label_classification"})");
  EXPECT_THAT(several->Outputs(std::vector<double>{0, -std::log(3)}),
              ElementsAre(0.5, DoubleNear(0.25, 1e-12)));
  const auto numbers = Load({score_}, R"({"problem_type": "regression"})");
  EXPECT_THAT(numbers->Outputs(logits), logits);
  const Tensor single = {"score.weight", {1, 3}, {1, 2, 3}};
  EXPECT_EQ(Load({single})->task(), ClassifierHead::Task::kNumbers);
}

TEST_F(ClassifierTest, WhatDoesNotFitIsASentence) {
  Refuse({}, "{}", "holds no classifier's head, expected score.weight");
  Refuse({score_, decoder_}, "{}", "expected one head");
  Refuse({{"score.weight", {2, 2}, {1, 2, 3, 4}}}, "{}",
         "score.weight has shape (2, 2), and the model's width calls for "
         "(classes, 3)");
  Refuse({{"score.weight", {3}, {1, 2, 3}}}, "{}", "score.weight has shape");
  Refuse({decoder_, {"head.output_transform.bias", {3}, {1, 2, 3}}}, "{}",
         "head.output_transform.bias has shape");
  Tensor bad = score_;
  bad.values[4] = std::numeric_limits<float>::quiet_NaN();
  Refuse({bad}, "{}", "score.weight holds nan at element 4");
  Refuse({score_}, R"({"id2label": {"0": "no"}})", "id2label");
  Refuse({score_}, R"({"id2label": {"0": "no", "2": "yes"}})", "id2label.1");
  Refuse({score_}, R"({"id2label": {"0": "no", "1": "a\tb"}})", "id2label.1");
  Refuse({score_}, R"({"problem_type": "guessing"})", "problem_type");
}

TEST(PoolerTest, InAnyNumberOfPieces) {
  const std::vector<float> rows = {1, 10, 2, 20, 3, 30, 6, 60};
  const std::pair<Pooling, std::vector<double>> wanted[] = {
      {Pooling::kLast, {6, 60}},
      {Pooling::kFirst, {1, 10}},
      {Pooling::kMean, {3, 30}},
      {Pooling::kSum, {12, 120}}};
  for (const auto& [pooling, row] : wanted) {
    for (size_t cut = 0; cut <= 4; ++cut) {
      Pooler pooler(pooling, 2);
      pooler.Add(std::span(rows).first(2 * cut));
      pooler.Add(std::span(rows).subspan(2 * cut));
      EXPECT_EQ(pooler.Row(), row) << Name(pooling) << " cut at " << cut;
    }
    EXPECT_EQ(PoolingFromName(Name(pooling)), pooling);
  }
  EXPECT_EQ(PoolingFromName("ragged"), std::nullopt);
}

}  // namespace
}  // namespace lcsm
