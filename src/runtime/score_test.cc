// Scores and embeddings against plain float64, over a fake model whose logits
// depend on every token since the state's beginning.
#include "runtime/score.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "runtime/embed.h"
#include "runtime/log_softmax.h"

namespace lcsm {
namespace {

constexpr size_t kVocab = 5, kPadded = 8, kWidth = 3;

constexpr uint64_t kNothing = 88172645463325252u;

uint64_t Hash(uint64_t before, int32_t token) {
  return (before ^ static_cast<uint64_t>(token + 1)) * 6364136223846793005u;
}

// The logits after tokens of this hash. Padding columns are the largest on
// purpose.
std::vector<float> Logits(uint64_t hash) {
  std::vector<float> logits(kPadded, 50.0f);
  for (size_t v = 0; v < kVocab; ++v) {
    hash = hash * 6364136223846793005u + 1442695040888963407u;
    logits[v] = static_cast<float>(hash >> 40) / 0x1p21f;
  }
  return logits;
}

std::vector<float> LogitsAfter(std::span<const int32_t> tokens) {
  uint64_t hash = kNothing;
  for (const int32_t token : tokens) hash = Hash(hash, token);
  return Logits(hash);
}

// The activations of one position.
float Activation(uint64_t hash, size_t channel, size_t layer) {
  return static_cast<float>(hash >> 40) * static_cast<float>(channel + 1) +
         static_cast<float>(layer % 100);
}

class FakeState : public ModelState {
 public:
  explicit FakeState(size_t horizon) : horizon_(horizon) {}
  void Step(int32_t, float*) noexcept override {}
  Status Prefill(std::span<const int32_t> tokens,
                 const PrefillRequest& request) override {
    if (tokens.size() > horizon_ - taken_) {
      return InvalidInput("too many");
    }
    EXPECT_EQ(request.following, 0u);
    for (const int32_t token : tokens) {
      hash_ = Hash(hash_, token);
      if (request.on_logits) {
        LCSM_RETURN_IF_ERROR(request.on_logits(taken_, Logits(hash_)));
      }
      ++taken_;
      for (size_t c = 0; c < kWidth; ++c) {
        rows_.push_back(Activation(hash_, c, request.hidden_layer));
      }
      // Several positions at a time, as real ones do.
      if (request.on_hidden &&
          (rows_.size() == 4 * kWidth || taken_ == tokens.size())) {
        LCSM_RETURN_IF_ERROR(request.on_hidden(0, rows_));
        rows_.clear();
      }
      if (request.progress && !request.progress(0.5)) return Cancelled("told");
    }
    return OkStatus();
  }
  StatusOr<std::unique_ptr<ModelState>> Fork() const override {
    return Unsupported("not here");
  }
  size_t padded_vocab() const override { return kPadded; }
  size_t position() const override { return taken_; }
  size_t horizon() const override { return horizon_; }
  size_t StepRoom() const override { return 0; }
  void Reset() noexcept override {
    taken_ = 0;
    hash_ = kNothing;
  }
  const StepTimes& times() const override { return times_; }
  void SkipMixers(bool) noexcept override {}

 private:
  size_t horizon_;
  size_t taken_ = 0;
  uint64_t hash_ = kNothing;
  std::vector<float> rows_;
  StepTimes times_;
};

class FakePrepared : public PreparedModel {
 public:
  explicit FakePrepared(size_t horizon) : horizon_(horizon) {}
  const conv::Plan& plan() const override { return plan_; }
  size_t horizon() const override { return horizon_; }
  size_t SpectraBytes() const override { return 0; }
  StatusOr<std::unique_ptr<ModelState>> NewState(ThreadPool&) const override {
    return std::unique_ptr<ModelState>(std::make_unique<FakeState>(horizon_));
  }

 private:
  size_t horizon_;
  conv::Plan plan_;
};

class FakeModel : public Model {
 public:
  FakeModel() {
    info_.vocab = kVocab;
    info_.padded_vocab = kPadded;
    info_.width = kWidth;
    info_.max_length = 200000;
  }
  const ModelInfo& info() const override { return info_; }
  StatusOr<std::shared_ptr<const PreparedModel>> Prepare(
      const PrepareOptions& options, ThreadPool&,
      const ModelState::Progress&) const override {
    if (options.horizon > info_.max_length) return InvalidInput("too long");
    prepared_.push_back(options.horizon);
    return std::shared_ptr<const PreparedModel>(
        std::make_shared<FakePrepared>(options.horizon));
  }
  StatusOr<ModelMemory> EstimateMemory(const PrepareOptions&,
                                       size_t) const override {
    return ModelMemory();
  }
  Status CheckWeights() const override { return OkStatus(); }

  mutable std::vector<size_t> prepared_;

 private:
  ModelInfo info_;
};

std::vector<int32_t> MakeTokens(size_t length) {
  std::vector<int32_t> tokens;
  for (size_t i = 0; i < length; ++i) {
    tokens.push_back(static_cast<int32_t>((i * i + i / 3) % kVocab));
  }
  return tokens;
}

// By definition, in long double and without the maximum taken out.
double PlainLogProb(const std::vector<float>& logits, int32_t token) {
  long double sum = 0;
  for (size_t v = 0; v < kVocab; ++v) {
    sum += std::exp(static_cast<long double>(logits[v]));
  }
  return static_cast<double>(logits[static_cast<size_t>(token)] -
                             std::log(sum));
}

class ScorerTest : public testing::Test {
 protected:
  using Scores = std::vector<std::pair<size_t, double>>;

  Scores Score(const std::vector<int32_t>& tokens, size_t window,
               size_t stride) {
    Scores scores;
    const Status status =
        scorer_.Score(tokens.size(), window, stride, Source(tokens),
                      [&](size_t position, double logprob) {
                        scores.emplace_back(position, logprob);
                        return OkStatus();
                      },
                      {});
    EXPECT_TRUE(status.ok()) << status.message();
    return scores;
  }
  static Scorer::TokenSource Source(const std::vector<int32_t>& tokens) {
    return [&tokens](size_t begin, std::span<int32_t> out) {
      std::copy_n(tokens.begin() + static_cast<ptrdiff_t>(begin), out.size(),
                  out.begin());
    };
  }

  FakeModel model_;
  ThreadPool pool_{1};
  KnownTokenStates states_{model_, pool_, {}};
  Scorer scorer_{model_, states_};
};

TEST_F(ScorerTest, MatchesTheDefinition) {
  const std::vector<int32_t> tokens = MakeTokens(300);
  const Scores scores = Score(tokens, 0, 0);
  ASSERT_EQ(scores.size(), 299u);
  for (size_t i = 0; i < scores.size(); ++i) {
    const size_t t = i + 1;
    EXPECT_EQ(scores[i].first, t);
    EXPECT_NEAR(
        scores[i].second,
        PlainLogProb(LogitsAfter(std::span(tokens).first(t)), tokens[t]),
        1e-14);
  }
  EXPECT_TRUE(Score({3}, 0, 0).empty());
  EXPECT_TRUE(Score({}, 0, 0).empty());
}

TEST_F(ScorerTest, WindowsStartAfresh) {
  const std::vector<int32_t> tokens = MakeTokens(23);
  const Scores scores = Score(tokens, 8, 5);
  ASSERT_EQ(scores.size(), 22u);
  for (const auto& [t, logprob] : scores) {
    // Window i begins at 5 i and scores from 5 i + 3 on.
    const size_t begin = t < 8 ? 0 : (t - 3) / 5 * 5;
    EXPECT_NEAR(
        logprob,
        PlainLogProb(LogitsAfter(std::span(tokens).subspan(begin, t - begin)),
                     tokens[t]),
        1e-14)
        << t;
  }
}

TEST_F(ScorerTest, OthersChangeNoBit) {
  const std::vector<int32_t> tokens = MakeTokens(700);
  const Scores alone = Score(tokens, 0, 0);
  (void)Score(MakeTokens(100000), 0, 0);
  (void)Score(MakeTokens(2), 0, 0);
  EXPECT_EQ(Score(tokens, 0, 0), alone);
}

TEST_F(ScorerTest, ErrorsComeBack) {
  const std::vector<int32_t> outside = {1, 2, static_cast<int32_t>(kVocab)};
  const auto nothing = [](size_t, double) { return OkStatus(); };
  EXPECT_EQ(scorer_.Score(3, 0, 0, Source(outside), nothing, {}).message(),
            "token 5 at position 2 is outside the vocabulary of 5");
  const std::vector<int32_t> tokens = MakeTokens(10);
  EXPECT_EQ(scorer_
                .Score(10, 0, 0, Source(tokens),
                       [](size_t t, double) {
                         return t < 4 ? OkStatus() : InvalidInput("full");
                       },
                       {})
                .message(),
            "full");
  EXPECT_EQ(scorer_
                .Score(10, 0, 0, Source(tokens), nothing,
                       [](double) { return false; })
                .code(),
            StatusCode::kCancelled);
  EXPECT_EQ(scorer_.Score(200002, 0, 0, Source(MakeTokens(200002)), nothing, {})
                .message(),
            "too long");
}

TEST_F(ScorerTest, StatesAreKeptByLength) {
  using Horizons = std::vector<size_t>;
  EXPECT_EQ(KnownTokenStates::Horizon(1, 1026), 256u);
  EXPECT_EQ(KnownTokenStates::Horizon(999, 1026), 1024u);
  EXPECT_EQ(KnownTokenStates::Horizon(1025, 1026), 1026u);
  EXPECT_EQ(KnownTokenStates::Horizon(1027, 1026), 1027u);
  for (int round = 0; round < 3; ++round) {
    for (const size_t length : {1000, 70000, 20, 1001}) {
      (void)Score(MakeTokens(length), 0, 0);
    }
  }
  EXPECT_EQ(model_.prepared_, (Horizons{1024, 131072, 256}));
  // One long one at a time, the short ones stay.
  for (const size_t length : {150000, 1000, 70000}) {
    (void)Score(MakeTokens(length), 0, 0);
  }
  EXPECT_EQ(model_.prepared_, (Horizons{1024, 131072, 256, 200000, 131072}));
}

TEST_F(ScorerTest, Embeddings) {
  const std::vector<int32_t> tokens = MakeTokens(11);
  for (const size_t layer : {size_t{0}, size_t{7}, Embedder::kFinalNorm}) {
    Embedder embedder(model_, states_, layer);
    std::vector<float> want;
    std::vector<double> mean(kWidth);
    for (size_t t = 0; t < tokens.size(); ++t) {
      uint64_t hash = kNothing;
      for (size_t i = 0; i <= t; ++i) hash = Hash(hash, tokens[i]);
      for (size_t c = 0; c < kWidth; ++c) {
        want.push_back(Activation(hash, c, layer));
        mean[c] += want.back();
      }
    }
    for (double& x : mean) x /= 11;
    std::vector<float> rows;
    ASSERT_TRUE(embedder
                    .Rows(tokens,
                          [&](std::span<const float> some) {
                            rows.insert(rows.end(), some.begin(), some.end());
                            return OkStatus();
                          },
                          {})
                    .ok());
    EXPECT_EQ(rows, want);
    EXPECT_EQ(embedder.Pooled(tokens, Pooling::kMean, {}).value(), mean);
    EXPECT_EQ(embedder.Pooled(tokens, Pooling::kLast, {}).value(),
              std::vector<double>(want.end() - kWidth, want.end()));
  }
  Embedder embedder(model_, states_, 0);
  const std::vector<int32_t> outside = {1, -1};
  EXPECT_EQ(embedder.Pooled(outside, Pooling::kMean, {}).status().message(),
            "token -1 at position 1 is outside the vocabulary of 5");
  EXPECT_EQ(
      embedder.Pooled(tokens, Pooling::kMean, [](double) { return false; })
          .status()
          .code(),
      StatusCode::kCancelled);
}

TEST(WindowPlanTest, EachTokenOnceWithItsContext) {
  for (size_t length = 1; length <= 40; ++length) {
    for (size_t window = 2; window <= 20; ++window) {
      for (size_t stride = 1; stride < window; ++stride) {
        const WindowPlan plan(length, window, stride);
        size_t scored = 1;  // The first token is not.
        for (size_t i = 0; i < plan.size(); ++i) {
          const ScoreWindow w = plan[i];
          EXPECT_EQ(w.begin, i * stride);
          EXPECT_LE(w.end - w.begin, window);
          EXPECT_EQ(w.first_scored, scored);
          if (i > 0) {
            EXPECT_GE(w.first_scored - w.begin, window - stride);
            EXPECT_LT(w.first_scored, w.end);
          }
          scored = w.end;
        }
        EXPECT_EQ(scored, length);
      }
    }
  }
  EXPECT_EQ(WindowPlan(1000000, 0, 0).size(), 1u);
  EXPECT_EQ(WindowPlan(1000000, 0, 0)[0], (ScoreWindow{0, 1000000, 1}));
}

TEST(AccurateSumTest, KeepsWhatPlainSumsLose) {
  AccurateSum sum;
  for (int i = 0; i < 10; ++i) sum.Add(0.1);
  EXPECT_EQ(sum.Value(), 1.0);
  AccurateSum large;
  large.Add(1);
  large.Add(1e100);
  large.Add(1);
  large.Add(-1e100);
  EXPECT_EQ(large.Value(), 2.0);
}

TEST(LogSoftmaxTest, AlwaysANumber) {
  const float inf = std::numeric_limits<float>::infinity();
  const float logits[] = {inf, -inf, std::nanf(""), 1e30f};
  EXPECT_EQ(LogSoftmaxAt(logits, 4, 0), 0.0);
  for (int32_t token = 0; token < 4; ++token) {
    EXPECT_TRUE(std::isfinite(LogSoftmaxAt(logits, 3, token % 3)));
  }
  const float far[] = {0, -1000};
  EXPECT_EQ(LogSoftmaxAt(far, 2, 1), -1000.0);
}

}  // namespace
}  // namespace lcsm
