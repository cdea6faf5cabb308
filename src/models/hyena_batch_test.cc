// Rows of a batch against states of their own, in every bit.
#include "models/hyena_batch.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/cpu_info.h"
#include "conv/plan.h"
#include "models/test_model.h"

namespace lcsm {
namespace {

// `state` stands behind a prompt; its `rows` continuations are random.
void ExpectRowsAreStates(const TestModel& test, ModelState& state, size_t rows,
                         size_t steps) {
  const size_t vocab = test.config.padded_vocab;
  auto batch = state.Spread(rows);
  ASSERT_TRUE(batch.ok()) << batch.status().message();
  ASSERT_EQ((*batch)->rows(), rows);
  ASSERT_EQ((*batch)->position(), state.position());
  ASSERT_GE((*batch)->StepRoom(), steps);
  std::vector<std::vector<int32_t>> tokens;
  for (size_t r = 0; r < rows; ++r) {
    tokens.push_back(
        RandomTokens(steps, test.config.vocab, static_cast<uint32_t>(100 + r)));
  }
  std::vector<float> got(steps * rows * vocab);
  for (size_t t = 0; t < steps; ++t) {
    std::vector<int32_t> now;
    for (size_t r = 0; r < rows; ++r) now.push_back(tokens[r][t]);
    (*batch)->Step(now.data(), got.data() + t * rows * vocab);
  }
  EXPECT_EQ((*batch)->position(), state.position() + steps);
  EXPECT_GT((*batch)->times().blocks, 0);
  for (size_t r = 0; r < rows; ++r) {
    const auto fork = state.Fork();
    ASSERT_TRUE(fork.ok());
    std::vector<float> want(vocab);
    for (size_t t = 0; t < steps; ++t) {
      (*fork)->Step(tokens[r][t], want.data());
      ASSERT_TRUE(
          std::equal(want.begin(), want.end(),
                     got.begin() + static_cast<long>((t * rows + r) * vocab)))
          << "row " << r << " of " << rows << ", step " << t;
    }
  }
}

TEST(HyenaBatchTest, RowsAreStatesOfTheirOwn) {
  for (size_t order : {2, 3}) {
    HyenaConfig config = SmallConfig();
    config.order = order;
    const TestModel test(config);
    for (size_t threads : {1, 2, 3}) {
      ThreadPool pool(threads);
      for (size_t prompt : {0, 1, 5, 64, 130}) {
        SCOPED_TRACE(fmt::format("order {}, {} threads, prompt {}", order,
                                 threads, prompt));
        const auto state = test.NewState(pool, 200);
        ASSERT_TRUE(state->Prefill(RandomTokens(prompt, 12, 3), {}).ok());
        for (size_t rows : {1, 2, 3, 4, 9}) {
          ExpectRowsAreStates(test, *state, rows, 40);
        }
      }
    }
  }
}

// Behind a prompt that went layer by layer: accumulators hold what it
// contributes.
TEST(HyenaBatchTest, BehindALongPrompt) {
  const TestModel test(SmallConfig());
  ThreadPool pool(2);
  const auto state = NewState(test, 290, 50, pool);
  ASSERT_TRUE(state->Prefill(RandomTokens(240, 12, 4), {}).ok());
  state->BeginSteps();
  ExpectRowsAreStates(test, *state, 5, 50);
}

TEST(HyenaBatchTest, EverySimdTargetAndWeightFormat) {
  for (const std::string& target : SupportedSimdTargets()) {
    SCOPED_TRACE(target);
    ASSERT_TRUE(ForceSimdTarget(target).ok());
    for (WeightFormat format :
         {WeightFormat::kFloat32, WeightFormat::kBf16, WeightFormat::kInt8}) {
      TestModel test(SmallConfig());
      test.Bind(format);
      ThreadPool pool(2);
      const auto state = test.NewState(pool, 60);
      ASSERT_TRUE(state->Prefill(RandomTokens(20, 12, 5), {}).ok());
      ExpectRowsAreStates(test, *state, 4, 40);
    }
  }
  ASSERT_TRUE(ForceSimdTarget("best").ok());
}

// Spread while tiles of distant levels are open.
TEST(HyenaBatchTest, FlatLatency) {
  const TestModel test(SmallConfig());
  ThreadPool pool(2);
  conv::PlanOptions plan;
  plan.levels = conv::ParseLevels(
                    "1x8 direct, 8x2 direct, 16 neighbours direct, "
                    "16x4 distant fft-fused, 64 distant fft-fused",
                    "plan")
                    .value();
  for (size_t stepped : {0, 1, 27, 58, 59}) {
    SCOPED_TRACE(stepped);
    const auto state = test.NewState(pool, 300, plan);
    ASSERT_TRUE(state->Prefill(RandomTokens(70, 12, 6), {}).ok());
    std::vector<float> logits(test.config.padded_vocab);
    for (size_t t = 0; t < stepped; ++t) state->Step(1, logits.data());
    ExpectRowsAreStates(test, *state, 3, 170);
  }
}

}  // namespace
}  // namespace lcsm
