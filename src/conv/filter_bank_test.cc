#include "conv/filter_bank.h"

#include <gtest/gtest.h>

#include <vector>

namespace lcsm::conv {
namespace {

TEST(FilterBankTest, HoldsTapsByGroupWithZerosAround) {
  for (size_t channels : {1u, 15u, 16u, 17u, 33u}) {
    Problem problem;
    problem.mixers = 2;
    problem.channels = channels;
    problem.length = 7;
    problem.taps = 5;
    std::unique_ptr<FilterBank> bank = FilterBank::Create(problem).value();
    ASSERT_EQ(bank->taps(), 5u);
    ASSERT_EQ(bank->groups(), (channels + 15) / 16);
    EXPECT_EQ(bank->bytes(), FilterBank::BytesFor(problem, problem.taps));
    const auto value = [&](size_t m, size_t n, size_t c) {
      return static_cast<float>(1 + m * 1000 + n * 100 + c);
    };
    for (size_t m = 0; m < 2; ++m) {
      for (size_t first : {size_t{0}, size_t{2}}) {  // In two pieces.
        std::vector<float> rows;
        const size_t count = first == 0 ? 2 : 3;
        for (size_t n = first; n < first + count; ++n) {
          for (size_t c = 0; c < channels; ++c) rows.push_back(value(m, n, c));
        }
        bank->SetTaps(m, first, count, rows.data());
      }
    }
    for (size_t m = 0; m < 2; ++m) {
      for (size_t c = 0; c < bank->groups() * kLanes; ++c) {
        const float* group = bank->Group(m, c / kLanes);
        for (size_t n = 0; n < 5 + kTapSlack; ++n) {
          const float want = n < 5 && c < channels ? value(m, n, c) : 0.0f;
          ASSERT_EQ(group[n * kLanes + c % kLanes], want);
        }
        for (size_t n = 0; n < kHeadTaps; ++n) {
          ASSERT_EQ(bank->HeadTaps(
                        m)[(c / kLanes * kHeadTaps + n) * kLanes + c % kLanes],
                    c < channels ? value(m, n, c) : 0.0f);
        }
      }
    }
  }
}

TEST(FilterBankTest, SubnormalTapsBecomeZero) {
  Problem problem;
  problem.channels = 3;
  problem.length = problem.taps = 1;
  std::unique_ptr<FilterBank> bank = FilterBank::Create(problem).value();
  const float taps[] = {1e-40f, -1.2e-38f, -3e-39f};
  bank->SetTaps(0, 0, 1, taps);
  EXPECT_EQ(bank->Group(0, 0)[0], 0.0f);
  EXPECT_EQ(bank->Group(0, 0)[1],
            -1.2e-38f);  // The smallest normal is 1.18e-38.
  EXPECT_EQ(bank->HeadTaps(0)[2], 0.0f);
}

TEST(FilterBankTest, NeverHoldsMoreTapsThanPositions) {
  Problem problem;
  problem.length = 3;
  problem.taps = 100;
  EXPECT_EQ(FilterBank::Create(problem).value()->taps(), 3u);
}

}  // namespace
}  // namespace lcsm::conv
