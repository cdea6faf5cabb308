// Known inputs at once against float64 direct sums, at awkward sizes.
#include "conv/prefill.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <random>
#include <string>
#include <vector>

#include "base/cpu_info.h"
#include "conv/reference.h"

namespace lcsm::conv {
namespace {

// One mixer of 17 channels: two groups, the second nearly empty.
constexpr size_t kChannels = 17;
constexpr size_t kGroups = 2;

struct Signals {
  Signals(size_t length, size_t taps, uint32_t seed)
      : inputs(length * kChannels), filter(taps * kChannels) {
    std::mt19937 rng(seed);
    std::normal_distribution<float> normal;
    for (float& v : inputs) v = normal(rng);
    for (float& v : filter) v = normal(rng);
    Problem problem;
    problem.channels = kChannels;
    problem.length = std::max(taps, length);
    problem.taps = taps;
    bank = FilterBank::Create(problem).value();
    bank->SetTaps(0, 0, taps, filter.data());
  }
  // Channel c of `from`, on its own.
  static std::vector<float> Column(const std::vector<float>& from, size_t c) {
    std::vector<float> column;
    for (size_t i = c; i < from.size(); i += kChannels) {
      column.push_back(from[i]);
    }
    return column;
  }
  std::vector<float> inputs;  // [length][kChannels]
  std::vector<float> filter;  // [taps][kChannels]
  std::unique_ptr<FilterBank> bank;
};

FloatBuffer Lines(size_t lines) {
  return FloatBuffer::Allocate(lines * kLanes + kLanes, "a test").value();
}

// Takes the inputs in by calls of `chunks` positions, each with whatever it
// leaves for all later positions up to `length`. Outputs of positions that
// were never taken in are their contributions from the past. Returns
// [length][kChannels].
std::vector<float> Chunked(const Signals& s, size_t length,
                           const std::vector<size_t>& chunks, size_t block,
                           bool remake, bool in_place) {
  ThreadPool pool(2);
  std::vector<float> y(length * kChannels);
  for (size_t g = 0; g < kGroups; ++g) {
    FloatBuffer pending = Lines(length);
    const size_t lanes = std::min(kLanes, kChannels - g * kLanes);
    size_t t = 0;
    const auto put = [&](const float* line, size_t position) {
      std::copy_n(line, lanes, y.data() + position * kChannels + g * kLanes);
    };
    for (const size_t count : chunks) {
      const PrefillShape shape = {
          count, length - t - count,
          block != 0 ? block : PrefillBlock(count, length - t - count)};
      PrefillTile tile = PrefillTile::Create(shape, remake).value();
      const PrefillSpectra spectra =
          PrefillSpectra::Create(*s.bank, shape.block, shape.slices() + 1, pool)
              .value();
      FloatBuffer lines = Lines(count);
      for (size_t k = 0; k < count; ++k) {
        std::copy_n(s.inputs.data() + (t + k) * kChannels + g * kLanes, lanes,
                    lines.data() + k * kLanes);
      }
      FloatBuffer after = Lines(length);
      float* const out = in_place ? pending.data() : after.data();
      tile.Run(shape,
               remake ? tile.MakeSlices(shape, *s.bank, g) : spectra.Group(g),
               lines.data(), t == 0 ? nullptr : pending.data(), out);
      if (!in_place) pending = std::move(after);
      for (size_t k = 0; k < count; ++k) {
        put(lines.data() + k * kLanes, t + k);
      }
      t += count;
    }
    for (size_t k = t; k < length; ++k) {
      put(pending.data() + (k - t) * kLanes, k);
    }
  }
  return y;
}

void ExpectRight(const Signals& s, size_t length, size_t known, size_t block,
                 const std::vector<float>& y) {
  const size_t taps = s.filter.size() / kChannels;
  for (size_t c = 0; c < kChannels; ++c) {
    std::vector<float> x = Signals::Column(s.inputs, c);
    x.resize(length);
    std::fill(x.begin() + static_cast<ptrdiff_t>(known), x.end(), 0.0f);
    const std::vector<float> rho = Signals::Column(s.filter, c);
    const std::vector<double> want =
        ReferenceConvolution(x.data(), length, rho.data(), taps);
    // Short inputs are filled up to a block, and the transform is as long.
    x.resize(std::max(length, block));
    const double bound = ErrorBound(x.data(), x.size(), rho.data(), taps);
    for (size_t t = 0; t < length; ++t) {
      ASSERT_NEAR(y[t * kChannels + c], want[t], bound)
          << "channel " << c << " t " << t;
    }
  }
}

class PrefillTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { ASSERT_TRUE(ForceSimdTarget(GetParam()).ok()); }
  void TearDown() override { ASSERT_TRUE(ForceSimdTarget("best").ok()); }
};

TEST_P(PrefillTest, OutputsAndContributionsToPositionsToCome) {
  uint32_t seed = 0;
  for (const size_t inputs : {1, 7, 8, 9, 15, 16, 17, 40, 129}) {
    for (const size_t following : {0, 1, 7, 8, 9, 100}) {
      for (const size_t block : {0, 8, 16, 64}) {
        const size_t length = inputs + following;
        const size_t lengths[] = {1, 2, length, length + 5, length / 2 + 1};
        ++seed;
        const Signals s(length, lengths[seed % 5], seed);
        SCOPED_TRACE("inputs " + std::to_string(inputs) + " following " +
                     std::to_string(following) + " block " +
                     std::to_string(block) + " taps " +
                     std::to_string(s.bank->taps()));
        ExpectRight(
            s, length, inputs, block,
            Chunked(s, length, {inputs}, block, seed % 2 == 0, seed % 3 == 0));
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(PrefillTest, AnyChunks) {
  std::mt19937 rng(5);
  for (uint32_t trial = 0; trial < 30; ++trial) {
    const size_t length = 1 + rng() % 300;
    std::vector<size_t> chunks;
    size_t known = 0;
    for (int k = 0; k < 4 && known < length; ++k) {
      chunks.push_back(1 + rng() % (length - known));
      known += chunks.back();
    }
    const Signals s(length, length, trial);
    SCOPED_TRACE("length " + std::to_string(length) + " trial " +
                 std::to_string(trial));
    ExpectRight(s, length, known, trial % 2 == 0 ? 0 : 16,
                Chunked(s, length, chunks, trial % 2 == 0 ? 0 : 16,
                        trial % 3 == 0, trial % 2 == 0));
    if (HasFatalFailure()) return;
  }
}

// Kept spectra and remade ones are the same numbers.
TEST_P(PrefillTest, KeptAndRemadeSlicesGiveTheSameBits) {
  const Signals s(200, 150, 9);
  EXPECT_EQ(Chunked(s, 200, {120, 30}, 32, false, false),
            Chunked(s, 200, {120, 30}, 32, true, true));
}

TEST_P(PrefillTest, NoOutputDependsOnALaterInput) {
  Signals s(150, 150, 11);
  const std::vector<float> before = Chunked(s, 150, {150}, 32, false, false);
  for (size_t i = 77 * kChannels; i < s.inputs.size(); ++i) s.inputs[i] = 1e6f;
  const std::vector<float> after = Chunked(s, 150, {150}, 32, false, false);
  // Blocks that hold no changed input, in every bit.
  EXPECT_TRUE(std::equal(
      before.begin(), before.begin() + static_cast<ptrdiff_t>(64 * kChannels),
      after.begin()));
}

INSTANTIATE_TEST_SUITE_P(AllTargets, PrefillTest,
                         testing::ValuesIn(SupportedSimdTargets()),
                         [](const auto& each) { return each.param; });

TEST(PrefillBlockTest, IsAPowerOfTwoThatTheTransformTakes) {
  for (const size_t inputs : {1ul, 8ul, 9ul, 1000ul, 8192ul, 1000000ul}) {
    for (const size_t following : {0ul, 1ul, 1000ul, 1000000ul}) {
      const size_t block = PrefillBlock(inputs, following);
      EXPECT_TRUE(std::has_single_bit(block)) << block;
      EXPECT_GE(block, FftTables::kMinBlock);
      EXPECT_LE(block, FftTables::kMaxBlock);
      const PrefillShape shape = {inputs, following, block};
      EXPECT_TRUE(block == kLargestPrefillBlock ||
                  shape.slices() <= kPrefillSlices)
          << shape.slices();
    }
  }
}

}  // namespace
}  // namespace lcsm::conv
