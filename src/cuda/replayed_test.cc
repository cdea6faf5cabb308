// What is captured and replayed, and what happens where it cannot be captured:
// the same in every bit, and nothing is lost.
#include "cuda/replayed.h"

#include "cuda/hyena_device_model.h"
#include "cuda/test_devices.h"
#include "models/test_model.h"

namespace lcsm::cuda {
namespace {

using conv::Method;
using conv::Tau;

// `times` runs of a counter.
uint64_t CountOf(bool captures, int times, bool* captured) {
  const auto device = MakeEmulatedDevice({.captures = captures});
  const auto queue = device->NewQueue(false).value();
  const auto control = device->NewZeros<StepControl>(1, "test").value();
  // Captures fail by turns where they begin and where they end.
  for (int k = 0; k < 2; ++k) {
    auto counts = Replayed::Create(
        *queue, [&] { queue->Launch<CountKernel>({control.data()}); });
    EXPECT_TRUE(counts.ok()) << counts.status().message();
    *captured = counts->captured();
    for (int n = 0; n < times; ++n) counts->Run();
    EXPECT_TRUE(queue->Wait().ok());
  }
  return Fetch(*device, control.data(), 1)[0].known;
}

TEST(ReplayedTest, RunsAsOftenAsItIsAskedCapturedOrNot) {
  for (const int times : {0, 1, 7}) {
    bool captured = false;
    EXPECT_EQ(CountOf(true, times, &captured), 2u * times);
    EXPECT_TRUE(captured);
    EXPECT_EQ(CountOf(false, times, &captured), 2u * times);
    EXPECT_FALSE(captured);
  }
  EXPECT_FALSE(Replayed());
  Replayed().Run();
}

TEST(ReplayedTest, ADeviceThatIsLostIsAnError) {
  const auto device = MakeEmulatedDevice({.launches_until_lost = 1});
  const auto queue = device->NewQueue(false).value();
  const auto control = device->NewZeros<StepControl>(1, "test").value();
  const auto count = [&] { queue->Launch<CountKernel>({control.data()}); };
  count();
  count();
  EXPECT_FALSE(Replayed::Create(*queue, count).ok());
}

// Logits of known tokens and steps, then of a few that the state samples.
std::vector<float> OutputsOf(const conv::PlanOptions& plan,
                             const std::shared_ptr<Device>& device) {
  const TestModel test(SmallConfig());
  ThreadPool pool(1);
  const auto model = MakeDeviceModel(test.model, device).value();
  const auto prepared = model->Prepare(
      {.horizon = 120, .steps = 100, .plan = plan}, pool, nullptr);
  EXPECT_TRUE(prepared.ok()) << prepared.status().message();
  const auto state = (*prepared)->NewState(pool);
  EXPECT_TRUE(state.ok()) << state.status().message();
  const auto tokens = RandomTokens(90, 12, 2);
  std::vector<float> all(90 * 16);
  EXPECT_TRUE(
      (*state)
          ->Prefill(std::span(tokens.data(), 20), {.last_logits = all.data()})
          .ok());
  for (size_t t = 20; t < tokens.size(); ++t) {
    (*state)->Step(tokens[t], all.data() + t * 16);
  }
  std::vector<int32_t> sampled(20), ids(12);
  for (int32_t k = 0; k < 12; ++k) ids[static_cast<size_t>(k)] = k;
  EXPECT_TRUE((*state)->SampleSteps(1, {}, 0, ids, sampled).ok());
  for (const int32_t id : sampled) all.push_back(static_cast<float>(id));
  EXPECT_TRUE(model->CheckWeights().ok()) << model->CheckWeights().message();
  return all;
}

std::vector<conv::PlanOptions> AllPlans() {
  conv::PlanOptions flat = {.method = Method::kPlanned};
  flat.latency = conv::Latency::kFlat;
  return {{.method = Method::kPlanned},
          {.method = Method::kPaper, .tau = Tau::kFftLibrary},
          {.method = Method::kPaper, .tau = Tau::kDirect},
          {.method = Method::kLazy},
          {.method = Method::kEager},
          flat};
}

TEST(ReplayedTest, ModelsRunUncapturedInTheSameBits) {
  for (const conv::PlanOptions& plan : AllPlans()) {
    EXPECT_EQ(OutputsOf(plan, MakeEmulatedDevice()),
              OutputsOf(plan, MakeEmulatedDevice({.captures = false})));
  }
}

// Launches that fetch before those in front have ended, and such as do not.
TEST(ReplayedTest, ModelsRunOneLaunchAfterAnotherInTheSameBits) {
  for (const conv::PlanOptions& plan : AllPlans()) {
    for (const bool captures : {true, false}) {
      EXPECT_EQ(OutputsOf(plan, MakeEmulatedDevice({.captures = captures})),
                OutputsOf(plan, MakeEmulatedDevice({.captures = captures,
                                                    .overlaps = false})));
    }
    for (int k = 0; k < CudaDeviceCount(); ++k) {
      EXPECT_EQ(OutputsOf(plan, OpenCudaDevice(k).value()),
                OutputsOf(plan, OpenCudaDevice(k, {.overlap = false}).value()));
    }
  }
}

}  // namespace
}  // namespace lcsm::cuda
