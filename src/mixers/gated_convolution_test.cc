#include "mixers/gated_convolution.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "conv/filter_bank.h"
#include "conv/plan.h"

namespace lcsm {
namespace {

TEST(GatedConvolutionTest, MatchesTheDefinitionAndItself) {
  std::mt19937 rng(1);
  std::normal_distribution<float> normal;
  const size_t length = 70, width = 19;
  for (size_t order : {2, 3, 4}) {
    conv::Problem problem;
    problem.mixers = 1 + order - 1;  // One that belongs to somebody else.
    problem.channels = width;
    problem.length = problem.taps = length;
    auto bank = conv::FilterBank::Create(problem);
    ASSERT_TRUE(bank.ok());
    std::vector<std::vector<float>> taps(order - 1);
    for (size_t o = 0; o + 1 < order; ++o) {
      taps[o].resize(length * width);
      for (float& v : taps[o]) v = normal(rng) / 8;
      (*bank)->SetTaps(1 + o, 0, length, taps[o].data());
    }
    const size_t stride = (order + 1) * width;
    std::vector<float> streams(length * stride);
    for (float& v : streams) v = normal(rng);

    std::vector<double> want(length * width);
    for (size_t c = 0; c < width; ++c) {
      std::vector<double> v(length);
      for (size_t t = 0; t < length; ++t) {
        v[t] = streams[t * stride + order * width + c];
      }
      for (size_t o = 0; o + 1 < order; ++o) {
        std::vector<double> y(length);
        for (size_t t = 0; t < length; ++t) {
          v[t] *= streams[t * stride + (order - 1 - o) * width + c];
          for (size_t i = 0; i <= t; ++i) {
            y[t] += v[i] * taps[o][(t - i) * width + c];
          }
        }
        v = y;
      }
      for (size_t t = 0; t < length; ++t) {
        want[t * width + c] = v[t] * streams[t * stride + c];
      }
    }

    const auto plan = conv::MakePlan(problem, {});
    ASSERT_TRUE(plan.ok());
    ThreadPool pool(2);
    auto prepared =
        conv::PreparedConvolution::Create(*plan, std::move(*bank), pool);
    ASSERT_TRUE(prepared.ok());
    const GatedConvolution gated = {order, width, 1};
    std::vector<float> first(length * width);
    for (size_t together : {size_t{1}, size_t{9}, length}) {
      auto convolution = conv::OnlineConvolution::Create(*prepared, pool);
      ASSERT_TRUE(convolution.ok());
      std::vector<float> y(length * width);
      double seconds = 0;
      for (size_t t = 0; t < length; t += together) {
        const size_t count = std::min(together, length - t);
        gated.Run(**convolution, pool, count, 1, streams.data() + t * stride,
                  false, y.data() + t * width, &seconds);
        if (count == 1) {
          (*convolution)->Advance();
        } else {
          (*convolution)->AdvanceMany(count);
        }
      }
      EXPECT_GT(seconds, 0);
      if (together == 1) first = y;
      ASSERT_EQ(std::memcmp(y.data(), first.data(), y.size() * sizeof(float)),
                0);
      for (size_t i = 0; i < y.size(); ++i) {
        ASSERT_NEAR(y[i], want[i], 1e-4) << i;
      }
    }
  }
}

}  // namespace
}  // namespace lcsm
