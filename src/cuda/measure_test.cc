// Measured costs of devices: how they are kept, what is not believed, what
// stands in for those that lack, and that preparing a model measures when it
// may and only then. What was measured means nothing here; that it is used
// does.
#include "cuda/measure.h"

#include <algorithm>

#include "cuda/device_tuning.h"
#include "cuda/hyena_device_model.h"
#include "cuda/test_devices.h"
#include "io/test_util.h"
#include "models/test_model.h"

namespace lcsm::cuda {
namespace {

using conv::Method;
using conv::Problem;
using conv::Tau;
using conv::TileCosts;

Problem SmallProblem() {
  Problem problem;
  problem.mixers = 2;
  problem.channels = 20;
  problem.length = problem.taps = 100;
  problem.primed = true;
  return problem;
}

DeviceTuning SmallTuning() {
  TileCosts costs;
  costs.Set(Tau::kFftFused, 64, false, {1000, 0});
  costs.Set(Tau::kFftFused, 64, true, {1200, 345.5});
  costs.Set(Tau::kDirect, 8, false, {70, 70});
  DeviceTuning tuning;
  tuning.Set(SmallProblem(), costs);
  Problem rows = SmallProblem();
  rows.batch = 3;
  costs.Set(Tau::kDirectBlocked, 8, false, {60, 60});
  tuning.Set(rows, costs);
  return tuning;
}

// A plan of a library that it then refuses to run is no way to compute tiles,
// and nothing else is lost by it.
TEST(DeviceCostsTest, LibrariesThatRefuseAreLeftOut) {
  const auto device = MakeEmulatedDevice({.libraries_refuse = true});
  TileCosts measured;
  const Status status = MeasureDeviceCosts(
      device, SmallProblem(), TilesFor::kHybrid, MeasureLimits(), &measured);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_TRUE(device->status().ok());
  EXPECT_TRUE(measured.Has(Tau::kDirectBlocked, 16, false));
  EXPECT_TRUE(measured.Has(Tau::kFftFused, 16, false));
  for (const Tau tau : {Tau::kDirect, Tau::kFftLibrary}) {
    // The smallest are our own for `direct`, too.
    for (size_t block = 4; block < 128; block *= 2) {
      EXPECT_FALSE(measured.Has(tau, block, false)) << block;
    }
  }
}

TEST(DeviceTuningTest, SurvivesBeingWrittenAndRead) {
  const auto device = MakeEmulatedDevice();
  const DeviceInfo& info = device->info();
  const DeviceTuning tuning = SmallTuning();
  const io::ScratchFolder folder;
  const auto file = folder.path() / "made" / "tiles.txt";
  EXPECT_EQ(DeviceTuning::Load(file, info).status().code(),
            StatusCode::kNotFound);
  ASSERT_TRUE(tuning.Save(file, info).ok());
  const auto read = DeviceTuning::Load(file, info);
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->Print(info), tuning.Print(info));
  // Length does not matter; filters and rows do.
  Problem problem = SmallProblem();
  problem.length = problem.taps = 7000;
  EXPECT_EQ(read->For(problem).Of(Tau::kFftFused, 64, true).more_ns, 345.5);
  problem.mixers = 3;
  EXPECT_FALSE(read->For(problem).measured());
  problem.mixers = 2;
  EXPECT_FALSE(read->For(problem).Has(Tau::kDirectBlocked, 8, false));
  problem.batch = 3;
  EXPECT_TRUE(read->For(problem).Has(Tau::kDirectBlocked, 8, false));
}

TEST(DeviceTuningTest, ForeignAndDamagedFilesAreRefused) {
  const auto device = MakeEmulatedDevice();
  const DeviceInfo& info = device->info();
  const std::string good = SmallTuning().Print(info);
  ASSERT_TRUE(DeviceTuning::Parse(good, "f", info).ok());
  for (const char* part : {"lcsm device", "device emulated", "capability ",
                           "software ", "version "}) {
    std::string bad = good;
    bad.insert(bad.find(part) + std::string(part).size(), "x");
    EXPECT_FALSE(DeviceTuning::Parse(bad, "f", info).ok()) << part;
  }
  for (const auto& change : std::vector<void (*)(DeviceInfo&)>{
           [](DeviceInfo& i) { i.name = "another"; },
           [](DeviceInfo& i) { i.software = "driver 1.0, runtime 1.0"; },
           [](DeviceInfo& i) { i.multiprocessors /= 2; },
           [](DeviceInfo& i) { i.memory_bytes -= 1; },
           [](DeviceInfo& i) { i.minor += 1; }}) {
    DeviceInfo other = info;
    change(other);
    const auto parsed = DeviceTuning::Parse(good, "f", other);
    ASSERT_FALSE(parsed.ok());
    EXPECT_NE(parsed.status().message().find("another device"),
              std::string::npos);
  }
  // Cut anywhere, it is not believed.
  for (size_t size = 0; size < good.size() - 1; ++size) {
    EXPECT_FALSE(DeviceTuning::Parse(good.substr(0, size), "f", info).ok())
        << size;
  }
  EXPECT_FALSE(DeviceTuning::Parse(good + "more\n", "f", info).ok());
  for (const auto& [from, to] :
       std::vector<std::pair<std::string, std::string>>{
           {"filters 4 rows 1", "filters 0 rows 1"},
           {"filters 4 rows 1", "filters -4 rows 1"},
           {"filters 4 rows 1", "filters 4 rows 0"},
           {"filters 4 rows 1", "filters 4"},
           {"filters 4 rows 1", "filters 4 rows 1 x"},
           {"filters 4 rows 1", "filters 4 rows 3"},
           {"filters 4 rows 1", "groups 4"},
           {"345.5", "nan"},
           {"345.5", "-1"},
           {"345.5", "1e300"},
           {"fft-fused 64", "fft-fused 63"},
           {"fft-fused 64", "hybrid 64"},
           {"many", "some"}}) {
    std::string bad = good;
    ASSERT_NE(bad.find(from), std::string::npos) << from;
    bad.replace(bad.find(from), from.size(), to);
    EXPECT_FALSE(DeviceTuning::Parse(bad, "f", info).ok()) << to;
  }
}

// Launches that `work` makes.
template <typename Work>
size_t LaunchesOf(const Device& device, Work&& work) {
  const size_t before = EmulatedLaunches(device);
  work();
  return EmulatedLaunches(device) - before;
}

TEST(DeviceCostsTest, MeasuresOnceAndKeepsIt) {
  const io::ScratchFolder folder;
  const auto file = folder.path() / "tiles.txt";
  const auto device = MakeEmulatedDevice();
  const Problem problem = SmallProblem();
  std::string first;
  {
    DeviceCosts costs(device, file);
    EXPECT_EQ(LaunchesOf(*device,
                         [&] {
                           const TileCosts none =
                               costs.For(problem, TilesFor::kPlanned, false);
                           EXPECT_FALSE(none.measured());
                         }),
              0u);
    EXPECT_EQ(folder.Count(), 0u);
    const TileCosts now = costs.For(problem, TilesFor::kPlanned, true);
    first = now.Print();
    for (size_t block = 1; block < problem.length; block *= 2) {
      EXPECT_TRUE(now.Has(Tau::kDirectBlocked, block, false)) << block;
      EXPECT_EQ(now.Has(Tau::kFftFused, block, false), block >= 8) << block;
      EXPECT_EQ(now.Has(Tau::kFftFused, block, true), block >= 8) << block;
      EXPECT_FALSE(now.Has(Tau::kFftLibrary, block, false)) << block;
    }
    EXPECT_EQ(
        LaunchesOf(*device,
                   [&] {
                     EXPECT_EQ(
                         costs.For(problem, TilesFor::kPlanned, true).Print(),
                         first);
                   }),
        0u);
  }
  // Another run reads what this one kept, in all its digits, and measures no
  // more than lacks.
  DeviceCosts later(device, file);
  EXPECT_EQ(later.For(problem, TilesFor::kPlanned, false).Print(), first);
  EXPECT_EQ(
      LaunchesOf(*device,
                 [&] { (void)later.For(problem, TilesFor::kPlanned, true); }),
      0u);
  const TileCosts hybrid = later.For(problem, TilesFor::kHybrid, true);
  EXPECT_TRUE(hybrid.Has(Tau::kFftLibrary, 64, false));
  EXPECT_TRUE(hybrid.Has(Tau::kDirect, 64, false));
  EXPECT_EQ(hybrid.Of(Tau::kFftFused, 64, false).first_ns,
            TileCosts::Parse(first)->Of(Tau::kFftFused, 64, false).first_ns);
}

TEST(DeviceCostsTest, WhatIsNotBelievedIsMeasuredAnew) {
  const io::ScratchFolder folder;
  const auto file = folder.path() / "tiles.txt";
  const Problem problem = SmallProblem();
  const auto device = MakeEmulatedDevice();
  (void)DeviceCosts(device, file).For(problem, TilesFor::kPlanned, true);
  const std::string good = io::Get(file);
  // Another driver; and a file that was cut short.
  const auto updated = MakeEmulatedDevice({.software = "emulator 2"});
  EXPECT_FALSE(DeviceCosts(updated, file)
                   .For(problem, TilesFor::kPlanned, false)
                   .measured());
  EXPECT_EQ(io::Get(file), good);
  EXPECT_TRUE(DeviceCosts(updated, file)
                  .For(problem, TilesFor::kPlanned, true)
                  .measured());
  EXPECT_TRUE(DeviceTuning::Load(file, updated->info()).ok());
  EXPECT_FALSE(DeviceTuning::Load(file, device->info()).ok());
  io::Put(file, good.substr(0, good.size() / 2));
  EXPECT_TRUE(DeviceCosts(device, file)
                  .For(problem, TilesFor::kPlanned, true)
                  .measured());
  EXPECT_TRUE(DeviceTuning::Load(file, device->info()).ok());
  // Tables of other problems stay.
  Problem other = problem;
  other.mixers = 1;
  (void)DeviceCosts(device, file).For(other, TilesFor::kPlanned, true);
  const auto both = DeviceTuning::Load(file, device->info());
  ASSERT_TRUE(both.ok());
  EXPECT_TRUE(both->For(problem).measured());
  EXPECT_TRUE(both->For(other).measured());
}

TEST(DeviceCostsTest, LimitsHold) {
  const auto device = MakeEmulatedDevice();
  const Problem problem = SmallProblem();
  TileCosts none;
  ASSERT_TRUE(MeasureDeviceCosts(device, problem, TilesFor::kPlanned,
                                 {.seconds = -1}, &none)
                  .ok());
  EXPECT_FALSE(none.measured());
  // Histories of 64 lines: tiles of 32, and of 8 by eight.
  const size_t line = 4 * kLanes * sizeof(float);
  TileCosts some;
  ASSERT_TRUE(MeasureDeviceCosts(device, problem, TilesFor::kPlanned,
                                 {.bytes = 64 * line}, &some)
                  .ok());
  EXPECT_TRUE(some.Has(Tau::kFftFused, 32, false));
  EXPECT_FALSE(some.Has(Tau::kFftFused, 64, false));
  EXPECT_TRUE(some.Has(Tau::kFftFused, 8, true));
  EXPECT_FALSE(some.Has(Tau::kFftFused, 16, true));
  // What the device has no memory for is left out, and no error.
  TileCosts tight;
  const auto small = MakeEmulatedDevice({.memory_bytes = 30 << 10});
  const Status status = MeasureDeviceCosts(small, problem, TilesFor::kHybrid,
                                           MeasureLimits(), &tight);
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_TRUE(tight.Has(Tau::kDirectBlocked, 1, false));
  EXPECT_FALSE(tight.Has(Tau::kFftFused, 64, false));
}

TEST(DeviceCostsTest, ALostDeviceLeavesNoFile) {
  const io::ScratchFolder folder;
  const auto file = folder.path() / "tiles.txt";
  const auto device = MakeEmulatedDevice({.launches_until_lost = 40});
  DeviceCosts costs(device, file);
  EXPECT_FALSE(costs.For(SmallProblem(), TilesFor::kPlanned, true).measured());
  EXPECT_FALSE(device->status().ok());
  EXPECT_EQ(folder.Count(), 0u);
}

TEST(FillDeviceCostsTest, WhatLacksIsTheEstimateAsWrongAsItsNeighbour) {
  const auto device = MakeEmulatedDevice();
  Problem problem = SmallProblem();
  problem.length = problem.taps = 4096;
  const TileCosts estimate = EstimateDeviceCosts(device->info(), problem);
  EXPECT_EQ(FillDeviceCosts(device->info(), problem, TileCosts()).Print(),
            estimate.Print());
  const auto times = [&](Tau tau, size_t block, bool many, double first,
                         double more) {
    const conv::TileCost told = estimate.Of(tau, block, many);
    return conv::TileCost{first * told.first_ns, more * told.more_ns};
  };
  TileCosts measured;
  measured.Set(Tau::kDirectBlocked, 32, false,
               times(Tau::kDirectBlocked, 32, false, 3, 2));
  measured.Set(Tau::kDirectBlocked, 64, false,
               times(Tau::kDirectBlocked, 64, false, 5, 5));
  measured.Set(Tau::kFftFused, 128, true,
               times(Tau::kFftFused, 128, true, 7, 4));
  const TileCosts filled = FillDeviceCosts(device->info(), problem, measured);
  const auto expect = [&](Tau tau, size_t block, bool many, double first,
                          double more) {
    const conv::TileCost want = times(tau, block, many, first, more);
    const conv::TileCost got = filled.Of(tau, block, many);
    EXPECT_NEAR(got.first_ns, want.first_ns, 1e-9 * want.first_ns)
        << conv::Name(tau) << " " << block;
    EXPECT_NEAR(got.more_ns, want.more_ns, 1e-9 * want.more_ns + 1e-12)
        << conv::Name(tau) << " " << block;
  };
  expect(Tau::kDirectBlocked, 32, false, 3, 2);
  expect(Tau::kDirectBlocked, 16, false, 3, 2);  // Nothing below.
  expect(Tau::kDirectBlocked, 64, false, 5, 5);
  expect(Tau::kDirectBlocked, 2048, false, 5, 5);  // The nearest below.
  expect(Tau::kFftFused, 2048, true, 7, 4);
  expect(Tau::kFftFused, 8, true, 7, 4);
  // Of which nothing was measured: as wrong as the direct sums.
  expect(Tau::kFftFused, 64, false, 5, 5);
}

TEST(HybridPlanTest, EachBlockGetsWhatIsFastestForIt) {
  const auto device = MakeEmulatedDevice();
  Problem problem = SmallProblem();
  problem.length = problem.taps = 4096;
  TileCosts measured;
  for (size_t block = 1; block <= 256; block *= 2) {
    const auto u = static_cast<double>(block);
    measured.Set(Tau::kDirectBlocked, block, false, {10 + u * u, u * u});
    if (block < 8) continue;
    measured.Set(Tau::kFftFused, block, false, {20 * u, 0});
    // The estimates of both have fft-fused win for good from somewhere on.
    if (block >= 128) {
      measured.Set(Tau::kFftLibrary, block, false, {1000 + u, 0});
    }
  }
  const auto plan = HybridPlan(device->info(), problem, measured,
                               conv::Schedule::kAcrossLayers);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(plan->method, Method::kPaper);
  for (const conv::Level& level : plan->levels) {
    EXPECT_TRUE(level.radix == 2 || level.radix == conv::Level::kToTheEnd);
    const Tau want = level.block < 32    ? Tau::kDirectBlocked
                     : level.block < 128 ? Tau::kFftFused
                                         : Tau::kFftLibrary;
    if (level.block > 256) continue;
    EXPECT_EQ(level.tau, want) << level.block;
  }
  // `direct` was not measured, so it was never chosen.
  for (const conv::Level& level : plan->levels) {
    EXPECT_NE(level.tau, Tau::kDirect);
  }
}

TEST(MeasuredPlansTest, PreparingMeasuresWhereItMayAndMatters) {
  const TestModel test(SmallConfig());
  ThreadPool pool(1);
  const auto device = MakeEmulatedDevice();
  const io::ScratchFolder folder;
  const auto file = folder.path() / "tiles.txt";
  const auto model = MakeDeviceModel(test.model, device, file).value();
  const auto launches = [&](const conv::PlanOptions& plan, bool measure) {
    return LaunchesOf(*device, [&] {
      const auto prepared = model->Prepare(
          {.horizon = 70,
           .plan = plan,
           .device_costs = measure ? DeviceCostSource::kMeasured
                                   : DeviceCostSource::kEstimates},
          pool, nullptr);
      ASSERT_TRUE(prepared.ok()) << prepared.status().message();
    });
  };
  // Told to estimate, or what to do: nothing is measured.
  conv::PlanOptions levels = {.method = Method::kPlanned};
  levels.levels = conv::ParseLevels(
                      "1x2 direct-blocked, 2x4 direct-blocked, "
                      "8 fft-fused",
                      "test")
                      .value();
  const size_t estimated = launches({.method = Method::kPlanned}, false);
  for (const conv::PlanOptions& forced : std::vector<conv::PlanOptions>{
           levels,
           {.method = Method::kPaper, .tau = Tau::kFftFused},
           {.method = Method::kGardner},
           {.method = Method::kLazy},
           {.method = Method::kEager}}) {
    EXPECT_EQ(launches(forced, true), launches(forced, false));
  }
  EXPECT_EQ(folder.Count(), 0u);
  // Measured once, for the planner and for the hybrid.
  EXPECT_GT(launches({.method = Method::kPlanned}, true), 100 + estimated);
  EXPECT_EQ(folder.Count(), 1u);
  EXPECT_LT(launches({.method = Method::kPlanned}, true), 100u);
  EXPECT_GT(launches({.method = Method::kPaper}, true), 100u);
  EXPECT_LT(launches({.method = Method::kPaper}, true), 100u);

  // Right whatever was chosen, and the same plan for who reads the file.
  const auto again = MakeDeviceModel(test.model, device, file).value();
  const auto tokens = RandomTokens(70, 12, 1);
  const auto want = ReferenceLogits(test.config, test.tensors, tokens);
  for (const Method method : {Method::kPlanned, Method::kPaper}) {
    const PrepareOptions options = {
        .horizon = 70,
        .plan = {.method = method},
        .device_costs = DeviceCostSource::kMeasured};
    const auto prepared = model->Prepare(options, pool, nullptr).value();
    EXPECT_EQ(prepared->plan().method, method);
    ExpectNear(RunTokens(*prepared->NewState(pool).value(), 16, tokens, 0),
               want);
    EXPECT_EQ(again->Prepare(options, pool, nullptr).value()->plan().Levels(),
              prepared->plan().Levels());
  }
}

// A file that says so decides how tiles are computed.
TEST(MeasuredPlansTest, FollowTheFile) {
  const TestModel test(SmallConfig());
  ThreadPool pool(1);
  const auto device = MakeEmulatedDevice();
  const io::ScratchFolder folder;
  const auto file = folder.path() / "tiles.txt";
  Problem problem = SmallProblem();
  for (const bool transforms : {false, true}) {
    TileCosts costs;
    for (size_t block = 1; block <= 256; block *= 2) {
      costs.Set(Tau::kDirectBlocked, block, false,
                {transforms ? 1e6 : 1.0, 1.0});
      if (block < 8) continue;
      costs.Set(Tau::kFftFused, block, false, {transforms ? 1.0 : 1e6, 1.0});
      costs.Set(Tau::kFftFused, block, true, {transforms ? 1.0 : 1e6, 1.0});
    }
    DeviceTuning tuning;
    tuning.Set(problem, costs);
    ASSERT_TRUE(tuning.Save(file, device->info()).ok());
    const auto model = MakeDeviceModel(test.model, device, file).value();
    for (const Method method : {Method::kPlanned, Method::kPaper}) {
      const auto prepared =
          model
              ->Prepare({.horizon = 200, .plan = {.method = method}}, pool,
                        nullptr)
              .value();
      for (const conv::Level& level : prepared->plan().levels) {
        if (level.block < 8) continue;
        EXPECT_EQ(level.tau, transforms ? Tau::kFftFused : Tau::kDirectBlocked)
            << prepared->plan().Print();
      }
    }
  }
}

}  // namespace
}  // namespace lcsm::cuda
