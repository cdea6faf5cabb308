// The checkpoints of tests/data/golden that run as stacks: float64 logits and
// greedy continuations from tools/reference.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "io/section_file.h"
#include "models/golden_reference.h"
#include "models/load_model.h"

namespace lcsm {
namespace {

namespace fs = std::filesystem;

class StackGoldenTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const fs::path folder = Golden(GetParam());
    auto model = LoadModel(folder);
    ASSERT_TRUE(model.ok()) << model.status().message();
    model_ = *model;
    vocab_ = model_->info().padded_vocab;
    reference_ = ReadGolden(folder);
    ASSERT_EQ(reference_.logits.size(), reference_.tokens.size() * vocab_);
  }

  std::unique_ptr<ModelState> NewState(ThreadPool& pool, size_t horizon,
                                       const conv::PlanOptions& plan = {}) {
    auto prepared =
        model_->Prepare({.horizon = horizon, .plan = plan}, pool, nullptr);
    EXPECT_TRUE(prepared.ok()) << prepared.status().message();
    auto state = (*prepared)->NewState(pool);
    EXPECT_TRUE(state.ok()) << state.status().message();
    return std::move(*state);
  }

  void ExpectLogits(size_t position, const float* logits) {
    for (size_t v = 0; v < vocab_; ++v) {
      ASSERT_NEAR(logits[v], logits_[position * vocab_ + v], 1e-4)
          << "position " << position << " id " << v;
    }
  }

  // All logits; the tokens are cut into pieces of `chunk`, 0 means steps.
  std::vector<float> Run(ModelState& state, size_t chunk) {
    std::vector<float> all;
    if (chunk == 0) {
      all.resize(tokens_.size() * vocab_);
      for (size_t t = 0; t < tokens_.size(); ++t) {
        state.Step(tokens_[t], all.data() + t * vocab_);
      }
      return all;
    }
    for (size_t t = 0; t < tokens_.size(); t += chunk) {
      const Status status = state.Prefill(
          {tokens_.data() + t, std::min(chunk, tokens_.size() - t)},
          {.on_logits = [&](size_t position, std::span<const float> logits) {
            EXPECT_EQ(position, all.size() / vocab_);
            all.insert(all.end(), logits.begin(), logits.end());
            return OkStatus();
          }});
      EXPECT_TRUE(status.ok()) << status.message();
    }
    return all;
  }

  // Whether the sequence makes filters of its own, for which not all plans are.
  static bool IsRelaxed() { return GetParam() == "stack-relaxed"; }

  int32_t Argmax(const std::vector<float>& logits) const {
    const auto end =
        logits.begin() + static_cast<std::ptrdiff_t>(model_->info().vocab);
    return static_cast<int32_t>(std::max_element(logits.begin(), end) -
                                logits.begin());
  }

  std::shared_ptr<const Model> model_;
  size_t vocab_ = 0;
  GoldenReference reference_;
  const std::vector<int32_t>& tokens_ = reference_.tokens;
  const std::vector<int32_t>& prompt_ = reference_.prompt;
  const std::vector<int32_t>& greedy_ = reference_.greedy;
  const std::vector<double>& logits_ = reference_.logits;
};

TEST_P(StackGoldenTest, LogitsOfPrefillAndDecode) {
  const conv::PlanOptions plans[] = {
      {.method = conv::Method::kPlanned},
      {.method = conv::Method::kPaper},
      {.method = conv::Method::kLazy},
      {.method = conv::Method::kPlanned, .latency = conv::Latency::kFlat}};
  for (const conv::PlanOptions& plan : plans) {
    if (plan.latency == conv::Latency::kFlat && IsRelaxed()) continue;
    ThreadPool pool(2);
    const auto state = NewState(pool, tokens_.size(), plan);
    for (size_t chunk : {size_t{0}, size_t{1}, size_t{7}, tokens_.size()}) {
      SCOPED_TRACE(fmt::format("{} {}", conv::Name(plan.method), chunk));
      state->Reset();
      const std::vector<float> all = Run(*state, chunk);
      ASSERT_EQ(all.size(), logits_.size());
      for (size_t t = 0; t < tokens_.size(); ++t) {
        ExpectLogits(t, all.data() + t * vocab_);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// Where most positions are to come as known tokens, these go through matrices
// laid out for them.
TEST_P(StackGoldenTest, KnownTokensThroughTheirOwnMatrices) {
  const auto memory = [&](size_t steps, size_t limit) {
    const auto estimate = model_->EstimateMemory({.horizon = tokens_.size(),
                                                  .steps = steps,
                                                  .plan = {},
                                                  .memory_limit = limit},
                                                 1);
    EXPECT_TRUE(estimate.ok()) << estimate.status().message();
    return estimate->prefill;
  };
  const size_t more = memory(10, 0);
  EXPECT_GT(more, 0u);
  EXPECT_EQ(memory(PrepareOptions::kAll, 0), 0u);
  if (GetParam() == "h3") {  // Whose states take less than the matrices.
    EXPECT_EQ(memory(10, 4 * more), more);  // The most that they may take.
    EXPECT_EQ(memory(10, 4 * more - 1), 0u);
  }
  EXPECT_EQ(memory(10, size_t{1} << 30), more);
  std::vector<float> want;
  for (size_t threads : {1, 3}) {
    ThreadPool pool(threads);
    const auto prepared = model_->Prepare(
        {.horizon = tokens_.size(), .steps = 10, .plan = {}}, pool, nullptr);
    ASSERT_TRUE(prepared.ok()) << prepared.status().message();
    const auto state = std::move(*(*prepared)->NewState(pool));
    for (size_t chunk : {size_t{1}, size_t{7}, tokens_.size() - 10}) {
      state->Reset();
      std::vector<float> all(tokens_.size() * vocab_);
      float* next = all.data();
      for (size_t t = 0; t < tokens_.size() - 10; t += chunk) {
        const size_t count = std::min(chunk, tokens_.size() - 10 - t);
        const Status status = state->Prefill(
            {tokens_.data() + t, count},
            {.on_logits = [&](size_t, std::span<const float> logits) {
              next = std::copy(logits.begin(), logits.end(), next);
              return OkStatus();
            }});
        ASSERT_TRUE(status.ok()) << status.message();
      }
      const auto fork = std::move(*state->Fork());
      for (size_t t = tokens_.size() - 10; t < tokens_.size(); ++t) {
        fork->Step(tokens_[t], all.data() + t * vocab_);
      }
      for (size_t t = 0; t < tokens_.size(); ++t) {
        ExpectLogits(t, all.data() + t * vocab_);
        if (HasFatalFailure()) return;
      }
      if (want.empty()) want = all;
      ASSERT_EQ(
          std::memcmp(all.data(), want.data(), all.size() * sizeof(float)), 0)
          << threads << " threads, " << chunk << " at a time";
    }
  }
}

TEST_P(StackGoldenTest, NoBitDependsOnThreads) {
  std::vector<float> one[2];
  for (size_t threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    const auto state = NewState(pool, tokens_.size());
    for (size_t way : {0, 1}) {
      state->Reset();
      const std::vector<float> all = Run(*state, way * 40);
      if (threads == 1) one[way] = all;
      ASSERT_EQ(
          std::memcmp(all.data(), one[way].data(), all.size() * sizeof(float)),
          0);
    }
  }
}

TEST_P(StackGoldenTest, GreedyContinuationByItselfAndOfForks) {
  ThreadPool pool(2);
  const auto state = NewState(pool, prompt_.size() + greedy_.size());
  std::vector<float> logits(vocab_);
  ASSERT_TRUE(state->Prefill(prompt_, {.last_logits = logits.data()}).ok());
  std::unique_ptr<ModelState> fork;
  std::vector<float> at_fork;
  std::vector<int32_t> tokens;
  for (size_t i = 0; i < greedy_.size(); ++i) {
    if (i == 5) {
      auto forked = state->Fork();
      ASSERT_TRUE(forked.ok()) << forked.status().message();
      fork = std::move(*forked);
      at_fork = logits;
    }
    tokens.push_back(Argmax(logits));
    state->Step(tokens.back(), logits.data());
  }
  EXPECT_EQ(tokens, greedy_);
  // The other one goes on as if nothing had happened.
  EXPECT_EQ(fork->position(), prompt_.size() + 5);
  for (size_t i = 5; i < greedy_.size(); ++i) {
    EXPECT_EQ(Argmax(at_fork), greedy_[i]);
    fork->Step(greedy_[i], at_fork.data());
  }
  EXPECT_EQ(
      std::memcmp(at_fork.data(), logits.data(), logits.size() * sizeof(float)),
      0);
}

// Each with tokens of its own, from positions in the middle of blocks and tiles
// and at their ends: the bits of forks, and where they come from nobody
// notices.
TEST_P(StackGoldenTest, RowsOfABatchAreForks) {
  const conv::PlanOptions plans[] = {
      {.method = conv::Method::kPlanned},
      {.method = conv::Method::kGardner},  // Deferred, at any length.
      {.method = conv::Method::kEager},
      {.method = conv::Method::kPaper, .schedule = conv::Schedule::kPerLayer}};
  const size_t length = tokens_.size();
  size_t turn = 0;
  for (const conv::PlanOptions& plan : plans) {
    const bool deferred = plan.method == conv::Method::kGardner;
    const bool eager = plan.method == conv::Method::kEager;
    if (IsRelaxed() && (deferred || eager)) continue;
    if (GetParam() == "stack-ahead" && deferred) continue;
    for (const size_t from : {size_t{0}, size_t{17}, size_t{32}, length - 2}) {
      ++turn;
      const size_t rows = 1 + turn * 3 % 8;
      ThreadPool pool(1 + turn % 2);
      SCOPED_TRACE(fmt::format("{}, {} rows from {}", conv::Name(plan.method),
                               rows, from));
      const auto trunk = NewState(pool, length, plan);
      std::vector<float> last(vocab_);
      // Known tokens, then steps.
      ASSERT_TRUE(trunk->Prefill({tokens_.data(), from / 2}, {}).ok());
      for (size_t t = from / 2; t < from; ++t) {
        trunk->Step(tokens_[t], last.data());
      }
      const auto spread = trunk->Spread(rows);
      ASSERT_TRUE(spread.ok()) << spread.status().message();
      BatchState& batch = **spread;
      ASSERT_EQ(batch.rows(), rows);
      std::vector<std::unique_ptr<ModelState>> forks;
      for (size_t r = 0; r < rows; ++r) {
        forks.push_back(std::move(*trunk->Fork()));
      }
      std::vector<int32_t> tokens(rows);
      std::vector<float> got(rows * vocab_), want(rows * vocab_);
      for (size_t t = from; t < length; ++t) {
        ASSERT_EQ(batch.position(), t);
        ASSERT_EQ(batch.StepRoom(), length - t);
        for (size_t r = 0; r < rows; ++r) {
          tokens[r] = static_cast<int32_t>(
              (static_cast<size_t>(tokens_[t]) + r * (t + 1)) %
              model_->info().vocab);
          forks[r]->Step(tokens[r], want.data() + r * vocab_);
        }
        batch.Step(tokens.data(), got.data());
        ASSERT_EQ(
            std::memcmp(got.data(), want.data(), got.size() * sizeof(float)), 0)
            << "position " << t;
        // Row 0 has the reference's tokens.
        ExpectLogits(t, got.data());
        trunk->Step(tokens_[t], last.data());
        ASSERT_EQ(std::memcmp(last.data(), want.data(), vocab_ * sizeof(float)),
                  0);
      }
      EXPECT_GT(batch.times().blocks, 0);
    }
  }
}

TEST_P(StackGoldenTest, SavedStatesGoOnInTheSameBits) {
  const fs::path file = fs::temp_directory_path() /
                        fmt::format("lcsm-stack-{}-{}", getpid(), GetParam());
  ThreadPool pool(1);
  const auto prepared =
      model_->Prepare({.horizon = tokens_.size(), .plan = {}}, pool, nullptr);
  ASSERT_TRUE(prepared.ok());
  const auto state = std::move(*(*prepared)->NewState(pool));
  std::vector<float> wanted(vocab_), got(vocab_);
  for (size_t t = 0; t < tokens_.size(); ++t) {
    if (t == 37) {
      auto writer = io::SectionWriter::Create(file, "test");
      ASSERT_TRUE(writer.ok());
      ASSERT_TRUE(state->Save(*writer).ok());
      ASSERT_TRUE(writer->Finish().ok());
    }
    state->Step(tokens_[t], wanted.data());
  }
  const auto other = std::move(*(*prepared)->NewState(pool));
  other->Step(1, got.data());  // Something to be forgotten.
  auto reader = io::SectionReader::Open(file);
  ASSERT_TRUE(reader.ok());
  const Status loaded = other->Load(*reader);
  ASSERT_TRUE(loaded.ok()) << loaded.message();
  ASSERT_TRUE(reader->Finish().ok());
  ASSERT_EQ(other->position(), 37u);
  for (size_t t = 37; t < tokens_.size(); ++t) {
    other->Step(tokens_[t], got.data());
  }
  EXPECT_EQ(std::memcmp(got.data(), wanted.data(), vocab_ * sizeof(float)), 0);
  fs::remove(file);
}

// What the whole prefix gives, computed anew for each token.
TEST_P(StackGoldenTest, GeneratesWhatRecomputationGives) {
  ThreadPool pool(1);
  const auto steps = NewState(pool, prompt_.size() + greedy_.size());
  const auto anew = NewState(pool, prompt_.size() + greedy_.size());
  std::vector<float> a(vocab_), b(vocab_);
  ASSERT_TRUE(steps->Prefill(prompt_, {.last_logits = a.data()}).ok());
  std::vector<int32_t> prefix = prompt_;
  for (size_t i = 0; i < greedy_.size(); ++i) {
    anew->Reset();
    ASSERT_TRUE(anew->Prefill(prefix, {.last_logits = b.data()}).ok());
    ASSERT_EQ(Argmax(a), Argmax(b));
    prefix.push_back(Argmax(a));
    steps->Step(prefix.back(), a.data());
  }
}

// For benchmarks: at any position at once, at what steps cost there, and back.
TEST_P(StackGoldenTest, GoesOnFromAMadeUpPast) {
  for (const auto latency : {conv::Latency::kBest, conv::Latency::kFlat}) {
    if (latency == conv::Latency::kFlat && IsRelaxed()) continue;
    ThreadPool pool(1);
    const conv::PlanOptions plan = {.method = conv::Method::kPlanned,
                                    .latency = latency};
    const auto state = NewState(pool, tokens_.size(), plan);
    const std::vector<float> wanted = Run(*state, 0);
    EXPECT_GT(state->HistoryBytes(), 0u);
    std::vector<float> logits(vocab_);
    for (size_t position : {size_t{0}, size_t{31}, tokens_.size() - 1}) {
      const Status placed = state->Pretend(position);
      ASSERT_TRUE(placed.ok()) << placed.message();
      for (const size_t from : {position, size_t{16}}) {
        state->MoveTo(from);
        ASSERT_EQ(state->position(), from);
        ASSERT_EQ(state->StepRoom(), tokens_.size() - from);
        for (size_t t = from; t < tokens_.size(); ++t) {
          state->Step(tokens_[t], logits.data());
          for (const float v : logits) ASSERT_TRUE(std::isfinite(v)) << t;
        }
      }
    }
    state->Reset();
    const std::vector<float> again = Run(*state, 0);
    EXPECT_EQ(
        std::memcmp(again.data(), wanted.data(), wanted.size() * sizeof(float)),
        0);
  }
}

TEST_P(StackGoldenTest, PackedWeightsStayClose) {
  auto packed = LoadModel(Golden(GetParam()), WeightFormat::kBf16);
  ASSERT_TRUE(packed.ok()) << packed.status().message();
  EXPECT_EQ((*packed)->info().weight_format, "bf16");
  model_ = *packed;
  ThreadPool pool(1);
  const auto state = NewState(pool, tokens_.size());
  const std::vector<float> all = Run(*state, 0);
  const bool exact = GetParam().ends_with("bf16");  // As they were in the file.
  double largest = 0;
  for (const double v : logits_) largest = std::max(largest, std::abs(v));
  for (size_t i = 0; i < all.size(); ++i) {
    // Weights off by 2^-9 each, in a handful of layers.
    ASSERT_NEAR(all[i], logits_[i], exact ? 1e-4 : 0.05 * largest);
  }
}

TEST_P(StackGoldenTest, RefusesWhatDoesNotFit) {
  ThreadPool pool(1);
  const auto state = NewState(pool, 10);
  const std::vector<int32_t> long_prompt(11, 1), foreign = {1, 100000};
  EXPECT_FALSE(state->Prefill(long_prompt, {}).ok());
  EXPECT_FALSE(state->Prefill(foreign, {}).ok());
  EXPECT_EQ(state->position(), 0u);
  const auto prepared = model_->Prepare(
      {.horizon = model_->info().max_length + 1, .plan = {}}, pool, nullptr);
  ASSERT_FALSE(prepared.ok());
  const auto memory = model_->EstimateMemory({.horizon = 10, .plan = {}}, 1);
  ASSERT_TRUE(memory.ok()) << memory.status().message();
  EXPECT_GT(memory->Total(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Folders, StackGoldenTest,
                         testing::Values("stack-ahead", "stack-filters",
                                         "stack-links", "stack-mixed",
                                         "stack-relaxed", "stu-approx",
                                         "stu-full", "stu-full-l", "h3",
                                         "stripedhyena1", "stripedhyena1-evo",
                                         "stripedhyena2", "stripedhyena2-bf16"),
                         [](const auto& folder) {
                           std::string name = folder.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace lcsm
