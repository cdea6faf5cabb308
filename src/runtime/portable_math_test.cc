#include "runtime/portable_math.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace lcsm {
namespace {

// Numbers of every magnitude from `from` to below `to`.
std::vector<double> Geometric(double from, double to, double factor) {
  std::vector<double> numbers;
  while (from < to) {
    numbers.push_back(from);
    from *= factor;
  }
  return numbers;
}

TEST(PortableMathTest, Exp) {
  for (int i = 0; i < 37736; ++i) {
    const double x = -700 + 0.0371 * i;
    const long double want = std::exp(static_cast<long double>(x));
    ASSERT_NEAR(PortableExp(x) / static_cast<double>(want), 1, 1e-15) << x;
  }
  for (const double x : Geometric(1e-300, 1, 3.7)) {
    ASSERT_NEAR(PortableExp(x), std::exp(x), 4e-16 * std::exp(x));
    ASSERT_NEAR(PortableExp(-x), std::exp(-x), 4e-16);
  }
  EXPECT_EQ(PortableExp(0), 1);
  EXPECT_EQ(PortableExp(-1e6), 0);
  EXPECT_EQ(PortableExp(-std::numeric_limits<double>::infinity()), 0);
  EXPECT_EQ(PortableExp(1e6), std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(PortableExp(std::nan(""))));
}

TEST(PortableMathTest, Log) {
  for (const double x : Geometric(1e-300, 1e300, 1.0137)) {
    const long double want = std::log(static_cast<long double>(x));
    ASSERT_NEAR(PortableLog(x), static_cast<double>(want),
                1e-15 * std::max(1.0, std::abs(static_cast<double>(want))))
        << x;
  }
  EXPECT_EQ(PortableLog(1), 0);
  EXPECT_NEAR(PortableLog(5e-324), -744.4400719213812, 1e-12);
}

}  // namespace
}  // namespace lcsm
