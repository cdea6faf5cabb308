#include "runtime/philox.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace lcsm {
namespace {

// The known answers that the authors publish with their library (Random123,
// philox4x32 10 rounds): all zeros, all ones, digits of pi.
TEST(PhiloxTest, KnownAnswers) {
  using Four = std::array<uint32_t, 4>;
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}),
            (Four{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t ones = 0xffffffff;
  EXPECT_EQ(Philox4x32({ones, ones, ones, ones}, {ones, ones}),
            (Four{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                       {0xa4093822, 0x299f31d0}),
            (Four{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(PhiloxTest, UniformMapping) {
  // r0 = 0x6627e8d5, r1 = 0xe169c58d of the first known answer.
  const uint64_t bits = uint64_t{0xe169c58d6627e8d5} >> 11;
  EXPECT_EQ(UniformAt(0, 0, 0), std::ldexp(static_cast<double>(bits), -53));
}

TEST(PhiloxTest, EveryPartOfTheKeyCounts) {
  const uint64_t high = uint64_t{1} << 40;
  const std::set<double> all = {UniformAt(0, 0, 0),    UniformAt(1, 0, 0),
                                UniformAt(0, 1, 0),    UniformAt(0, 0, 1),
                                UniformAt(high, 0, 0), UniformAt(0, high, 0),
                                UniformAt(0, 0, high)};
  EXPECT_EQ(all.size(), 7u);
}

TEST(PhiloxTest, UniformHasTheMomentsOfOne) {
  double sum = 0, squares = 0;
  const int n = 100000;
  for (int i = 0; i < n; ++i) {
    const double u = UniformAt(7, 0, static_cast<uint64_t>(i));
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    sum += u;
    squares += u * u;
  }
  // Standard errors 0.0009 and 0.0009.
  EXPECT_NEAR(sum / n, 0.5, 0.004);
  EXPECT_NEAR(squares / n, 1.0 / 3, 0.004);
}

}  // namespace
}  // namespace lcsm
