// Plans that are asked for beforehand are those that preparations follow, go by
// what they say they go by, and keep to the memory that there is.
#include "cuda/device_plan.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include "conv/filter_bank.h"
#include "cuda/hyena_device_model.h"
#include "cuda/test_devices.h"
#include "cuda/tiles.h"
#include "io/test_util.h"
#include "models/test_model.h"

namespace lcsm::cuda {
namespace {

using conv::Method;
using conv::Tau;

// That of SmallConfig.
conv::Problem SmallProblem(size_t length) {
  conv::Problem problem;
  problem.mixers = 2;
  problem.channels = 20;
  problem.length = problem.taps = length;
  problem.primed = true;
  return problem;
}

std::string Text(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// A file by which transforms cost nothing, or everything.
void WriteCosts(const std::filesystem::path& file, const DeviceInfo& info,
                bool transforms) {
  conv::TileCosts costs;
  for (size_t block = 1; block <= 256; block *= 2) {
    costs.Set(Tau::kDirectBlocked, block, false,
              {transforms ? 1e6 : 1.0, transforms ? 1e6 : 1.0});
    if (block < 8) continue;
    for (const bool many : {false, true}) {
      costs.Set(Tau::kFftFused, block, many, {transforms ? 1.0 : 1e6, 1.0});
    }
  }
  DeviceTuning tuning;
  tuning.Set(SmallProblem(200), costs);
  ASSERT_TRUE(tuning.Save(file, info).ok());
}

// However slow the emulator is: what is measured once is all there is.
constexpr MeasureLimits kPatient = {.seconds = 1e9};

std::shared_ptr<const Model> Place(const TestModel& test, size_t ranks,
                                   const std::filesystem::path& file) {
  const auto devices = MakeEmulatedRanks(ranks);
  return MakeDeviceModel(test.model, devices, file).value();
}

// All that can be asked for, by estimates and by tiles that were measured: what
// is told is what a model then has, or both are refused.
TEST(DevicePlanTest, WhatIsToldIsWhatIsPrepared) {
  const TestModel test(SmallConfig());
  ThreadPool pool(1);
  std::vector<conv::PlanOptions> plans = PlansWithLibraries();
  plans.push_back({.method = Method::kFutureFill});
  plans.push_back(
      {.method = Method::kPaper, .schedule = conv::Schedule::kPerLayer});
  for (const size_t ranks : {1, 2}) {
    for (const DeviceCostSource source :
         {DeviceCostSource::kEstimates, DeviceCostSource::kMeasured}) {
      const io::ScratchFolder folder;
      const auto file = folder.path() / "tiles.txt";
      DeviceCosts costs(MakeEmulatedDevice(), file, kPatient);
      conv::Problem problem = SmallProblem(150);
      problem.channels = ranks == 1 ? 20 : 16;
      for (const TilesFor use : {TilesFor::kPlanned, TilesFor::kHybrid}) {
        (void)costs.For(problem, use, true);
      }
      const auto model = Place(test, ranks, file);
      for (const conv::PlanOptions& plan : plans) {
        PrepareOptions options = {
            .horizon = 150, .plan = plan, .device_costs = source};
        const auto told = model->EstimateMemory(options, 1);
        const auto prepared = model->Prepare(options, pool, nullptr);
        ASSERT_EQ(told.ok(), prepared.ok()) << Name(plan.method);
        EXPECT_EQ(told.ok(), plan.method != Method::kFutureFill);
        if (!told.ok()) {
          EXPECT_EQ(told.status().message(), prepared.status().message());
          continue;
        }
        const conv::Plan& has = (*prepared)->plan();
        EXPECT_EQ(told->plan.Print(), has.Print());
        EXPECT_EQ(told->plan.problem.channels, has.problem.channels);
        ASSERT_NE(told->tile_costs, nullptr);
        EXPECT_EQ(told->tile_costs->problem.channels, ranks == 1 ? 20u : 16u);
        EXPECT_EQ(told->tile_costs->file,
                  source == DeviceCostSource::kEstimates ? "" : file.string());
        // As --save and --plan hand it on.
        options.plan = {};
        options.plan.schedule = has.schedule;
        options.plan.levels = conv::ParseLevels(has.Levels(), "test").value();
        if (options.plan.levels.empty()) continue;
        EXPECT_EQ(model->EstimateMemory(options, 1)->plan.Levels(),
                  has.Levels());
      }
    }
  }
}

TEST(DevicePlanTest, EstimatesAreNoMeasurements) {
  const TestModel test(SmallConfig());
  const io::ScratchFolder folder;
  const auto file = folder.path() / "tiles.txt";
  const auto device = MakeEmulatedDevice();
  const PrepareOptions options = {.horizon = 200,
                                  .plan = {.method = Method::kPlanned},
                                  .device_costs = DeviceCostSource::kEstimates};
  const auto alone = MakeDeviceModel(test.model, device)
                         .value()
                         ->EstimateMemory(options, 1)
                         .value();
  EXPECT_FALSE(alone.tile_costs->measured.measured());
  for (const bool transforms : {false, true}) {
    WriteCosts(file, device->info(), transforms);
    const auto model = MakeDeviceModel(test.model, device, file).value();
    const auto estimated = model->EstimateMemory(options, 1).value();
    EXPECT_EQ(estimated.plan.Levels(), alone.plan.Levels());
    EXPECT_FALSE(estimated.tile_costs->measured.measured());
    EXPECT_EQ(estimated.tile_costs->file, "");
    EXPECT_EQ(estimated.tile_costs->all, alone.tile_costs->all);
    // And those that are kept are not forgotten by who wants them.
    PrepareOptions kept = options;
    kept.device_costs = DeviceCostSource::kKept;
    const auto known = model->EstimateMemory(kept, 1).value();
    EXPECT_EQ(known.tile_costs->file, file.string());
    for (const conv::Level& level : known.plan.levels) {
      EXPECT_TRUE(known.tile_costs->measured.Has(
          level.tau, level.block,
          conv::SlotsOf(known.plan.problem, level) != 0));
      if (level.block < 8) continue;
      EXPECT_EQ(level.tau, transforms ? Tau::kFftFused : Tau::kDirectBlocked);
    }
  }
}

TEST(DevicePlanTest, MeasuringAnewReplacesWhatWasKept) {
  const TestModel test(SmallConfig());
  ThreadPool pool(1);
  const io::ScratchFolder folder;
  const auto file = folder.path() / "tiles.txt";
  const auto device = MakeEmulatedDevice();
  const auto model = MakeDeviceModel(test.model, device, file).value();
  const PrepareOptions options = {.horizon = 100,
                                  .plan = {.method = Method::kPlanned}};
  WriteCosts(file, device->info(), true);
  // Read before, and changed for all that.
  EXPECT_TRUE(model->EstimateMemory(options, 1)
                  ->tile_costs->measured.Has(Tau::kDirectBlocked, 256, false));
  const size_t before = EmulatedLaunches(*device);
  const Status status = MeasureTilesAnew(*model, options);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_GT(EmulatedLaunches(*device), before + 100);
  const auto now = model->EstimateMemory(options, 1).value();
  EXPECT_EQ(now.tile_costs->file, file.string());
  EXPECT_FALSE(now.tile_costs->measured.Has(Tau::kDirectBlocked, 256, false));
  EXPECT_NE(now.tile_costs->measured.Of(Tau::kDirectBlocked, 1, false).first_ns,
            1e6);
  // Later runs go by it.
  const auto later = MakeDeviceModel(test.model, device, file).value();
  const auto told = later->EstimateMemory(options, 1).value();
  EXPECT_EQ(told.tile_costs->measured, now.tile_costs->measured);
  EXPECT_EQ(told.plan.Levels(), now.plan.Levels());
  // Of a hybrid, what it chooses from.
  const conv::Problem problem = SmallProblem(100);
  DeviceCosts costs(device, file, kPatient);
  ASSERT_TRUE(
      costs.MeasureAnew(problem, TilesOf({.method = Method::kPaper})).ok());
  EXPECT_TRUE(costs.For(problem, TilesFor::kHybrid, false)
                  .Has(Tau::kFftLibrary, 64, false));
}

TEST(DevicePlanTest, MeasuringAnewSaysWhatWentWrong) {
  const TestModel test(SmallConfig());
  const PrepareOptions options = {.horizon = 100,
                                  .plan = {.method = Method::kPlanned}};
  const auto fails = [&](const Model& model, const char* says) {
    const Status status = MeasureTilesAnew(model, options);
    EXPECT_FALSE(status.ok());
    EXPECT_NE(status.message().find(says), std::string::npos)
        << status.message();
  };
  fails(*test.model, "runs on the CPU");
  const auto device = MakeEmulatedDevice();
  fails(*MakeDeviceModel(test.model, device).value(), "XDG_CACHE_HOME");
  const io::ScratchFolder folder;
  const auto file = folder.path() / "tiles.txt";
  std::ofstream(folder.path() / "taken") << "a file";
  fails(*MakeDeviceModel(test.model, device, folder.path() / "taken" / "x")
             .value(),
        "taken");
  // A device that is lost meanwhile: what was kept stays.
  WriteCosts(file, device->info(), true);
  const std::string before = Text(file);
  const auto lost = MakeEmulatedDevice({.launches_until_lost = 40});
  fails(*MakeDeviceModel(test.model, lost, file).value(), "lost");
  EXPECT_EQ(Text(file), before);
}

// Bytes of the emulated device that a convolution takes at most.
size_t Taken(const std::shared_ptr<Device>& device, const conv::Plan& plan) {
  const auto bank = conv::FilterBank::Create(plan.problem).value();
  const std::vector<float> taps(plan.problem.taps * plan.problem.channels, 0.5);
  for (size_t m = 0; m < plan.problem.mixers; ++m) {
    bank->SetTaps(m, 0, plan.problem.taps, taps.data());
  }
  ForgetEmulatedPeak(*device);
  const auto prepared = PreparedTiles::Create(device, plan, *bank);
  EXPECT_TRUE(prepared.ok()) << prepared.status().message();
  const auto queue = device->NewQueue(false).value();
  EXPECT_TRUE(Tiles::Create(*prepared, *queue).ok());
  return EmulatedPeakBytes(*device);
}

TEST(DevicePlanTest, ConvolutionsWithoutAModel) {
  const TestModel test(SmallConfig());
  for (const conv::PlanOptions& plan : PlansWithLibraries()) {
    for (const DeviceCostSource source :
         {DeviceCostSource::kEstimates, DeviceCostSource::kMeasured}) {
      const io::ScratchFolder folder;
      const auto file = folder.path() / "tiles.txt";
      const auto device = MakeEmulatedDevice();
      DeviceCosts costs(device, file, kPatient);
      const PrepareOptions options = {
          .horizon = 150, .plan = plan, .device_costs = source};
      const auto told = OutlineConvolution(costs, SmallProblem(150), options);
      ASSERT_TRUE(told.ok()) << told.status().message();
      // The model's, which finds the same costs.
      const auto model = MakeDeviceModel(test.model, device, file).value();
      EXPECT_EQ(model->EstimateMemory(options, 1)->plan.Print(),
                told->plan.Print());
      EXPECT_EQ(told->weights + told->activations + told->prefill, 0u);
      const auto alone = MakeEmulatedDevice();
      EXPECT_EQ(Taken(alone, told->plan), told->Total()) << told->plan.Print();
      EXPECT_EQ(told->tile_costs->measured.measured(),
                source == DeviceCostSource::kMeasured && folder.Count() != 0);
    }
  }
}

TEST(DevicePlanTest, ConvolutionsKeepToALimit) {
  const io::ScratchFolder folder;
  const auto file = folder.path() / "tiles.txt";
  const auto device = MakeEmulatedDevice();
  WriteCosts(file, device->info(), true);
  DeviceCosts costs(device, file);
  PrepareOptions options = {.horizon = 200,
                            .plan = {.method = Method::kPlanned}};
  conv::Problem rows = SmallProblem(200);
  const auto fastest = OutlineConvolution(costs, rows, options).value();
  size_t fitted = 0;
  bool refused = false;
  const size_t want = fastest.Total();
  for (size_t limit = want; limit > want / 3; limit -= want / 40) {
    options.memory_limit = limit;
    const auto told = OutlineConvolution(costs, rows, options);
    if (!told.ok()) {
      refused = true;
      EXPECT_EQ(told.status().code(), StatusCode::kResourceExhausted);
      for (const char* part : {"200 positions", "histories", "are left"}) {
        EXPECT_NE(told.status().message().find(part), std::string::npos)
            << told.status().message();
      }
      continue;
    }
    EXPECT_FALSE(refused);
    EXPECT_LE(told->Total(), limit);
    EXPECT_EQ(told->plan.Levels() == fastest.plan.Levels(), limit == want);
    fitted += limit != want;
  }
  EXPECT_GT(fitted, 0u);
  EXPECT_TRUE(refused);
}

}  // namespace
}  // namespace lcsm::cuda
