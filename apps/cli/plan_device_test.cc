// lcsm plan --device on the tests' emulated GPU, which the command itself does
// not know: what is printed is the plan that a prepared model has, and says by
// what it was chosen.
#include "plan_device.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "base/thread_pool.h"
#include "cuda/hyena_device_model.h"
#include "cuda/test_devices.h"
#include "io/test_util.h"
#include "models/load_model.h"

namespace lcsm::cli {
namespace {

using nlohmann::ordered_json;

constexpr cuda::MeasureLimits kPatient = {.seconds = 1e9};

std::shared_ptr<const Model> Golden(size_t ranks,
                                    const std::filesystem::path& file) {
  auto model =
      LoadModel(LCSM_SOURCE_DIR "/tests/data/golden/hyenadna-tiny-1k-hf");
  const auto devices = cuda::MakeEmulatedRanks(ranks);
  return cuda::MakeDeviceModel(std::move(model).value(), devices, file).value();
}

TEST(PlanDeviceTest, PrintsThePlanThatAPreparedModelHas) {
  ThreadPool pool(1);
  for (const size_t ranks : {1, 2}) {
    for (const DeviceCostSource source :
         {DeviceCostSource::kEstimates, DeviceCostSource::kMeasured}) {
      const io::ScratchFolder folder;
      const auto file = folder.path() / "tiles.txt";
      const auto model = Golden(ranks, file);
      if (source == DeviceCostSource::kMeasured) {
        // Here, with patience: what a model measures depends on the clock.
        const PrepareOptions any = {
            .horizon = 70,
            .plan = {},
            .device_costs = DeviceCostSource::kEstimates};
        const auto asked = model->EstimateMemory(any, 1).value();
        cuda::DeviceCosts costs(cuda::MakeEmulatedDevice(), file, kPatient);
        for (const auto use :
             {cuda::TilesFor::kPlanned, cuda::TilesFor::kHybrid}) {
          (void)costs.For(asked.tile_costs->problem, use, true);
        }
      }
      for (const conv::PlanOptions& plan : cuda::Plans()) {
        const PrepareOptions prepare = {
            .horizon = 70, .plan = plan, .device_costs = source};
        const auto made = PlanModelOnDevice(*model, prepare, {});
        ASSERT_TRUE(made.ok()) << made.status().message();
        const conv::Plan has =
            model->Prepare(prepare, pool, nullptr).value()->plan();
        const auto json = ordered_json::parse(DevicePlanJson(*made));
        EXPECT_EQ(json["plan"], has.Print());
        ASSERT_EQ(json["levels"].size(), has.levels.size());
        const std::string text = DevicePlanText(*made);
        EXPECT_NE(text.find("\n" + has.Print() + "\n"), std::string::npos);
        double sum = 0;
        for (size_t k = 0; k < has.levels.size(); ++k) {
          const ordered_json& level = json["levels"][k];
          EXPECT_EQ(level["block"], has.levels[k].block);
          EXPECT_EQ(level["radix"], has.levels[k].radix);
          EXPECT_EQ(level["tau"], conv::Name(has.levels[k].tau));
          // The planner's were measured, one and all.
          if (source == DeviceCostSource::kEstimates) {
            EXPECT_EQ(level["tiles"], "estimated");
          } else if (plan.method == conv::Method::kPlanned) {
            EXPECT_EQ(level["tiles"], "measured");
          }
          sum += level["predicted_ns"].get<double>();
        }
        EXPECT_NEAR(json["predicted_ns"], sum, 1e-9 * sum);
        EXPECT_EQ(sum > 0, !has.levels.empty());
        const bool tuned = source == DeviceCostSource::kMeasured;
        EXPECT_EQ(json["tuned"], tuned);
        EXPECT_EQ(json["costs_file"],
                  tuned ? ordered_json(file.string()) : ordered_json(nullptr));
        EXPECT_EQ(text.find(file.string()) != std::string::npos, tuned);
        EXPECT_EQ(text.find("estimates (--tune") != std::string::npos, !tuned);
        // Every byte by kind, of each device.
        const auto memory = model->EstimateMemory(prepare, 1).value();
        EXPECT_EQ(json["memory_bytes"]["total"], memory.Total());
        EXPECT_EQ(json["memory_bytes"]["weights"], memory.weights);
        EXPECT_EQ(json.contains("devices"), ranks != 1);
        for (size_t r = 0; ranks != 1 && r < ranks; ++r) {
          EXPECT_EQ(json["devices"][r]["memory_bytes"]["total"],
                    memory.ranks[r].Total());
          EXPECT_NE(text.find("on emulated:" + std::to_string(r)),
                    std::string::npos);
        }
      }
    }
  }
}

TEST(PlanDeviceTest, TuningMeasuresAnew) {
  const io::ScratchFolder folder;
  const auto device = cuda::MakeEmulatedDevice();
  cuda::DeviceCosts costs(device, folder.path() / "tiles.txt", kPatient);
  conv::Problem problem;
  problem.mixers = 2;
  problem.channels = 20;
  problem.length = problem.taps = 100;
  problem.primed = true;
  // Where nothing is to be chosen nothing is measured, unless one asks.
  PrepareOptions forced;
  forced.device_costs = DeviceCostSource::kMeasured;
  forced.plan.levels =
      conv::ParseLevels("1x8 direct-blocked, 8x2 fft-fused, 16 fft-fused", "t")
          .value();
  const auto json = [&](bool tune) {
    const auto made =
        PlanConvolutionOnDevice(costs, problem, forced, {.tune = tune});
    EXPECT_TRUE(made.ok()) << made.status().message();
    return ordered_json::parse(DevicePlanJson(made.value()));
  };
  EXPECT_FALSE(json(false)["tuned"]);
  EXPECT_EQ(folder.Count(), 0u);
  const auto tuned = json(true);
  EXPECT_TRUE(tuned["tuned"]);
  EXPECT_EQ(tuned["levels"][2]["tiles"], "measured");
  EXPECT_EQ(tuned["levels"].size(), 3u);
  EXPECT_EQ(json(false)["levels"], tuned["levels"]);
  const size_t before = cuda::EmulatedLaunches(*device);
  (void)json(true);
  EXPECT_GT(cuda::EmulatedLaunches(*device), before + 100);
}

// Answers are checked and levels timed, whatever the plan and whoever asks.
TEST(PlanDeviceTest, MeasuresWhatItFollows) {
  for (const conv::PlanOptions& plan : cuda::PlansWithLibraries()) {
    for (const size_t length : {1, 2, 7, 100}) {
      const auto device = cuda::MakeEmulatedDevice();
      cuda::DeviceCosts costs(device, {});
      conv::Problem problem;
      problem.mixers = 2;
      problem.channels = 20;
      problem.batch = 2;
      problem.length = problem.taps = length;
      problem.primed = true;
      const auto made = PlanConvolutionOnDevice(costs, problem, {.plan = plan},
                                                {.measure = true});
      ASSERT_TRUE(made.ok()) << made.status().message();
      const auto json = ordered_json::parse(DevicePlanJson(*made));
      EXPECT_LT(json["max_relative_error"], 2e-6);
      EXPECT_GT(json["red_cells_ns"], 0);
      double sum = json["red_cells_ns"];
      for (const ordered_json& level : json["levels"]) {
        EXPECT_EQ(level["measured_ns"].is_null(), made->memory.plan.Deferred());
        if (!level["measured_ns"].is_null()) {
          sum += level["measured_ns"].get<double>();
        }
      }
      EXPECT_GT(json["measured_ns"], 0);
      if (!made->memory.plan.Deferred() && !json["levels"].empty()) {
        EXPECT_NEAR(json["measured_ns"], sum, 1e-9 * sum);
      }
      EXPECT_NE(DevicePlanText(*made).find("Answers were checked"),
                std::string::npos);
      // All was given back, and all that is left is as foretold.
      EXPECT_EQ(device->FreeBytes().value(), made->memory.device_free);
    }
  }
  const auto model = Golden(2, {});
  const auto made =
      PlanModelOnDevice(*model, {.horizon = 64, .plan = {}}, {.measure = true});
  ASSERT_TRUE(made.ok()) << made.status().message();
  EXPECT_GT(made->report.measured_ns, 0);
}

}  // namespace
}  // namespace lcsm::cli
