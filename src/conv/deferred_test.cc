// Pieces of distant levels' tiles: equal shares of a tile's work are as equal
// as its heaviest piece lets them be. (What pieces add up to is tested with the
// kernels, and what comes of them with OnlineConvolution.)
#include "conv/deferred.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "base/cpu_info.h"
#include "base/thread_pool.h"
#include "conv/filter_bank.h"
#include "conv/level_op.h"
#include "conv/plan.h"
#include "conv/problem.h"

namespace lcsm::conv {
namespace {

class DeferredTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { ASSERT_TRUE(ForceSimdTarget(GetParam()).ok()); }
  void TearDown() override { ASSERT_TRUE(ForceSimdTarget("best").ok()); }
};

TEST_P(DeferredTest, SharesOfATileAreEqual) {
  ThreadPool pool(1);
  for (const size_t block : {8u, 32u, 64u, 512u, 2048u}) {
    for (const size_t blocks : {4u, 33u}) {
      Problem problem;
      problem.channels = 3;
      problem.length = problem.taps = blocks * block;
      const Level level = {block, Level::kToTheEnd, Tau::kFftFused,
                           Serves::kDistant};
      const std::unique_ptr<FilterBank> bank =
          FilterBank::Create(problem).value();
      const std::unique_ptr<const LevelOp> made =
          MakeLevelOp(problem, level, *bank, pool).value();
      const auto& op = static_cast<const SlicedOp&>(*made);
      for (const size_t terms : {size_t{1}, size_t{2}, blocks - 2}) {
        const uint64_t all = op.Work(terms);
        ASSERT_EQ(op.PiecesIn(0, terms), 0u);
        ASSERT_EQ(op.PiecesIn(all, terms), op.NumPieces());
        // The work before each piece, and of the heaviest.
        std::vector<uint64_t> before = {0};
        uint64_t heaviest = 0;
        for (uint64_t work = 1; work <= all; ++work) {
          const size_t pieces = op.PiecesIn(work, terms);
          ASSERT_GE(pieces + 1, before.size());
          ASSERT_LE(pieces, before.size());  // One at a time.
          if (pieces + 1 == before.size()) continue;
          heaviest = std::max(heaviest, work - before.back());
          before.push_back(work);
        }
        ASSERT_EQ(before.size(), op.NumPieces() + 1);
        // However many products: 256 points with up to 8 of them, or 64.
        EXPECT_LE(heaviest, 256 * (8 + 4 * 8)) << block << " " << terms;
        // A step's share, as DeferredWork takes it.
        size_t done = 0;
        for (size_t share = 1; share <= block; ++share) {
          const size_t goal = op.PiecesIn(all * share / block, terms);
          EXPECT_LE(before[goal] - before[done], all / block + 1 + heaviest)
              << block << " " << terms << " step " << share;
          done = goal;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, DeferredTest,
                         testing::ValuesIn(SupportedSimdTargets()),
                         [](const auto& target) { return target.param; });

}  // namespace
}  // namespace lcsm::conv
