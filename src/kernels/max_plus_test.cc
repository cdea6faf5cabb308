// Max-plus kernels against their definitions at odd sizes, on every SIMD
// target: sums and maxima of floats, so the bits must be the same.
#include "kernels/max_plus.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "base/cpu_info.h"

namespace lcsm {
namespace {

class MaxPlusKernelsTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(ForceSimdTarget(GetParam()).ok());
    std::string name = GetMaxPlusKernels().target;
    std::transform(name.begin(), name.end(), name.begin(), ::tolower);
    ASSERT_EQ(name, GetParam()) << "the forced target is the one that runs";
  }
  void TearDown() override { ASSERT_TRUE(ForceSimdTarget("best").ok()); }
};

TEST_P(MaxPlusKernelsTest, AreTheirDefinitions) {
  std::mt19937 rng(1);
  const MaxPlusKernels& kernels = GetMaxPlusKernels();
  // Few values, so that maxima are reached more than once.
  std::uniform_int_distribution<int> whole(-20, 20);
  const auto values = [&](size_t n) {
    std::vector<float> v(n);
    for (float& f : v) f = static_cast<float>(whole(rng));
    return v;
  };
  EXPECT_EQ(kernels.best(nullptr, nullptr, 0), -INFINITY);
  for (size_t count : {1, 2, 3, 7, 16, 17, 63, 64, 65, 127, 128, 129, 700}) {
    const auto x = values(count), f = values(count);
    float want = -INFINITY;
    size_t last = 0;
    for (size_t i = 0; i < count; ++i) {
      if (x[i] + f[i] >= want) {
        want = x[i] + f[i];
        last = i;
      }
    }
    EXPECT_EQ(kernels.best(x.data(), f.data(), count), want);
    float most = 0;
    EXPECT_EQ(kernels.argbest(x.data(), f.data(), count, &most), last) << count;
    EXPECT_EQ(most, want);

    const auto taps = values(count - 1 + kMaxPlusRows);
    auto y = values(kMaxPlusRows + 1);
    auto rows = y;
    for (size_t j = 0; j < kMaxPlusRows; ++j) {
      for (size_t i = 0; i < count; ++i) {
        rows[j] = std::max(rows[j], x[i] + taps[count - 1 + j - i]);
      }
    }
    kernels.rows(x.data(), taps.data() + (count - 1), count, y.data());
    EXPECT_EQ(y, rows) << count;
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, MaxPlusKernelsTest,
                         testing::ValuesIn(SupportedSimdTargets()),
                         [](const auto& target) { return target.param; });

}  // namespace
}  // namespace lcsm
