// That the benchmarks measure what they say; never how fast anything is.
#include <gtest/gtest.h>

#include "bench/contract_bench.h"
#include "bench/mixer_bench.h"
#include "bench/pool_bench.h"
#include "bench/tiles_bench.h"
#include "bench/timing.h"

namespace lcsm::bench {
namespace {

TEST(TimingTest, SpreadAndQuantiles) {
  const Spread s = Summarize({3, 1, 2});
  EXPECT_EQ(s.min, 1);
  EXPECT_EQ(s.median, 2);
  EXPECT_EQ(s.max, 3);
  EXPECT_EQ(s.Relative(), 1);
  EXPECT_EQ(Quantile({5, 1, 4, 2, 3}, 0.5), 3);
  EXPECT_EQ(Quantile({5, 1, 4, 2, 3}, 1.0), 5);
  EXPECT_EQ(Quantile({5, 1, 4, 2, 3}, 0.0), 1);
  EXPECT_EQ(Quantile({}, 0.5), 0);
  EXPECT_FALSE(NoiseWatch().Report().empty());
}

TEST(MixerBenchTest, ChecksEveryMethodWholeAndSampled) {
  for (conv::Method method :
       {conv::Method::kLazy, conv::Method::kEager, conv::Method::kPaper}) {
    for (double whole : {100.0, 0.0}) {
      MixerCase wanted;
      wanted.problem.channels = 5;
      wanted.problem.length = wanted.problem.taps = 2500;
      wanted.options.method = method;
      wanted.repeats = 1;
      wanted.whole_run_seconds = whole;
      const StatusOr<MixerResult> result = RunMixer(wanted);
      ASSERT_TRUE(result.ok()) << result.status().message();
      EXPECT_EQ(result->sampled, whole == 0.0);
      EXPECT_GT(result->ns_per_token_channel.median, 0);
      EXPECT_GT(result->max_relative_error,
                0);  // Float32 cannot be exact here.
      EXPECT_EQ(result->checked_length, whole == 0.0 ? 2048u : 2500u);
    }
  }
}

TEST(TilesBenchTest, LeavesOutWhatCannotBe) {
  const StatusOr<std::vector<TileRow>> rows = RunTiles(8, 1);
  ASSERT_TRUE(rows.ok());
  ASSERT_EQ(rows->size(), 4u);
  EXPECT_LT((*rows)[0].fft_fused, 0);
  EXPECT_GT((*rows)[3].fft_fused, 0);
  EXPECT_GT((*rows)[0].direct, 0);
}

TEST(ContractBenchTest, ComparesBeforeItTimes) {
  const StatusOr<ContractResult> contract = RunContract({20, 2, 300, 2, 1});
  ASSERT_TRUE(contract.ok()) << contract.status().message();
  EXPECT_GT(contract->direct.median, 0);
  EXPECT_GT(contract->ratio, 0);
  const StatusOr<TiledResult> tiled = RunTiled({3, 2000, 1});
  ASSERT_TRUE(tiled.ok()) << tiled.status().message();
  EXPECT_GT(tiled->ratio, 0);
}

TEST(PoolBenchTest, TimesTheWayThereAndBack) {
  const PoolResult pool = RunPool(2, 100);
  EXPECT_EQ(pool.threads, 2u);
  EXPECT_GT(pool.empty_p50, 0);
  EXPECT_GE(pool.together_p99, pool.together_p50);
  EXPECT_GT(pool.asleep_p50, 0);
  EXPECT_EQ(RunPool(1, 100).together_p50, 0) << "nobody to hand over to";
}

}  // namespace
}  // namespace lcsm::bench
