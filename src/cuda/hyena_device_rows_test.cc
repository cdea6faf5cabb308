// Sequences that take their steps together on a device: each has the bits of a
// state by itself, whatever its mates are.
#include <algorithm>

#include "cuda/hyena_device_step.h"
#include "cuda/test_devices.h"
#include "models/test_model.h"

namespace lcsm::cuda {
namespace {

using conv::Method;

class HyenaDeviceRowsTest : public testing::TestWithParam<std::string> {
 protected:
  static constexpr size_t kPrompt = 40, kBefore = 13, kSteps = 40;

  // Spreads a state that stands behind a prompt and some steps, twice, and
  // compares all rows with forks, step by step.
  void Check(const HyenaConfig& config, WeightFormat format,
             const conv::PlanOptions& plan, size_t rows,
             size_t shared_bytes = 160 << 10) {
    SCOPED_TRACE(testing::Message() << rows << " rows, order " << config.order);
    TestModel test(config);
    test.Bind(format);
    ThreadPool pool(1);
    const auto model =
        MakeDeviceModel(test.model, OpenTestDevice(GetParam(), shared_bytes))
            .value();
    const auto prepared = model->Prepare(
        {.horizon = kPrompt + 90, .steps = 90, .plan = plan}, pool, nullptr);
    ASSERT_TRUE(prepared.ok()) << prepared.status().message();
    const auto state = (*prepared)->NewState(pool).value();
    const size_t vocab = config.padded_vocab;
    const auto prompt = RandomTokens(kPrompt + kBefore, config.vocab, 1);
    std::vector<float> logits(vocab);
    ASSERT_TRUE(state->Prefill(std::span(prompt.data(), kPrompt), {}).ok());
    state->BeginSteps();
    for (size_t t = kPrompt; t < prompt.size(); ++t) {
      state->Step(prompt[t], logits.data());
    }
    for (int again = 0; again < 2; ++again) {
      const auto batch = state->Spread(rows);
      ASSERT_TRUE(batch.ok()) << batch.status().message();
      EXPECT_EQ((*batch)->rows(), rows);
      std::vector<std::unique_ptr<ModelState>> alone;
      for (size_t r = 0; r < rows; ++r) alone.push_back(state->Fork().value());
      const auto tokens = RandomTokens(rows * kSteps, config.vocab, 2);
      std::vector<float> got(rows * vocab), want(rows * vocab);
      for (size_t t = 0; t < kSteps; ++t) {
        ASSERT_EQ((*batch)->position(), alone[0]->position());
        ASSERT_EQ((*batch)->StepRoom(), alone[0]->StepRoom());
        (*batch)->Step(tokens.data() + t * rows, got.data());
        for (size_t r = 0; r < rows; ++r) {
          alone[r]->Step(tokens[t * rows + r], want.data() + r * vocab);
        }
        ASSERT_EQ(got, want) << "step " << t;
      }
    }
    // The state itself has not moved.
    EXPECT_EQ(state->position(), prompt.size());
    EXPECT_TRUE(model->CheckWeights().ok());
  }
};

TEST_P(HyenaDeviceRowsTest, AnyNumberOfRows) {
  for (const size_t rows : {1, 2, 8, 9}) {
    Check(SmallConfig(), WeightFormat::kFloat32, {.method = Method::kPlanned},
          rows);
  }
}

TEST_P(HyenaDeviceRowsTest, EveryKindOfPlan) {
  for (const conv::PlanOptions& plan : PlansWithLibraries()) {
    Check(SmallConfig(), WeightFormat::kFloat32, plan, 3);
  }
}

TEST_P(HyenaDeviceRowsTest, OrdersAndRoundedWeights) {
  HyenaConfig third = SmallConfig();
  third.order = 3;
  third.fir_taps = 5;
  Check(third, WeightFormat::kFloat32, {.method = Method::kPlanned}, 5);
  Check(third, WeightFormat::kBf16, {.method = Method::kPlanned}, 5);
}

// Where a block's shared memory holds fewer rows, groups are smaller.
TEST(EmulatedRowsTest, GroupsFitIntoSharedMemory) {
  const HyenaConfig config = SmallConfig();
  Share share;
  share.channels = config.width;
  share.inner = config.inner;
  DeviceInfo info;
  size_t most = 0;
  for (size_t kib = 8; kib <= 160; ++kib) {
    info.shared_bytes = kib << 10;
    const size_t rows = HyenaDeviceStep::MostRows(info, config, share);
    EXPECT_GE(rows, std::max<size_t>(most, 1));
    most = rows;
  }
  EXPECT_EQ(most, HyenaDeviceStep::kMostRows);
  info.shared_bytes = 24 << 10;
  const size_t few = HyenaDeviceStep::MostRows(info, config, share);
  EXPECT_GT(few, 1u);
  EXPECT_LT(few, HyenaDeviceStep::kMostRows);
}

INSTANTIATE_TEST_SUITE_P(Devices, HyenaDeviceRowsTest,
                         testing::ValuesIn(TestDevices()), DeviceTestName);

}  // namespace
}  // namespace lcsm::cuda
