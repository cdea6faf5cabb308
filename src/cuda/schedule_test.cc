// The device's schedule against src/conv, position by position; butterflies'
// places; and the sampler's arithmetic against the host's, bit by bit.
#include "cuda/schedule.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <set>

#include "conv/random_plan.h"
#include "conv/tiny_levels.h"
#include "cuda/device.h"
#include "cuda/fft_index.h"
#include "cuda/sampler_kernels.h"
#include "kernels/fft_tables.h"
#include "runtime/log_softmax.h"
#include "runtime/philox.h"
#include "runtime/portable_math.h"

namespace lcsm::cuda {
namespace {

LevelShape ShapeOf(const conv::Problem& problem, const conv::Level& level) {
  LevelShape shape;
  shape.block = level.block;
  shape.radix = level.radix;
  shape.serves = static_cast<LevelServes>(level.serves);
  shape.length = problem.length;
  const size_t taps = std::min(problem.taps, problem.length);
  shape.reach = taps < 2 ? 0 : (taps - 2) / level.block + 1;
  return shape;
}

TEST(ScheduleTest, TilesAreThoseOfThePlan) {
  std::mt19937 rng(1);
  size_t tiles = 0;
  for (int round = 0; round < 200; ++round) {
    conv::Problem problem;
    problem.length = 1 + rng() % 500;
    problem.taps = 1 + rng() % 600;
    const conv::Plan plan = conv::RandomPlan(problem, rng);
    for (const conv::Level& level : plan.levels) {
      for (size_t known = 0; known <= problem.length; known += level.block) {
        const conv::Tile want = conv::TileAt(problem, level, known);
        const TileSpan got = TileAt(ShapeOf(problem, level), known);
        ASSERT_EQ(got.terms, want.terms) << plan.Print() << " at " << known;
        if (want.terms == 0) continue;
        ASSERT_EQ(got.newest, want.newest);
        ASSERT_EQ(got.target, want.target);
        ASSERT_EQ(got.outputs, want.outputs);
        ++tiles;
      }
    }
  }
  EXPECT_GT(tiles, 1000u);
}

TEST(ScheduleTest, TinyTilesFollowTheDueLevel) {
  const std::vector<conv::Level> levels = {
      {1, 2}, {2, 2}, {4, conv::Level::kToTheEnd}};
  ASSERT_TRUE(conv::FoldsTiny(levels));
  constexpr uint64_t kLength = 37;
  for (uint64_t known = 1; known <= kLength + 1; ++known) {
    Follow want = Follow::kNone;
    if (known < kLength && conv::DueLevel(levels, known) == 0) {
      want = Follow::kOne;
    } else if (known < kLength && conv::DueLevel(levels, known) == 1) {
      want = known + 1 < kLength ? Follow::kTwo : Follow::kTwoToOne;
    }
    EXPECT_EQ(TinyFollow(kLength, known), want) << known;
  }
}

TEST(FftIndexTest, EveryPassMeetsEveryElementOnce) {
  for (int log_u = 3; log_u <= 13; ++log_u) {
    const FftPasses passes = MakeFftPasses(log_u);
    int left = log_u;
    for (int p = 0; p < passes.count; ++p) {
      const FftPass& pass = passes.pass[p];
      ASSERT_EQ(pass.log_n, left);
      left -= pass.LogSize();
      std::set<uint64_t> seen;
      const uint64_t butterflies = uint64_t{1} << (log_u - pass.LogSize());
      for (uint64_t id = 0; id < butterflies; ++id) {
        const ButterflyPlace place = PlaceOf(pass, id);
        EXPECT_LT(place.block, BlocksAt(log_u, pass.depth) >> pass.two);
        for (uint64_t j = 0; j < uint64_t{1} << pass.LogSize(); ++j) {
          EXPECT_TRUE(seen.insert(place.first + j * place.stride).second);
        }
      }
      EXPECT_EQ(seen.size(), uint64_t{1} << log_u);
      EXPECT_EQ(*seen.rbegin(), (uint64_t{1} << log_u) - 1);
    }
    EXPECT_EQ(left, 0) << log_u;
    EXPECT_LE(passes.count, FftPasses::kMax);
  }
  EXPECT_LE(MakeFftPasses(24).count, FftPasses::kMax);
  EXPECT_LE(MakeFftPasses(23).count, FftPasses::kMax);
}

TEST(FftIndexTest, RootsLieWhereTheTablesPutThem) {
  for (int log_u = 3; log_u <= 12; ++log_u) {
    const FftTables tables(size_t{1} << log_u);
    uint64_t before = 0;
    for (size_t depth = 0; depth < tables.depths(); ++depth) {
      const int d = static_cast<int>(depth);
      EXPECT_EQ(RootsBefore(log_u, d), before);
      before += 6 * BlocksAt(log_u, d);
    }
    EXPECT_EQ(RootsBefore(log_u, static_cast<int>(tables.depths())), before);
  }
}

TEST(SamplerMathTest, BitsAreTheHosts) {
  std::mt19937_64 rng(7);
  std::normal_distribution<double> normal(0, 200);
  for (int k = 0; k < 100000; ++k) {
    const double x = normal(rng);
    ASSERT_EQ(std::bit_cast<uint64_t>(PortableExp(x)),
              std::bit_cast<uint64_t>(lcsm::PortableExp(x)))
        << x;
    const uint64_t seed = rng(), sample = rng(), position = rng();
    ASSERT_EQ(UniformAt(seed, sample, position),
              lcsm::UniformAt(seed, sample, position));
  }
  for (const double x : {0.0, -0.0, 709.5, -708.5, 1e300, -1e300}) {
    EXPECT_EQ(PortableExp(x), lcsm::PortableExp(x));
  }
  for (const float x : {0.0f, -1.5f, INFINITY, -INFINITY, NAN}) {
    EXPECT_EQ(SaneLogit(x), lcsm::SaneLogit(x));
  }
}

TEST(DeviceChoiceTest, ParsesWhatTheCommandTakes) {
  using Kind = DeviceChoice::Kind;
  EXPECT_EQ(ParseDevice("cpu").value().kind, Kind::kCpu);
  EXPECT_EQ(ParseDevice("auto").value().kind, Kind::kAuto);
  EXPECT_EQ(ParseDevice("cuda").value().indices, std::vector<int>{0});
  EXPECT_EQ(ParseDevice("cuda:3").value().indices, std::vector<int>{3});
  EXPECT_EQ(ParseDevice("cuda:2,0,11").value().indices,
            (std::vector<int>{2, 0, 11}));
  EXPECT_EQ(ParseDevice("cuda:1,2,1").status().message(),
            "the device is 'cuda:1,2,1', which names cuda:1 twice, expected "
            "each GPU once");
  for (const char* wrong :
       {"", "gpu", "cuda:", "cuda:-1", "cuda:1x", "CUDA", "cuda:99999999999",
        "cuda:,", "cuda:0,", "cuda:0,,1", "cuda:0, 1", "cuda:0;1", "cuda,1",
        "cuda:0,cuda:1"}) {
    const auto parsed = ParseDevice(wrong);
    ASSERT_FALSE(parsed.ok()) << wrong;
    EXPECT_EQ(parsed.status().message(),
              "the device is '" + std::string(wrong) +
                  "', expected cpu, cuda, cuda:N, cuda:N,M,.. or auto");
  }
}

}  // namespace
}  // namespace lcsm::cuda
