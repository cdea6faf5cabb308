// Activations and the RMS norm against their scalar twins, on every SIMD
// target.
#include "kernels/activation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "base/cpu_info.h"
#include "kernels/ref/activation_ref.h"

namespace lcsm {
namespace {

constexpr double kUnit = 0x1p-24;
constexpr double kTiny = 0x1p-120;

std::vector<float> Normal(size_t n, std::mt19937& rng) {
  std::normal_distribution<float> normal;
  std::vector<float> v(n);
  for (float& f : v) f = normal(rng);
  return v;
}

// Everywhere that matters, both signs, and far beyond.
std::vector<float> Arguments() {
  std::vector<float> x = {0.0f, -0.0f};
  for (float a = -20; a < 20; a += 0.00093f) x.push_back(a);
  for (float a = 1e-30f; a < 1e5f; a *= 1.37f) {
    x.push_back(a);
    x.push_back(-a);
  }
  return x;
}

class ActivationTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(ForceSimdTarget(GetParam()).ok());
    std::string name = GetActivationKernels().target;
    std::transform(name.begin(), name.end(), name.begin(), ::tolower);
    ASSERT_EQ(name, GetParam()) << "the forced target is the one that runs";
  }
  void TearDown() override { ASSERT_TRUE(ForceSimdTarget("best").ok()); }
};

TEST_P(ActivationTest, ErrorsAreThoseOfTheContract) {
  const ActivationKernels& k = GetActivationKernels();
  const std::vector<float> x = Arguments();
  std::vector<float> sigmoid(x.size()), silu(x.size()), gelu(x.size()),
      softplus(x.size());
  k.sigmoid(x.data(), x.size(), sigmoid.data());
  k.silu(x.data(), x.size(), silu.data());
  k.gelu_erf(x.data(), x.size(), gelu.data());
  k.softplus(x.data(), x.size(), softplus.data());
  for (size_t i = 0; i < x.size(); ++i) {
    const double s = ref::Sigmoid(x[i]), a = std::abs(double{x[i]});
    ASSERT_NEAR(sigmoid[i], s, 8 * kUnit * s + kTiny) << x[i];
    ASSERT_NEAR(silu[i], x[i] * s, (8 * kUnit * s + kTiny) * a) << x[i];
    ASSERT_NEAR(gelu[i], ref::GeluErf(x[i]), 6 * kUnit * a) << x[i];
    const double plus = ref::Softplus(x[i]);
    ASSERT_NEAR(softplus[i], plus, 8 * kUnit * plus + kTiny) << x[i];
  }
}

TEST_P(ActivationTest, WhatIsNoNumberStaysNone) {
  const ActivationKernels& k = GetActivationKernels();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const auto run : {k.sigmoid, k.silu, k.gelu_erf, k.softplus}) {
    float y = 0;
    run(&nan, 1, &y);
    EXPECT_TRUE(std::isnan(y));
  }
}

// Cutting a range in two must not change a bit, nor must working in place.
TEST_P(ActivationTest, BitsDoNotDependOnTheRange) {
  std::mt19937 rng(2);
  const ActivationKernels& k = GetActivationKernels();
  const size_t n = 61;
  const std::vector<float> a = Normal(n, rng);
  for (const auto run : {k.sigmoid, k.silu, k.gelu_erf, k.softplus}) {
    std::vector<float> whole(n + 1, -7.0f);
    run(a.data(), n, whole.data());
    ASSERT_EQ(whole[n], -7.0f);
    for (size_t cut = 0; cut <= n; ++cut) {
      std::vector<float> y = a;
      run(y.data(), cut, y.data());
      run(y.data() + cut, n - cut, y.data() + cut);
      ASSERT_EQ(std::memcmp(y.data(), whole.data(), n * sizeof(float)), 0);
    }
  }
}

TEST_P(ActivationTest, RmsNorm) {
  std::mt19937 rng(3);
  const ActivationKernels& k = GetActivationKernels();
  for (size_t n : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 48, 100, 257}) {
    std::vector<float> x = Normal(n, rng);
    const std::vector<float> w = Normal(n, rng), b = Normal(n, rng);
    for (const float* weight : {static_cast<const float*>(nullptr), w.data()}) {
      for (const float* bias : {static_cast<const float*>(nullptr), b.data()}) {
        for (const bool outside : {false, true}) {
          std::vector<float> y(n + 1, -7.0f);
          std::vector<double> want(n);
          ref::RmsNorm(x.data(), weight, bias, n, 1e-3, outside, want.data());
          k.rms_norm(x.data(), weight, bias, n, 1e-3, outside, y.data());
          for (size_t i = 0; i < n; ++i) {
            // The scale, two products and a sum, each rounded once.
            const double size =
                std::abs(want[i]) + (bias == nullptr ? 0 : 2 * std::abs(b[i]));
            ASSERT_NEAR(y[i], want[i], 4 * kUnit * size) << n;
          }
          ASSERT_EQ(y[n], -7.0f);
          std::vector<float> z = x;
          k.rms_norm(z.data(), weight, bias, n, 1e-3, outside, z.data());
          ASSERT_EQ(std::memcmp(z.data(), y.data(), n * sizeof(float)), 0);
        }
      }
    }
  }
  // Nothing to divide by.
  const std::vector<float> zeros(19);
  std::vector<float> y(19, 1.0f);
  k.rms_norm(zeros.data(), nullptr, nullptr, 19, 0, false, y.data());
  EXPECT_EQ(y, zeros);
}

INSTANTIATE_TEST_SUITE_P(Targets, ActivationTest,
                         testing::ValuesIn(SupportedSimdTargets()),
                         [](const auto& target) { return target.param; });

}  // namespace
}  // namespace lcsm
