// What EstimateMemory foretells of a model on a device, against what the
// emulated device was asked for: every byte; and runs that are held to a limit.
#include <algorithm>

#include "cuda/hyena_device_model.h"
#include "cuda/test_devices.h"
#include "io/test_util.h"
#include "models/test_model.h"

namespace lcsm::cuda {
namespace {

using conv::Method;
using conv::Tau;

constexpr size_t kHorizon = 150;

// Prepares the model, takes known tokens in, then a few by steps, the last of
// them sampled by the state: the most bytes that the device gave at a time.
size_t PeakOfRun(const Model& model, Device& device,
                 const PrepareOptions& options) {
  ThreadPool pool(1);
  ForgetEmulatedPeak(device);
  const auto prepared = model.Prepare(options, pool, nullptr);
  EXPECT_TRUE(prepared.ok()) << prepared.status().message();
  if (!prepared.ok()) return 0;
  const auto state = (*prepared)->NewState(pool);
  EXPECT_TRUE(state.ok()) << state.status().message();
  if (!state.ok()) return 0;
  const size_t steps = std::min(options.steps, options.horizon);
  const auto tokens = RandomTokens(options.horizon, 12, 1);
  std::vector<float> logits(model.info().padded_vocab);
  const Status status =
      (*state)->Prefill(std::span(tokens.data(), options.horizon - steps),
                        {.last_logits = logits.data()});
  EXPECT_TRUE(status.ok()) << status.message();
  (*state)->BeginSteps();
  if (steps != 0) {
    for (size_t t = 0; t < 5; ++t) (*state)->Step(tokens[t], logits.data());
    std::vector<int32_t> ids = {1, 2, 3}, sampled(3);
    EXPECT_TRUE((*state)->SampleSteps(1, {}, 0, ids, sampled).ok());
  }
  return EmulatedPeakBytes(device);
}

TEST(HyenaDeviceMemoryTest, EveryByteIsForetold) {
  HyenaConfig third = SmallConfig();
  third.order = 3;
  third.fir_taps = 5;
  for (const HyenaConfig& config : {SmallConfig(), third}) {
    for (const conv::PlanOptions& plan : PlansWithLibraries()) {
      for (const size_t steps : {PrepareOptions::kAll, size_t{60}, size_t{0}}) {
        for (const WeightFormat format :
             {WeightFormat::kFloat32, WeightFormat::kBf16}) {
          TestModel test(config);
          test.Bind(format);
          // Little shared memory, so that transforms have scratch outside it.
          const auto device =
              MakeEmulatedDevice({.shared_bytes = 40 << 10, .l2_bytes = 4096});
          const auto model = MakeDeviceModel(test.model, device).value();
          const PrepareOptions options = {
              .horizon = kHorizon, .steps = steps, .plan = plan};
          const auto memory = model->EstimateMemory(options, 1);
          ASSERT_TRUE(memory.ok()) << memory.status().message();
          EXPECT_EQ(PeakOfRun(*model, *device, options), memory->Total())
              << memory->plan.Print() << ", " << steps << " steps, "
              << Name(format) << ", preparing " << memory->preparing;
          EXPECT_NE(memory->device.find("emulated"), std::string::npos);
          EXPECT_EQ(memory->device_free,
                    device->info().memory_bytes - memory->weights);
          EXPECT_GT(memory->host, 0u);
          // Positions and a network, and no taps.
          EXPECT_LT(memory->host, size_t{32} << 10);
        }
      }
    }
  }
}

// A file of costs by which tiles that keep spectra are fastest by far.
void PreferSpectra(const std::filesystem::path& file, const DeviceInfo& info) {
  conv::TileCosts costs;
  for (size_t block = 1; block <= 256; block *= 2) {
    costs.Set(Tau::kDirectBlocked, block, false, {1e4, 1e4});
    if (block < 8) continue;
    costs.Set(Tau::kFftFused, block, false, {1e3, 0});
    costs.Set(Tau::kFftFused, block, true, {10, 1});
  }
  conv::Problem problem;
  problem.mixers = 2;
  problem.channels = 20;
  DeviceTuning tuning;
  tuning.Set(problem, costs);
  ASSERT_TRUE(tuning.Save(file, info).ok());
}

// The planner keeps to what there is: the fastest plan if that fits, slower
// ones as far as there are any, then a refusal with numbers.
TEST(HyenaDeviceMemoryTest, PlansKeepToALimit) {
  const TestModel test(SmallConfig());
  ThreadPool pool(1);
  const PrepareOptions free = {.horizon = 300,
                               .plan = {.method = Method::kPlanned}};
  const io::ScratchFolder folder;
  const auto file = folder.path() / "tiles.txt";
  size_t want = 0;
  std::string levels;
  {
    const auto device = MakeEmulatedDevice();
    PreferSpectra(file, device->info());
    const auto model = MakeDeviceModel(test.model, device, file).value();
    const auto memory = model->EstimateMemory(free, 1).value();
    want = memory.Total();
    levels = memory.plan.Levels();
  }
  size_t fitted = 0;
  bool refused = false;
  for (size_t limit = want; limit > want / 3; limit -= want / 40) {
    SCOPED_TRACE(limit);
    // Told by the user; or what the device has.
    for (const bool told : {true, false}) {
      PrepareOptions options = free;
      if (told) options.memory_limit = limit;
      const auto device = told ? MakeEmulatedDevice()
                               : MakeEmulatedDevice({.memory_bytes = limit});
      PreferSpectra(file, device->info());
      const auto model = MakeDeviceModel(test.model, device, file);
      ASSERT_TRUE(model.ok()) << model.status().message();
      const auto memory = (*model)->EstimateMemory(options, 1);
      const auto prepared = (*model)->Prepare(options, pool, nullptr);
      ASSERT_EQ(memory.ok(), prepared.ok());
      if (!memory.ok()) {
        refused = true;
        EXPECT_EQ(memory.status().code(), StatusCode::kResourceExhausted);
        for (const char* part : {"300 positions", "histories", "are left"}) {
          EXPECT_NE(prepared.status().message().find(part), std::string::npos)
              << prepared.status().message();
        }
        continue;
      }
      EXPECT_FALSE(refused) << "a smaller limit fits where a larger did not";
      EXPECT_LE(memory->Total(), limit);
      EXPECT_EQ((*prepared)->plan().Levels(), memory->plan.Levels());
      ForgetEmulatedPeak(*device);
      EXPECT_TRUE((*prepared)->NewState(pool).ok());
      EXPECT_LE(EmulatedPeakBytes(*device), limit);
      if (limit == want) {
        EXPECT_EQ(memory->plan.Levels(), levels);
      } else {
        EXPECT_NE(memory->plan.Levels(), levels);
        ++fitted;
      }
    }
  }
  EXPECT_GT(fitted, 0u);
  EXPECT_TRUE(refused);
}

// Known tokens are part of the account.
TEST(HyenaDeviceMemoryTest, KnownTokensThatDoNotFitAreRefused) {
  const TestModel test(SmallConfig());
  ThreadPool pool(1);
  const PrepareOptions options = {.horizon = 300, .steps = 20, .plan = {}};
  const auto roomy = MakeEmulatedDevice();
  const size_t total = MakeDeviceModel(test.model, roomy)
                           .value()
                           ->EstimateMemory(options, 1)
                           .value()
                           .Total();
  const auto enough = MakeEmulatedDevice({.memory_bytes = total});
  const auto fits = MakeDeviceModel(test.model, enough).value();
  EXPECT_EQ(PeakOfRun(*fits, *enough, options), total);
  // No plan of twenty steps saves as much.
  const auto tight = MakeEmulatedDevice({.memory_bytes = total / 2});
  const auto prepared = MakeDeviceModel(test.model, tight)
                            .value()
                            ->Prepare(options, pool, nullptr);
  ASSERT_FALSE(prepared.ok());
  EXPECT_EQ(prepared.status().code(), StatusCode::kResourceExhausted);
  EXPECT_NE(prepared.status().message().find("known tokens"), std::string::npos)
      << prepared.status().message();
}

}  // namespace
}  // namespace lcsm::cuda
