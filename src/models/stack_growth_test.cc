// Stacks whose sessions get a longer horizon, with every kind of mixer that a
// description has: the logits of the original code, and where nothing is
// transformed the bits of a session that was made long.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "models/golden_reference.h"
#include "models/load_model.h"

namespace lcsm {
namespace {

class StackGrowthTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const auto folder = Golden(GetParam());
    auto model = LoadModel(folder);
    ASSERT_TRUE(model.ok()) << model.status().message();
    model_ = *model;
    reference_ = ReadGolden(folder);
  }

  std::shared_ptr<const PreparedModel> Prepare(size_t horizon,
                                               const conv::PlanOptions& plan,
                                               ThreadPool& pool,
                                               const PreparedModel* shorter) {
    auto prepared = model_->Prepare({.horizon = horizon,
                                     .plan = plan,
                                     .growable = true,
                                     .shorter = shorter},
                                    pool, nullptr);
    EXPECT_TRUE(prepared.ok()) << prepared.status().message();
    return *std::move(prepared);
  }

  void StepTo(ModelState& state, size_t until, std::vector<float>* all) const {
    const size_t vocab = state.padded_vocab();
    while (state.position() < until) {
      all->resize(all->size() + vocab);
      state.Step(tokens_[state.position()], all->data() + all->size() - vocab);
    }
  }

  std::vector<float> Grow(const conv::PlanOptions& plan,
                          const std::vector<size_t>& horizons,
                          const std::vector<size_t>& positions, size_t prefill,
                          ThreadPool& pool) {
    std::vector<float> all;
    auto prepared = Prepare(horizons[0], plan, pool, nullptr);
    auto state = prepared->NewState(pool).value();
    const Status taken = state->Prefill(
        std::span(tokens_).first(prefill),
        {.on_logits = [&](size_t, std::span<const float> logits) {
          all.insert(all.end(), logits.begin(), logits.end());
          return OkStatus();
        }});
    EXPECT_TRUE(taken.ok()) << taken.message();
    for (size_t k = 0; k < positions.size(); ++k) {
      StepTo(*state, positions[k], &all);
      prepared = Prepare(horizons[k + 1], plan, pool, prepared.get());
      const auto fork = state->Fork().value();
      auto grown = prepared->Grow(*state);
      EXPECT_TRUE(grown.ok()) << grown.status().message();
      if (!grown.ok()) return {};
      // The one that stays is as it was.
      std::vector<float> a, b;
      StepTo(*state, horizons[k], &a);
      StepTo(*fork, horizons[k], &b);
      EXPECT_EQ(a, b);
      state = *std::move(grown);
      EXPECT_EQ(state->position(), positions[k]);
      EXPECT_EQ(state->horizon(), horizons[k + 1]);
    }
    StepTo(*state, tokens_.size(), &all);
    return all;
  }

  std::shared_ptr<const Model> model_;
  GoldenReference reference_;
  const std::vector<int32_t>& tokens_ = reference_.tokens;
  const std::vector<double>& logits_ = reference_.logits;
};

TEST_P(StackGrowthTest, GrownIsMadeLong) {
  const bool relaxed = GetParam() == "stack-relaxed";
  const size_t n = tokens_.size(), half = n / 2;
  const struct {
    std::vector<size_t> horizons, positions;
    size_t prefill;
  } cases[] = {{{half, n}, {0}, 0},
               {{1, 2, n}, {1, 1}, 0},
               {{half, half, n - 1, n}, {half - 1, half, half + 3}, 0},
               {{half, half + 1, n}, {half, half + 1}, half / 2},
               {{n, n}, {n - 1}, 0}};
  const conv::PlanOptions plans[] = {
      {.method = conv::Method::kPaper},
      {.method = conv::Method::kLazy},
      {.method = conv::Method::kPlanned},
      {.method = conv::Method::kPlanned, .schedule = conv::Schedule::kPerLayer},
      {.method = conv::Method::kPlanned, .latency = conv::Latency::kFlat}};
  ThreadPool pool(2);
  for (const conv::PlanOptions& plan : plans) {
    if (relaxed && plan.latency == conv::Latency::kFlat) continue;
    const auto made =
        model_->Prepare({.horizon = n, .plan = plan}, pool, nullptr)
            .value()
            ->NewState(pool)
            .value();
    std::vector<float> want;
    StepTo(*made, n, &want);
    for (const auto& c : cases) {
      SCOPED_TRACE(fmt::format("{} {} from {}", conv::Name(plan.method),
                               conv::Name(plan.latency), c.horizons[0]));
      const std::vector<float> got =
          Grow(plan, c.horizons, c.positions, c.prefill, pool);
      ASSERT_EQ(got.size(), logits_.size());
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_NEAR(got[i], logits_[i], 1e-4) << "logit " << i;
      }
      // Known positions are rounded otherwise than steps.
      if (plan.method == conv::Method::kLazy && c.prefill == 0) {
        EXPECT_EQ(got, want);
      }
    }
  }
}

TEST_P(StackGrowthTest, WhatIsRefusedChangesNothing) {
  const size_t n = tokens_.size(), limit = model_->info().max_length;
  ThreadPool pool(1);
  const conv::PlanOptions plan = {.method = conv::Method::kPlanned};
  const auto prepared = Prepare(n, plan, pool, nullptr);
  const auto state = prepared->NewState(pool).value();
  std::vector<float> got, want;
  StepTo(*state, n / 2, &got);
  const auto refused = [&](const auto& result, const std::string& words) {
    ASSERT_FALSE(result.ok()) << words;
    EXPECT_NE(result.status().message().find(words), std::string::npos)
        << result.status().message();
  };
  const auto prepare = [&](size_t horizon, bool growable, size_t memory) {
    return model_->Prepare({.horizon = horizon,
                            .plan = plan,
                            .memory_limit = memory,
                            .growable = growable,
                            .shorter = prepared.get()},
                           pool, nullptr);
  };
  refused(prepare(limit + 1, true, 0),
          fmt::format("{} positions are wanted, and the model {} is made for "
                      "at most {}",
                      limit + 1, model_->info().name, limit));
  refused(prepare(n - 1, true, 0), fmt::format("{} positions were to grow", n));
  refused(prepare(n, false, 0), "may not grow");
  refused(prepare(n, true, 1), "memory limit is 1");
  refused(Prepare(n - 1, plan, pool, nullptr)->Grow(*state),
          fmt::format("{} positions were to grow", n));
  StepTo(*state, n, &got);
  const auto twin = prepared->NewState(pool).value();
  StepTo(*twin, n, &want);
  EXPECT_EQ(got, want);
}

INSTANTIATE_TEST_SUITE_P(Folders, StackGrowthTest,
                         testing::Values("stack-ahead", "stack-filters",
                                         "stack-links", "stack-mixed",
                                         "stack-relaxed", "h3", "stripedhyena1",
                                         "stripedhyena2", "stu-full"),
                         [](const auto& folder) {
                           std::string name = folder.param;
                           for (char& c : name) {
                             if (c == '-') c = '_';
                           }
                           return name;
                         });

}  // namespace
}  // namespace lcsm
