// That device benchmarks check their answers and fill in their fields, on the
// emulated device; the times mean nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "bench/gpu_floor.h"
#include "bench/gpu_hyena.h"
#include "bench/gpu_mixers.h"
#include "bench/gpu_model.h"
#include "bench/gpu_paper.h"
#include "bench/gpu_sampling.h"
#include "bench/gpu_stack.h"
#include "bench/gpu_targets.h"
#include "cuda/emulated_device.h"

namespace lcsm::bench {
namespace {

using nlohmann::ordered_json;

TEST(GpuBenchTest, MixersByEveryMethod) {
  GpuCosts costs(cuda::MakeEmulatedDevice());
  const auto result = MeasureGpuMixers(
      costs, {.mixers = 1, .channels = 3, .length = 100, .repeats = 1});
  EXPECT_TRUE(result["notes"].empty()) << result["notes"].dump();
  ASSERT_EQ(result["results"].size(), 9u) << result.dump(1);
  for (const auto& row : result["results"]) {
    EXPECT_GT(double{row["seconds"]}, 0);
    EXPECT_LT(double{row["max_relative_error"]}, 2e-6);
    const std::string method = row["method"];
    EXPECT_EQ(row.contains("vs_better_of_lazy_and_eager"),
              method != "lazy" && method != "eager");
  }
  EXPECT_NE(GpuMixerSvg(result, "note").find("hybrid"), std::string::npos);
}

TEST(GpuBenchTest, WhatDoesNotFitIsANote) {
  GpuCosts costs(cuda::MakeEmulatedDevice({.memory_bytes = 30 << 10}));
  const auto result =
      MeasureGpuMixers(costs, {.mixers = 1, .channels = 3, .length = 100});
  EXPECT_TRUE(result["results"].empty());
  EXPECT_GE(result["notes"].size(), 9u);
}

TEST(GpuBenchTest, Models) {
  const auto result =
      MeasureGpuModel(cuda::MakeEmulatedDevice(), {.shape = "hyenadna-tiny-1k",
                                                   .horizon = 160,
                                                   .positions = {40},
                                                   .steps = 2,
                                                   .score_tokens = 50});
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_LT(double{(*result)["max_logit_difference"]}, 1e-4);
  ASSERT_EQ((*result)["results"].size(), 1u);
  EXPECT_GT(double{(*result)["results"][0]["step_us"]["median"]}, 0);
  EXPECT_GT(double{(*result)["score_seconds"]}, 0);
  EXPECT_GT(double{(*result)["score_prepare_seconds"]}, 0);
}

std::vector<GpuMethod> Methods(cuda::Device& device,
                               const conv::Problem& problem) {
  std::vector<GpuMethod> methods =
      GpuMethods(device.info(), problem, conv::TileCosts(), true);
  methods.push_back({"gardner", {.method = conv::Method::kGardner}});
  return methods;
}

// Transforms go through device memory in passes, few histories at a time.
std::shared_ptr<cuda::Device> SmallDevice(size_t shared_bytes) {
  return cuda::MakeEmulatedDevice(
      {.shared_bytes = shared_bytes, .l2_bytes = 64 << 10});
}

TEST(GpuBenchTest, TheStackHasTheCpusOutputs) {
  constexpr size_t kLength = 70;
  ThreadPool pool(1);
  for (const auto& [layers, width, batch] :
       {std::array<size_t, 3>{3, 5, 1}, {2, 18, 3}, {1, 3, 8}}) {
    const auto device = SmallDevice(24 << 10);
    const conv::Problem problem = GpuProblem(layers, width, batch, kLength);
    const auto parts = GpuStackParts::Create(device, problem, pool).value();
    EXPECT_EQ(parts->weight_bytes(), 8 * width * width * layers * 4);
    std::vector<float> want = parts->HostOutputs(kLength, pool).value();
    ASSERT_EQ(want.size(), kLength * batch * width);
    for (const GpuMethod& method : Methods(*device, problem)) {
      SCOPED_TRACE(method.label);
      const GpuPlan plan = FittingPlan(*device, problem, method).value();
      const auto stack = GpuStack::Create(parts, plan.plan, plan.bytes).value();
      const auto error = stack->Check(want);
      ASSERT_TRUE(error.ok()) << error.status().message();
      EXPECT_LT(*error, 2e-6);
      // Twice gives the same.
      EXPECT_EQ(stack->Check(want).value(), *error);
      // One output that is off by a thousandth of the largest.
      std::vector<float> other = want;
      other[want.size() - 2] +=
          *std::max_element(want.begin(), want.end()) / 1000;
      const Status wrong = stack->Check(other).status();
      EXPECT_NE(wrong.message().find("wrong"), std::string::npos);
      // And without mixers it is another model.
      stack->LeaveMixersOut(true);
      EXPECT_FALSE(stack->Check(want).ok());
    }
  }
}

TEST(GpuBenchTest, RowsThatNoBlockHoldsAreRefused) {
  ThreadPool pool(1);
  const auto device = SmallDevice(8 << 10);
  const conv::Problem problem = GpuProblem(1, 64, 8, 16);
  const auto parts = GpuStackParts::Create(device, problem, pool).value();
  const GpuPlan plan =
      FittingPlan(*device, problem, {"lazy", {.method = conv::Method::kLazy}})
          .value();
  EXPECT_EQ(GpuStack::Create(parts, plan.plan, plan.bytes).status().code(),
            StatusCode::kResourceExhausted);
}

// What is derived is what the emulated device counts.
void ExpectLaunches(cuda::Device& device, GpuSteps& steps) {
  const size_t length = steps.plan().problem.length;
  for (const bool bare : {false, true}) {
    steps.LeaveMixersOut(bare);
    // What is captured or prepared at first has launches of its own.
    ASSERT_TRUE(steps.PutAt(0).ok());
    ASSERT_TRUE(steps.Go(1, GpuSteps::Host::kAhead).ok());
    ASSERT_TRUE(steps.PutAt(0).ok());
    const size_t before = cuda::EmulatedLaunches(device);
    ASSERT_TRUE(steps.Go(length, GpuSteps::Host::kAhead).ok());
    const double mean =
        static_cast<double>(cuda::EmulatedLaunches(device) - before) /
        static_cast<double>(length);
    const double tiles = bare ? 0 : MeanTileLaunches(device, steps.plan());
    EXPECT_NEAR(mean, static_cast<double>(steps.Launches(!bare)) + tiles, 1e-9);
  }
}

TEST(GpuBenchTest, LaunchesAreWhatTheDeviceCounts) {
  ThreadPool pool(1);
  const auto device = SmallDevice(8 << 10);
  const conv::Problem problem = GpuProblem(2, 5, 1, 600);
  const auto parts = GpuStackParts::Create(device, problem, pool).value();
  for (const GpuMethod& method : Methods(*device, problem)) {
    // The emulated device counts a library's launches otherwise.
    if (method.label == "fft-library" || method.label == "direct") continue;
    SCOPED_TRACE(method.label);
    const GpuPlan plan = FittingPlan(*device, problem, method).value();
    ExpectLaunches(*device,
                   *GpuStack::Create(parts, plan.plan, plan.bytes).value());
  }
}

TEST(GpuBenchTest, TheHyenaSettingHasTheCpusLogits) {
  ThreadPool pool(1);
  const auto device = SmallDevice(24 << 10);
  const size_t length = 80;
  const auto model = GpuHyenaModel::Create(device, 2, 32, length).value();
  std::vector<float> want = model.HostLogits(40, pool).value();
  for (const GpuMethod& method :
       GpuMethods(device->info(), GpuProblem(2, 32, 1, length),
                  conv::TileCosts(), false)) {
    SCOPED_TRACE(method.label);
    const auto hyena =
        GpuHyena::Create(model, method.options, length, pool).value();
    EXPECT_LT(hyena->Check(want).value(), 1e-4);
    std::vector<float> other = want;
    other.back() += 0.01f;
    EXPECT_FALSE(hyena->Check(other).ok());
    EXPECT_GT(hyena->bytes(), 0u);
    ExpectLaunches(*device, *hyena);
    // From a position on as far as it goes, either way.
    for (const GpuSteps::Host host :
         {GpuSteps::Host::kAhead, GpuSteps::Host::kWaits}) {
      ASSERT_TRUE(hyena->PutAt(64).ok());
      EXPECT_TRUE(hyena->Go(16, host).ok());
    }
    EXPECT_FALSE(hyena->PutAt(length + 1).ok());
  }
}

TEST(GpuBenchTest, WholeModelsOfThePapersSettings) {
  GpuCosts costs(cuda::MakeEmulatedDevice());
  ordered_json report = {{"models", ordered_json::array()},
                         {"mixers", ordered_json::array()},
                         {"paper", ordered_json::array()}};
  for (const PaperSetting setting :
       {PaperSetting::kSynthetic, PaperSetting::kHyena}) {
    GpuPaperCase wanted;
    wanted.setting = setting;
    wanted.layers = 2;
    wanted.width = 12;
    wanted.length = 64;
    wanted.repeats = 1;
    wanted.steps = 8;
    wanted.checked = 40;
    wanted.copy_bytes = 1 << 12;
    const auto result = MeasureGpuPaper(costs, wanted);
    ASSERT_TRUE(result.ok()) << result.status().message();
    EXPECT_TRUE((*result)["notes"].empty()) << (*result)["notes"].dump();
    ASSERT_EQ((*result)["results"].size(), 5u);
    for (const auto& row : (*result)["results"]) {
      EXPECT_GT(double{row["seconds"]}, 0);
      const std::string method = row["method"];
      if (method == "lazy" || method == "eager") continue;
      for (const char* const key :
           {"worst_ratio", "amortised_ratio", "gigabytes_a_second",
            "share_of_copy", "launches_a_token", "launch_share",
            "vs_better_of_lazy_and_eager", "step_us_without_mixers"}) {
        EXPECT_GT(double{row[key]}, 0) << key;
      }
      EXPECT_GE(row["steps"].size(), 3u);
      EXPECT_GE(double{row["idle_share"]}, 0);
    }
    EXPECT_NE(GpuPaperSvg(*result, "note").find("without mixers"),
              std::string::npos);
    report["paper"].push_back(*result);
  }
  // Without time there are notes instead of methods.
  GpuPaperCase none;
  none.layers = 1;
  none.width = 4;
  none.length = 16;
  none.seconds = 0;
  none.copy_bytes = 1 << 12;
  EXPECT_EQ(MeasureGpuPaper(costs, none).value()["notes"].size(), 5u);
  const ordered_json targets = GpuTargets(report);
  // Two of end to end, one of steps, two of bandwidth, three sights of each.
  EXPECT_EQ(targets.size(), 11u) << targets.dump(1);  // No models, mixers.
  for (const auto& row : targets) EXPECT_NE(row["verdict"], "not measured");
}

TEST(GpuBenchTest, TargetsAreMetOrMissed) {
  ordered_json report = ordered_json::parse(R"({
    "mixers": [{"mixers": 18, "channels": 768, "batch": 1, "length": 1024,
      "results": [{"method": "lazy"},
        {"method": "hybrid", "seconds": 3, "vs_better_of_lazy_and_eager": 109.0},
        {"method": "planned", "seconds": 2, "vs_better_of_lazy_and_eager": 111.0}]}],
    "paper": [{"setting": "synthetic", "layers": 18, "width": 768, "batch": 1,
      "length": 1024, "results": [
        {"method": "hybrid", "seconds": 1,
          "vs_better_of_lazy_and_eager": 7.7, "worst_ratio": 1.05,
          "amortised_ratio": 1.2, "share_of_copy": 0.61},
        {"method": "planned", "seconds": 2,
          "vs_better_of_lazy_and_eager": 3.9, "worst_ratio": 1.02,
          "amortised_ratio": 1.03, "share_of_copy": 0.3}]}],
    "models": [{"shape": "hyenadna-tiny-1k", "results": []},
      {"shape": "hyenadna-large-1m", "launches_overlap": true,
        "score_tokens": 1000000, "score_seconds": 5.5, "results": [
          {"position": 7, "step_us": {"median": 120}},
          {"position": 8, "step_us": {"median": 120},
            "step_us_device_samples": {"median": 80}}]},
      {"shape": "hyenadna-large-1m", "launches_overlap": false, "results": [
          {"position": 7, "step_us": {"median": 200}}]}]})");
  const ordered_json targets = GpuTargets(report);
  std::vector<std::string> verdicts;
  for (const auto& row : targets) verdicts.push_back(row["verdict"]);
  EXPECT_EQ(verdicts, (std::vector<std::string>{
                          "met", "met", "missed", "missed", "met", "missed",
                          "met", "missed", "seen", "not measured",
                          "not measured", "not measured"}));
  EXPECT_EQ(targets[0]["method"], "planned");
  EXPECT_EQ(targets[1]["seen"], 1.5);
  EXPECT_EQ(targets[6]["seen"], 12500);
  EXPECT_EQ(targets[8]["seen"], 5000);
  const std::string table = PrintGpuTargets(targets);
  EXPECT_NE(table.find("at least 7.8"), std::string::npos) << table;
}

TEST(GpuBenchTest, SamplesStandForTheWhole) {
  // A step's cost as tilings have it: by the power of two that divides the
  // number of known inputs.
  const auto tiling = [](size_t first, size_t last) -> StatusOr<double> {
    double sum = 0;
    for (size_t known = first + 1; known <= last; ++known) {
      sum += 1 + std::sqrt(known & (~known + 1));
    }
    return sum;
  };
  for (const size_t length : {100, 1024, 1 << 13, 1 << 16}) {
    const double whole = tiling(0, length).value();
    for (size_t turn = 0; turn < 3; ++turn) {
      const double sampled = SampledTiling(length, turn, tiling).value();
      // The last position's tile is nobody's, and one step counts twice.
      EXPECT_NEAR(sampled, whole, std::sqrt(length) + 20) << length;
    }
  }
  const auto growing = [](size_t first, size_t last) -> StatusOr<double> {
    return 0.5 * static_cast<double>(last * last - first * first);
  };
  EXPECT_NEAR(SampledQuadratic(1 << 12, growing).value(), 0.5 * (1 << 24),
              0.02 * (1 << 23));
}

}  // namespace
}  // namespace lcsm::bench
