#include "cuda/split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "kernels/lanes.h"

namespace lcsm::cuda {
namespace {

TEST(SplitTest, EveryRowAndChannelHasOneOwner) {
  for (const size_t rows : {1, 2, 3, 8}) {
    for (const size_t channels : {1, 16, 17, 256, 864}) {
      for (const size_t ranks : {1, 2, 3, 4, 8}) {
        const SplitProblem problem = {rows, channels, 4 * channels, 5};
        const auto split = MakeSplit(problem, ranks);
        if (!split.ok()) {
          EXPECT_GT(ranks / std::min(ranks, rows) * kLanes + kLanes, channels);
          continue;
        }
        SCOPED_TRACE(testing::Message() << rows << " rows, " << channels
                                        << " channels, " << ranks << " ranks");
        ASSERT_EQ(split->shares.size(), ranks);
        std::vector<int> owners(rows * channels), inner(rows * problem.inner);
        for (size_t rank = 0; rank < ranks; ++rank) {
          const Share& s = split->shares[rank];
          EXPECT_EQ(s.part, rank / split->ranks_in_part);
          EXPECT_EQ(s.leads, rank % split->ranks_in_part == 0);
          EXPECT_EQ(s.first_inner % kLanes, 0u);
          EXPECT_GT(s.inner, 0u);
          EXPECT_EQ(s.first_channel % kLanes, 0u);
          EXPECT_GT(s.rows, 0u);
          EXPECT_GT(s.channels, 0u);
          for (size_t r = s.first_row; r < s.first_row + s.rows; ++r) {
            for (size_t c = 0; c < s.channels; ++c) {
              ++owners[r * channels + s.first_channel + c];
            }
            for (size_t i = 0; i < s.inner; ++i) {
              ++inner[r * problem.inner + s.first_inner + i];
            }
          }
        }
        for (const int n : owners) ASSERT_EQ(n, 1);
        for (const int n : inner) ASSERT_EQ(n, 1);
      }
    }
  }
}

TEST(SplitTest, RowsComeBeforeChannelsAndExchangeNothing) {
  const Split rows = MakeSplit({8, 256, 1024, 8}, 4).value();
  EXPECT_EQ(rows.parts, 4u);
  EXPECT_EQ(rows.sums, 0u);
  const Split channels = MakeSplit({1, 256, 1024, 8}, 4).value();
  EXPECT_EQ(channels.parts, 1u);
  EXPECT_EQ(channels.sums, 17u);  // Two a layer, and the embedded token.
  EXPECT_EQ(channels.floats_a_sum, 256u);
  const Split both = MakeSplit({2, 256, 1024, 8}, 4).value();
  EXPECT_EQ(both.parts, 2u);
  EXPECT_EQ(both.ranks_in_part, 2u);
  EXPECT_EQ(both.floats_a_sum, 256u);
}

TEST(SplitTest, MoreDevicesThanGroupsAreRefused) {
  const auto split = MakeSplit({1, 40, 160, 2}, 4);
  ASSERT_FALSE(split.ok());
  EXPECT_EQ(split.status().message(),
            "4 devices are more than the 3 groups of 16 channels that a width "
            "of 40 can be shared out in");
  const auto narrow = MakeSplit({1, 256, 20, 2}, 3);
  ASSERT_FALSE(narrow.ok());
  EXPECT_EQ(narrow.status().message(),
            "3 devices are more than the 2 groups of 16 channels that an MLP "
            "of 20 can be shared out in");
  EXPECT_FALSE(MakeSplit({1, 40, 160, 2}, 0).ok());
}

}  // namespace
}  // namespace lcsm::cuda
