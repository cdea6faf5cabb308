// That device benchmarks check their answers and fill in their fields, on the
// emulated device; the times mean nothing.
#include <gtest/gtest.h>

#include "bench/gpu_mixers.h"
#include "bench/gpu_model.h"
#include "cuda/emulated_device.h"

namespace lcsm::bench {
namespace {

TEST(GpuBenchTest, MixersByEveryMethod) {
  const auto result = MeasureGpuMixers(
      cuda::MakeEmulatedDevice(),
      {.mixers = 1, .channels = 3, .length = 100, .repeats = 1});
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
  const auto result =
      MeasureGpuMixers(cuda::MakeEmulatedDevice({.memory_bytes = 30 << 10}),
                       {.mixers = 1, .channels = 3, .length = 100});
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

}  // namespace
}  // namespace lcsm::bench
