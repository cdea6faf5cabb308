// Pointwise kernels against their scalar twins at odd sizes, on every SIMD
// target.
#include "kernels/pointwise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "base/cpu_info.h"
#include "kernels/ref/pointwise_ref.h"

namespace lcsm {
namespace {

constexpr double kUnit = 5.9604644775390625e-8;  // 2^-24
const size_t kSizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 48, 100, 257};

std::vector<float> Normal(size_t n, std::mt19937& rng) {
  std::normal_distribution<float> normal;
  std::vector<float> v(n);
  for (float& f : v) f = normal(rng);
  return v;
}

class PointwiseTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(ForceSimdTarget(GetParam()).ok());
    std::string name = GetPointwiseKernels().target;
    std::transform(name.begin(), name.end(), name.begin(), ::tolower);
    ASSERT_EQ(name, GetParam()) << "the forced target is the one that runs";
  }
  void TearDown() override { ASSERT_TRUE(ForceSimdTarget("best").ok()); }
};

TEST_P(PointwiseTest, LayerNorm) {
  std::mt19937 rng(1);
  const PointwiseKernels& k = GetPointwiseKernels();
  for (size_t n : kSizes) {
    for (float offset : {0.0f, 100.0f}) {
      std::vector<float> x = Normal(n, rng), w = Normal(n, rng),
                         b = Normal(n, rng), y(n + 1, -7.0f);
      for (float& f : x) f += offset;
      std::vector<double> want(n);
      ref::LayerNorm(x.data(), w.data(), b.data(), n, 1e-5f, want.data());
      k.layer_norm(x.data(), w.data(), b.data(), n, 1e-5f, y.data());
      // A mean near 100 is known to 2^-24 * 100 times a small number; a row of
      // one element has variance 0 and divides that error by sqrt(eps).
      const double spread = n < 4 ? 300 : 4;
      const double bound = kUnit * (16 + 8 * offset) * spread;
      for (size_t i = 0; i < n; ++i) {
        ASSERT_NEAR(y[i], want[i], bound * (1 + std::abs(w[i]))) << n;
      }
      ASSERT_EQ(y[n], -7.0f);
      // In place gives the same.
      k.layer_norm(x.data(), w.data(), b.data(), n, 1e-5f, x.data());
      ASSERT_EQ(std::memcmp(x.data(), y.data(), n * sizeof(float)), 0);
    }
  }
}

TEST_P(PointwiseTest, GeluIsAccurate) {
  const PointwiseKernels& k = GetPointwiseKernels();
  std::vector<float> x;
  for (float a = -20; a < 20; a += 0.00093f) x.push_back(a);
  for (float a = 1e-30f; a < 1e5f; a *= 1.37f) {
    x.push_back(a);
    x.push_back(-a);
  }
  x.push_back(0.0f);
  std::vector<float> y(x.size());
  k.gelu(x.data(), x.size(), y.data());
  for (size_t i = 0; i < x.size(); ++i) {
    const double want = ref::Gelu(x[i]);
    // Where exp(87) stands in for more, the result is below 1e-36.
    ASSERT_NEAR(y[i], want, 4 * kUnit * std::abs(x[i])) << x[i];
    if (x[i] >= -1) {
      ASSERT_NEAR(y[i], want, 8 * kUnit * std::abs(want) + 1e-44) << x[i];
    }
  }
  const float odd[] = {std::numeric_limits<float>::quiet_NaN(),
                       std::numeric_limits<float>::infinity()};
  float out[2];
  k.gelu(odd, 2, out);
  EXPECT_TRUE(std::isnan(out[0]));
  EXPECT_EQ(out[1], odd[1]);
}

// Cutting a range in two must not change a bit.
TEST_P(PointwiseTest, BitsDoNotDependOnTheRange) {
  std::mt19937 rng(2);
  const PointwiseKernels& k = GetPointwiseKernels();
  const size_t n = 61;
  const std::vector<float> a = Normal(n, rng), b = Normal(n, rng);
  const std::vector<float> w = Normal(3 * n, rng), tail = Normal(2 * n, rng);
  std::vector<float> gelu(n), fir(n), whole_tail = tail;
  k.gelu(a.data(), n, gelu.data());
  k.fir_step(a.data(), w.data(), b.data(), 3, n, n, whole_tail.data(),
             fir.data());
  for (size_t cut = 1; cut < n; ++cut) {
    std::vector<float> y(n), t = tail;
    k.gelu(a.data(), cut, y.data());
    k.gelu(a.data() + cut, n - cut, y.data() + cut);
    ASSERT_EQ(std::memcmp(y.data(), gelu.data(), n * sizeof(float)), 0);
    k.fir_step(a.data(), w.data(), b.data(), 3, n, cut, t.data(), y.data());
    k.fir_step(a.data() + cut, w.data() + cut, b.data() + cut, 3, n, n - cut,
               t.data() + cut, y.data() + cut);
    ASSERT_EQ(std::memcmp(y.data(), fir.data(), n * sizeof(float)), 0);
    ASSERT_EQ(t, whole_tail);
  }
}

TEST_P(PointwiseTest, AddAndMultiply) {
  std::mt19937 rng(3);
  const PointwiseKernels& k = GetPointwiseKernels();
  for (size_t n : kSizes) {
    const std::vector<float> a = Normal(n, rng), b = Normal(n, rng);
    std::vector<float> sum(n + 1, -7.0f), product(n + 1, -7.0f);
    k.add(a.data(), b.data(), n, sum.data());
    k.multiply(a.data(), b.data(), n, product.data());
    for (size_t i = 0; i < n; ++i) {
      ASSERT_EQ(sum[i], a[i] + b[i]);
      ASSERT_EQ(product[i], a[i] * b[i]);
    }
    ASSERT_EQ(sum[n], -7.0f);
    ASSERT_EQ(product[n], -7.0f);
  }
}

TEST_P(PointwiseTest, ShortFir) {
  std::mt19937 rng(4);
  const PointwiseKernels& k = GetPointwiseKernels();
  for (size_t n : kSizes) {
    for (size_t taps : {1, 2, 3, 4, 7}) {
      const size_t stride = n + 2;
      const std::vector<float> w = Normal(taps * stride, rng),
                               bias = Normal(n, rng);
      std::vector<float> tail((taps - 1) * stride + 1), y(n + 1, -7.0f);
      std::vector<std::vector<float>> history;
      for (size_t t = 0; t < 10; ++t) {
        history.push_back(Normal(n, rng));
        std::vector<double> want(n);
        ref::FirStep(history[t].data(), w.data(), bias.data(), taps, stride, n,
                     tail.data(), want.data());
        std::vector<float> x = history[t];
        k.fir_step(x.data(), w.data(), bias.data(), taps, stride, n,
                   tail.data(), y.data());
        for (size_t i = 0; i < n; ++i) {
          ASSERT_NEAR(y[i], want[i], 2e-6);
          // The tail is the last taps - 1 inputs, zeros before the first.
          for (size_t j = 0; j + 1 < taps; ++j) {
            const size_t back = taps - 2 - j;
            ASSERT_EQ(tail[j * stride + i],
                      back <= t ? history[t - back][i] : 0.0f);
          }
        }
        ASSERT_EQ(y[n], -7.0f);
      }
    }
  }
}

// Rows at once, wherever their outputs go and whatever they are multiplied by,
// against a step at a time.
TEST_P(PointwiseTest, FirRowsHasTheBitsOfSteps) {
  std::mt19937 rng(14);
  const PointwiseKernels& k = GetPointwiseKernels();
  for (size_t n : kSizes) {
    for (size_t taps : {1, 2, 3, 4, 7}) {
      for (size_t count : {0, 1, 2, 3, 10}) {
        const size_t stride = n + 2, past = taps - 1;
        const std::vector<float> w = Normal(taps * stride, rng),
                                 bias = Normal(n, rng),
                                 x = Normal((past + count) * stride, rng),
                                 factor = Normal(count * (n + 1), rng);
        std::vector<float> tail(x.begin(), x.begin() + past * stride);
        tail.resize(past * stride + 1);
        std::vector<float> want(count * stride, -7.0f), product = want;
        for (size_t t = 0; t < count; ++t) {
          float* const row = want.data() + t * stride;
          k.fir_step(x.data() + (past + t) * stride, w.data(), bias.data(),
                     taps, stride, n, tail.data(), row);
          for (size_t i = 0; i < n; ++i) {
            product[t * stride + i] = factor[t * (n + 1) + i] * row[i];
          }
        }
        const float* const first = x.data() + past * stride;
        std::vector<float> y(count * stride, -7.0f);
        k.fir_rows(first, w.data(), bias.data(), taps, stride, n, count,
                   nullptr, 0, y.data(), stride);
        ASSERT_EQ(y, want) << n << " channels, " << taps << " taps";
        y.assign(count * stride, -7.0f);
        k.fir_rows(first, w.data(), bias.data(), taps, stride, n, count,
                   factor.data(), n + 1, y.data(), stride);
        ASSERT_EQ(y, product) << n << " channels, " << taps << " taps";
        // In place of the factor.
        std::vector<float> place = factor;
        k.fir_rows(first, w.data(), bias.data(), taps, stride, n, count,
                   place.data(), n + 1, place.data(), n + 1);
        for (size_t t = 0; t < count; ++t) {
          for (size_t i = 0; i < n; ++i) {
            ASSERT_EQ(place[t * (n + 1) + i], product[t * stride + i]);
          }
          ASSERT_EQ(place[t * (n + 1) + n], factor[t * (n + 1) + n]);
        }
      }
    }
  }
}

TEST_P(PointwiseTest, RoundF64SaysWhatIsNotFinite) {
  const PointwiseKernels& k = GetPointwiseKernels();
  std::mt19937_64 rng(15);
  std::normal_distribution<double> normal;
  for (size_t n : kSizes) {
    std::vector<double> x(n);
    for (double& v : x) v = normal(rng);
    std::vector<float> y(n + 1, -7.0f);
    ASSERT_TRUE(k.round_f64(x.data(), n, y.data()));
    for (size_t i = 0; i < n; ++i) ASSERT_EQ(y[i], static_cast<float>(x[i]));
    ASSERT_EQ(y[n], -7.0f);
    for (size_t i = 0; i < n; ++i) {
      const double was = x[i];
      for (const double bad :
           {std::numeric_limits<double>::quiet_NaN(),
            std::numeric_limits<double>::infinity(), -0x1.ffffffp+127}) {
        x[i] = bad;
        ASSERT_FALSE(k.round_f64(x.data(), n, y.data())) << bad << " at " << i;
      }
      x[i] = -0x1.fffffefffp+127;  // Rounds to the last float.
      ASSERT_TRUE(k.round_f64(x.data(), n, y.data()));
      x[i] = was;
    }
  }
}

TEST_P(PointwiseTest, SineF64) {
  const PointwiseKernels& k = GetPointwiseKernels();
  std::mt19937_64 rng(5);
  std::vector<double> x;
  for (double range : {1e-8, 1.0, 10.0, 1000.0, 1e6, 1e9}) {
    std::uniform_real_distribution<double> uniform(-range, range);
    for (int i = 0; i < 20001; ++i) x.push_back(uniform(rng));
  }
  // Neighbours of multiples of pi/2, where the reduction cancels most.
  for (int n = -3000; n < 3000; ++n) {
    const double near = n * 1.5707963267948966;
    x.push_back(near);
    x.push_back(std::nextafter(near, 1e9));
  }
  for (double scale : {1.0, 10.0, -0.37}) {
    std::vector<double> y = x;
    k.sine_f64(scale, y.size(), y.data());
    for (size_t i = 0; i < x.size(); ++i) {
      const double argument = x[i] * scale;
      const long double want = std::sin(static_cast<long double>(argument));
      ASSERT_NEAR(y[i], static_cast<double>(want), 4e-16) << argument;
    }
  }
}

TEST_P(PointwiseTest, WindowF64) {
  const PointwiseKernels& k = GetPointwiseKernels();
  const size_t n = 1003;
  std::vector<double> t(n);
  for (size_t i = 0; i < n; ++i) t[i] = static_cast<double>(i) / (n - 1);
  for (double rate : {0.0, 3.07, 15.35, 600.0, 5000.0}) {
    for (double shift : {0.0, 0.05}) {
      std::vector<double> g(n, 1.5);
      k.window_f64(t.data(), rate, shift, n, g.data());
      for (size_t i = 0; i < n; ++i) {
        const double argument = -t[i] * rate;
        const double want = 1.5 * (std::exp(argument) + shift);
        ASSERT_NEAR(g[i], want, 1e-15 * want + 1e-300) << rate << " " << i;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, PointwiseTest,
                         testing::ValuesIn(SupportedSimdTargets()),
                         [](const auto& target) { return target.param; });

}  // namespace
}  // namespace lcsm
