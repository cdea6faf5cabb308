// That the paper's experiments count what they say; never how fast anything is.
#include <gtest/gtest.h>

#include <bit>
#include <functional>
#include <set>

#include "base/thread_pool.h"
#include "bench/paper_bench.h"
#include "bench/paper_measure.h"
#include "bench/paper_report.h"
#include "bench/paper_sampling.h"
#include "bench/paper_stack.h"
#include "bench/svg_plot.h"
#include "kernels/tile_kernels.h"

namespace lcsm::bench {
namespace {

using conv::Method;

conv::Plan PlanOf(Method method, size_t length) {
  conv::Problem problem;
  problem.length = problem.taps = length;
  conv::PlanOptions options;
  options.method = method;
  return conv::MakePlan(problem, options).value();
}

// What a sequence is found to cost if the step at t costs cost(t), over what it
// does cost.
double Estimate(const conv::Plan& plan,
                const std::function<double(size_t)>& cost) {
  const CostClasses classes(plan);
  std::vector<double> sums(classes.size()), seen(classes.size()),
      counts(classes.size());
  for (const Window& window : SampledPositions(plan, 8, 8)) {
    for (size_t t = window.first; t < window.first + window.count; ++t) {
      sums[classes.Of(t)] += cost(t);
      ++seen[classes.Of(t)];
    }
  }
  double exact = 0, estimate = 0;
  for (size_t t = 0; t < plan.problem.length; ++t) {
    exact += cost(t);
    ++counts[classes.Of(t)];
  }
  for (size_t c = 0; c < counts.size(); ++c) {
    if (counts[c] > 0) estimate += counts[c] * sums[c] / seen[c];
  }
  return estimate / exact;
}

TEST(PaperSamplingTest, MeetsEveryClassWithinTheSequence) {
  for (const Method method : {Method::kLazy, Method::kEager, Method::kPaper}) {
    for (const size_t length : {1, 2, 3, 100, 1024, 1025, 5000, 65536}) {
      const conv::Plan plan = PlanOf(method, length);
      const CostClasses classes(plan);
      std::set<size_t> wanted, met;
      for (size_t t = 0; t < length; ++t) {
        ASSERT_LT(classes.Of(t), classes.size());
        wanted.insert(classes.Of(t));
      }
      for (const size_t few : {1, 2, 8}) {
        met.clear();
        size_t steps = 0;
        for (const Window& window : SampledPositions(plan, few, few)) {
          EXPECT_LE(window.first + window.count, length);
          EXPECT_LE(window.warm_first + window.warm_count, length);
          steps += window.count;
          for (size_t t = window.first; t < window.first + window.count; ++t)
            met.insert(classes.Of(t));
        }
        EXPECT_EQ(met, wanted) << Name(method) << " " << length << " " << few;
        if (length == 65536) {
          EXPECT_LE(steps, 64 * few + 12 * few + 40);
        }
      }
    }
  }
}

TEST(PaperSamplingTest, CountsTilesInProportion) {
  for (const size_t length : {2048, 5000, 131072}) {
    const conv::Plan plan = PlanOf(Method::kPaper, length);
    // Binary: by block size alone.
    EXPECT_NEAR(Estimate(plan,
                         [&](size_t t) {
                           const size_t r = t + 1;
                           return r < length ? static_cast<double>(r & (~r + 1))
                                             : 1.0;
                         }),
                1, 1e-9);
    // Radix 16: tile i of a parent costs i.
    EXPECT_NEAR(Estimate(plan,
                         [&](size_t t) {
                           size_t r = t + 1;
                           if (r >= length) return 1.0;
                           double block = 1;
                           for (; r % 16 == 0; r /= 16) block *= 16;
                           return block * static_cast<double>(r % 16);
                         }),
                1, 0.03)
        << length;
  }
}

TEST(PaperSamplingTest, LazyAndEagerRunLinearly) {
  for (const size_t length : {3000, 131072}) {
    EXPECT_NEAR(Estimate(PlanOf(Method::kLazy, length),
                         [](size_t t) { return 5.0 + t; }),
                1, 0.01);
    // What eager gathers, it passes on every kSumBlock positions.
    EXPECT_NEAR(Estimate(PlanOf(Method::kEager, length),
                         [&](size_t t) {
                           const double coming = length - t;
                           return (t + 1) % kSumBlock == 0 ? 9 * coming
                                                           : coming;
                         }),
                1, 0.02)
        << length;
  }
}

TEST(PaperStackTest, AgreesWithFloat64) {
  ThreadPool pool(2);
  const auto weights = MakeSyntheticWeights(3, 40, pool);
  ASSERT_TRUE(weights.ok());
  for (const Method method : {Method::kLazy, Method::kPaper}) {
    conv::PlanOptions options;
    options.method = method;
    const StatusOr<double> error =
        CheckSyntheticStack(**weights, options, 2, pool);
    ASSERT_TRUE(error.ok());
    EXPECT_GT(*error, 0);
    EXPECT_LT(*error, 1e-5);
  }
  const auto hyena = MakeHyenaWeights(2, 32, 64);
  ASSERT_TRUE(hyena.ok()) << hyena.status().message();
  const StatusOr<double> error = CheckHyenaStack(*hyena, {}, pool);
  ASSERT_TRUE(error.ok());
  EXPECT_LT(*error, 1e-5);
}

TEST(PaperBenchTest, WholeAndSampledRunsSayTheSameThings) {
  PaperCase wanted;
  wanted.layers = 2;
  wanted.width = 20;
  wanted.lengths = {1500};
  wanted.methods.resize(2);
  wanted.methods[0].method = Method::kLazy;
  wanted.repeats = 2;
  wanted.threads = 1;
  for (const double whole : {0.0, 1e6}) {
    wanted.whole_run_seconds = whole;
    const StatusOr<PaperResult> result = RunPaper(wanted, nullptr);
    ASSERT_TRUE(result.ok()) << result.status().message();
    ASSERT_EQ(result->rows.size(), 2u);
    EXPECT_EQ(result->rows[0].mixers_vs_lazy, 1);
    EXPECT_GT(result->rows[1].mixers_vs_lazy, 0);
    for (const PaperRow& row : result->rows) {
      EXPECT_EQ(row.sampled, whole == 0);
      EXPECT_EQ(row.checked_length, 1500u);
      EXPECT_GT(row.max_relative_error, 0);
      EXPECT_EQ(row.curve.back().position, 1500u);
    }
    EXPECT_EQ(PaperPictures(wanted, *result, {}).size(), 3u);
  }
}

TEST(SvgPlotTest, LabelsStayInThePictureAndApart) {
  Chart chart;
  for (int i = 0; i < 12; ++i)
    chart.series.push_back({"s" + std::to_string(i), {1, 2}, {1, 1}});
  const std::string svg = LogLogSvg(chart);
  std::vector<double> heights;
  for (int i = 0; i < 12; ++i) {
    const size_t label = svg.find(">s" + std::to_string(i) + "<");
    ASSERT_NE(label, std::string::npos);
    const size_t y = svg.rfind(" y=\"", label);
    heights.push_back(std::stod(svg.substr(y + 4)));
  }
  std::sort(heights.begin(), heights.end());
  for (size_t i = 1; i < heights.size(); ++i)
    EXPECT_GE(heights[i] - heights[i - 1], 15.9);
  EXPECT_GT(heights.front(), 0);
  EXPECT_LT(heights.back(), 520);
}

}  // namespace
}  // namespace lcsm::bench
