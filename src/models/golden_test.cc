// The reference checkpoints of tests/data/golden: float64 logits and greedy
// continuations of the original PyTorch code.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "io/convert.h"
#include "models/golden_reference.h"
#include "models/load_model.h"

namespace lcsm {
namespace {

namespace fs = std::filesystem;

// One model folder for each, converted where it is a checkpoint.
class GoldenTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const fs::path source = Golden(GetParam());
    expected_ = ReadGolden(source);
    fs::path folder = source;
    if (!fs::exists(source / "model.safetensors")) {
      std::string name =
          (fs::temp_directory_path() / "lcsm-golden-XXXXXX").string();
      ASSERT_NE(mkdtemp(name.data()), nullptr);
      scratch_ = name;
      folder = scratch_ / "model";
      const auto report = io::ConvertCheckpoint(source, folder, {});
      ASSERT_TRUE(report.ok()) << report.status().message();
    }
    auto model = LoadModel(folder);
    ASSERT_TRUE(model.ok()) << model.status().message();
    model_ = *model;
    vocab_ = model_->info().padded_vocab;
    ASSERT_EQ(expected_.logits.size(), expected_.tokens.size() * vocab_);
  }
  void TearDown() override {
    std::error_code error;
    if (!scratch_.empty()) fs::remove_all(scratch_, error);
  }

  std::unique_ptr<ModelState> NewState(ThreadPool& pool, size_t horizon,
                                       const conv::PlanOptions& plan) {
    auto prepared =
        model_->Prepare({.horizon = horizon, .plan = plan}, pool, nullptr);
    EXPECT_TRUE(prepared.ok()) << prepared.status().message();
    auto state = (*prepared)->NewState(pool);
    EXPECT_TRUE(state.ok()) << state.status().message();
    return std::move(*state);
  }

  void ExpectLogits(size_t position, const float* logits) {
    for (size_t v = 0; v < vocab_; ++v) {
      ASSERT_NEAR(logits[v], expected_.logits[position * vocab_ + v], 1e-4)
          << "position " << position << " id " << v;
    }
  }

  int32_t Argmax(const std::vector<float>& logits) const {
    const auto end =
        logits.begin() + static_cast<std::ptrdiff_t>(model_->info().vocab);
    return static_cast<int32_t>(std::max_element(logits.begin(), end) -
                                logits.begin());
  }

  GoldenReference expected_;
  std::shared_ptr<const Model> model_;
  size_t vocab_ = 0;
  fs::path scratch_;
};

std::vector<conv::PlanOptions> AllPlans() {
  std::vector<conv::PlanOptions> plans = {
      {.method = conv::Method::kLazy},
      {.method = conv::Method::kEager},
  };
  for (conv::Tau tau :
       {conv::Tau::kDirect, conv::Tau::kDirectBlocked, conv::Tau::kFftLibrary,
        conv::Tau::kFftFused, conv::Tau::kHybrid}) {
    for (conv::Schedule schedule :
         {conv::Schedule::kPerLayer, conv::Schedule::kAcrossLayers}) {
      plans.push_back({conv::Method::kPaper, tau, schedule});
    }
  }
  return plans;
}

TEST_P(GoldenTest, LogitsOfPrefillAndDecode) {
  for (const conv::PlanOptions& plan : AllPlans()) {
    SCOPED_TRACE(fmt::format("{} {} {}", conv::Name(plan.method),
                             conv::Name(plan.tau), conv::Name(plan.schedule)));
    ThreadPool pool(2);
    const size_t length = expected_.tokens.size();
    const auto state = NewState(pool, length, plan);
    std::vector<float> prefill;
    const Status status = state->Prefill(
        expected_.tokens,
        {.on_logits = [&](size_t position, std::span<const float> logits) {
          EXPECT_EQ(position, prefill.size() / vocab_);
          ExpectLogits(position, logits.data());
          prefill.insert(prefill.end(), logits.begin(), logits.end());
          return OkStatus();
        }});
    ASSERT_TRUE(status.ok()) << status.message();
    ASSERT_EQ(prefill.size(), length * vocab_);
    state->Reset();
    std::vector<float> logits(vocab_);
    for (size_t t = 0; t < length; ++t) {
      state->Step(expected_.tokens[t], logits.data());
      ExpectLogits(t, logits.data());
      ASSERT_EQ(std::memcmp(logits.data(), prefill.data() + t * vocab_,
                            vocab_ * sizeof(float)),
                0)
          << "decode differs from prefill at position " << t;
      if (HasFatalFailure()) return;
    }
  }
}

// Layer by layer, as scores are computed, with all spectra kept.
TEST_P(GoldenTest, LogitsLayerByLayer) {
  ThreadPool pool(2);
  const size_t length = expected_.tokens.size();
  const auto prepared = model_->Prepare(
      {.horizon = length, .steps = 0, .plan = {}}, pool, nullptr);
  ASSERT_TRUE(prepared.ok()) << prepared.status().message();
  const auto state = (*prepared)->NewState(pool);
  ASSERT_TRUE(state.ok());
  size_t seen = 0;
  const Status status = (*state)->Prefill(
      expected_.tokens,
      {.on_logits = [&](size_t position, std::span<const float> logits) {
        EXPECT_EQ(position, seen++);
        ExpectLogits(position, logits.data());
        return OkStatus();
      }});
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(seen, length);
}

// A prompt layer by layer, then steps.
TEST_P(GoldenTest, GreedyContinuationOfAKnownPrompt) {
  ThreadPool pool(1);
  const size_t prompt = expected_.prompt.size();
  const size_t steps = expected_.greedy.size();
  const auto prepared = model_->Prepare(
      {.horizon = prompt + steps, .steps = steps, .plan = {}}, pool, nullptr);
  ASSERT_TRUE(prepared.ok()) << prepared.status().message();
  const auto state = (*prepared)->NewState(pool);
  ASSERT_TRUE(state.ok());
  std::vector<float> logits(vocab_);
  ASSERT_TRUE(
      (*state)->Prefill(expected_.prompt, {.last_logits = logits.data()}).ok());
  std::vector<int32_t> tokens;
  for (size_t i = 0; i < steps; ++i) {
    tokens.push_back(Argmax(logits));
    (*state)->Step(tokens.back(), logits.data());
  }
  EXPECT_EQ(tokens, expected_.greedy);
}

TEST_P(GoldenTest, GreedyContinuation) {
  for (const conv::PlanOptions& plan :
       {conv::PlanOptions{}, conv::PlanOptions{.method = conv::Method::kLazy},
        conv::PlanOptions{.method = conv::Method::kEager}}) {
    ThreadPool pool(1);
    const auto state =
        NewState(pool, expected_.prompt.size() + expected_.greedy.size(), plan);
    std::vector<float> logits(vocab_);
    ASSERT_TRUE(
        state->Prefill(expected_.prompt, {.last_logits = logits.data()}).ok());
    std::vector<int32_t> tokens;
    for (size_t i = 0; i < expected_.greedy.size(); ++i) {
      tokens.push_back(Argmax(logits));
      state->Step(tokens.back(), logits.data());
    }
    EXPECT_EQ(tokens, expected_.greedy);
  }
}

INSTANTIATE_TEST_SUITE_P(Folders, GoldenTest,
                         testing::Values("hyenadna-tiny-1k-hf",
                                         "hyenadna-tiny-1k-ckpt",
                                         "hyena-order3-ckpt"),
                         [](const auto& folder) {
                           std::string name = folder.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace lcsm
