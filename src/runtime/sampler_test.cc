#include "runtime/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <vector>

#include "runtime/philox.h"

namespace lcsm {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

Sampler Make(const SamplerOptions& options, size_t vocab,
             const std::vector<int32_t>& allowed = {}) {
  StatusOr<Sampler> sampler = Sampler::Create(options, vocab, allowed);
  EXPECT_TRUE(sampler.ok()) << sampler.status().message();
  return std::move(*sampler);
}

// Logits whose softmax is `p`.
std::vector<float> Logits(const std::vector<double>& p) {
  std::vector<float> logits;
  logits.reserve(p.size());
  for (double v : p) logits.push_back(static_cast<float>(std::log(v) + 3));
  return logits;
}

// Ids that come up in many draws, with their shares.
std::map<int32_t, double> Draw(Sampler sampler,
                               const std::vector<float>& logits) {
  std::map<int32_t, double> shares;
  const int n = 20000;
  for (int i = 0; i < n; ++i) {
    shares[sampler.Sample(logits.data(), 0, static_cast<uint64_t>(i))] +=
        1.0 / n;
  }
  return shares;
}

std::set<int32_t> Ids(const std::map<int32_t, double>& shares) {
  std::set<int32_t> ids;
  for (const auto& [id, share] : shares) ids.insert(id);
  return ids;
}

TEST(SamplerTest, GreedyTakesTheLowestOfEquals) {
  Sampler sampler = Make({.temperature = 0}, 4);
  const float logits[] = {1, 3, 3, 2, 9};  // The last is padding.
  EXPECT_EQ(sampler.Sample(logits, 0, 0), 1);
  Sampler masked = Make({.temperature = 0}, 4, {3, 2, 0});
  EXPECT_EQ(masked.Sample(logits, 0, 0), 2);
}

TEST(SamplerTest, NotFiniteLogits) {
  const float nan = std::nanf("");
  Sampler greedy = Make({.temperature = 0}, 3);
  const float some[] = {nan, -5, -kInf};
  EXPECT_EQ(greedy.Sample(some, 0, 0), 1);
  const float none[] = {nan, nan, nan};
  EXPECT_EQ(greedy.Sample(none, 0, 0), 0);
  Sampler warm = Make({.temperature = 1}, 3);
  for (uint64_t i = 0; i < 100; ++i) EXPECT_EQ(warm.Sample(some, 0, i), 1);
  const float infinite[] = {0, kInf, 0};
  for (uint64_t i = 0; i < 100; ++i) EXPECT_EQ(warm.Sample(infinite, 0, i), 1);
}

TEST(SamplerTest, SharesFollowTheSoftmax) {
  const std::vector<double> p = {0.1, 0.5, 0.15, 0.25};
  const auto shares = Draw(Make({}, 4), Logits(p));
  for (int32_t id = 0; id < 4; ++id) {
    // Four standard errors of 20 000 draws.
    EXPECT_NEAR(shares.at(id), p[static_cast<size_t>(id)], 0.015);
  }
}

TEST(SamplerTest, TemperatureSharpens) {
  const auto shares = Draw(Make({.temperature = 0.5}, 2), Logits({0.2, 0.8}));
  EXPECT_NEAR(shares.at(0), 0.04 / 0.68, 0.01);
  // However cold, the likeliest remains.
  const auto cold = Draw(Make({.temperature = 1e-300}, 2), Logits({0.4, 0.6}));
  EXPECT_EQ(Ids(cold), (std::set<int32_t>{1}));
}

TEST(SamplerTest, TopK) {
  const std::vector<float> logits = Logits({0.1, 0.3, 0.3, 0.3});
  EXPECT_EQ(Ids(Draw(Make({.top_k = 2}, 4), logits)),
            (std::set<int32_t>{1, 2}));
  EXPECT_EQ(Ids(Draw(Make({.top_k = 9}, 4), logits)).size(), 4u);
}

TEST(SamplerTest, TopP) {
  const std::vector<float> logits = Logits({0.1, 0.4, 0.2, 0.3});
  const auto ids = [&](double p) {
    return Ids(Draw(Make({.top_p = p}, 4), logits));
  };
  EXPECT_EQ(ids(0.01), (std::set<int32_t>{1}));
  EXPECT_EQ(ids(0.39), (std::set<int32_t>{1}));
  EXPECT_EQ(ids(0.41), (std::set<int32_t>{1, 3}));
  EXPECT_EQ(ids(0.71), (std::set<int32_t>{1, 2, 3}));
  EXPECT_EQ(ids(0.95).size(), 4u);
}

TEST(SamplerTest, MinPIsRelativeToTheLikeliest) {
  const std::vector<float> logits = Logits({0.1, 0.4, 0.2, 0.3});
  EXPECT_EQ(Ids(Draw(Make({.min_p = 0.6}, 4), logits)),
            (std::set<int32_t>{1, 3}));
  EXPECT_EQ(Ids(Draw(Make({.min_p = 1}, 4), logits)), (std::set<int32_t>{1}));
}

// Temperature comes first: at T = 2 the shares 0.64 and 0.36 become 4/7 and
// 3/7, and a top-p of 0.6 keeps both where it would have kept one.
TEST(SamplerTest, OrderOfTheSteps) {
  const std::vector<float> logits = Logits({0.36, 0.64});
  EXPECT_EQ(Ids(Draw(Make({.top_p = 0.6}, 2), logits)).size(), 1u);
  EXPECT_EQ(Ids(Draw(Make({.temperature = 2, .top_p = 0.6}, 2), logits)).size(),
            2u);
  // Top-k before top-p: of {0.4, 0.3} a share of 0.57 is one token.
  const std::vector<float> four = Logits({0.1, 0.4, 0.2, 0.3});
  EXPECT_EQ(Ids(Draw(Make({.top_k = 2, .top_p = 0.56}, 4), four)),
            (std::set<int32_t>{1}));
}

TEST(SamplerTest, MaskAndPadding) {
  const std::vector<float> logits = {0, 0, 0, 0, 50, 50};
  EXPECT_EQ(Ids(Draw(Make({}, 4), logits)).size(), 4u);
  EXPECT_EQ(Ids(Draw(Make({}, 4, {1, 3, 3}), logits)),
            (std::set<int32_t>{1, 3}));
}

TEST(SamplerTest, AFunctionOfSeedSampleAndPosition) {
  std::vector<float> logits(100);
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = static_cast<float>(i % 7);
  }
  Sampler a = Make({.top_p = 0.9, .seed = 5}, 100);
  Sampler b = Make({.top_p = 0.9, .seed = 5}, 100);
  std::vector<int32_t> forward, backward(50);
  for (uint64_t i = 0; i < 50; ++i) {
    forward.push_back(a.Sample(logits.data(), 3, i));
  }
  for (uint64_t i = 50; i-- > 0;) {
    backward[i] = b.Sample(logits.data(), 3, i);
  }
  EXPECT_EQ(forward, backward);
  // Recorded when this was written: a change of the mapping would show here.
  Sampler recorded = Make({.seed = 1}, 4);
  const float flat[] = {0, 0, 0, 0};
  for (uint64_t i = 0; i < 20; ++i) {
    const int32_t want = static_cast<int32_t>(UniformAt(1, 0, i) * 4);
    EXPECT_EQ(recorded.Sample(flat, 0, i), want);
  }
}

TEST(SamplerTest, LogProbIgnoresTemperatureMaskAndPadding) {
  const std::vector<double> p = {0.1, 0.4, 0.2, 0.3};
  std::vector<float> logits = Logits(p);
  logits.push_back(100);
  Sampler sampler = Make({.temperature = 0.1, .top_k = 1}, 4, {2, 3});
  for (int32_t id = 0; id < 4; ++id) {
    EXPECT_NEAR(sampler.LogProb(logits.data(), id),
                std::log(p[static_cast<size_t>(id)]), 1e-6);
  }
}

TEST(SamplerTest, BadOptions) {
  const auto fails = [](const SamplerOptions& options) {
    return !Sampler::Create(options, 4).ok();
  };
  EXPECT_TRUE(fails({.temperature = -1}));
  EXPECT_TRUE(fails({.temperature = std::nan("")}));
  EXPECT_TRUE(fails({.temperature = kInf}));
  EXPECT_TRUE(fails({.top_p = 0}));
  EXPECT_TRUE(fails({.top_p = 1.1}));
  EXPECT_TRUE(fails({.min_p = -0.1}));
  EXPECT_TRUE(fails({.min_p = 2}));
  EXPECT_FALSE(Sampler::Create({}, 0).ok());
  const std::vector<int32_t> outside = {4};
  EXPECT_FALSE(Sampler::Create({}, 4, outside).ok());
}

}  // namespace
}  // namespace lcsm
