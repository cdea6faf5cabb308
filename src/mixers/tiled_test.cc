// The generic tiling: max-plus convolution by its range routines against lazy,
// long convolution against the fast path, contributions in order, and what a
// class must have to be a TiledMixer.
#include "mixers/tiled.h"

#include <array>
#include <cmath>

#include "mixers/long_convolution.h"
#include "mixers/max_plus.h"
#include "mixers/mixer_test_util.h"
#include "mixers/reference.h"

namespace lcsm {
namespace {

constexpr double kUnit = 5.9604644775390625e-8;  // 2^-24

// By definition, in float64.
std::vector<double> MaxPlus(const std::vector<float>& taps, size_t channels,
                            const std::vector<float>& x) {
  const size_t length = x.size() / channels, count = taps.size() / channels;
  std::vector<double> y(x.size(), -INFINITY);
  for (size_t c = 0; c < channels; ++c) {
    for (size_t t = 0; t < length; ++t) {
      for (size_t d = 0; d < std::min(count, t + 1); ++d) {
        y[t * channels + c] = std::max(
            y[t * channels + c], static_cast<double>(taps[d * channels + c]) +
                                     x[(t - d) * channels + c]);
      }
    }
  }
  return y;
}

// Filters that fall off in different ways, all concave.
std::vector<float> Concave(size_t channels, size_t taps) {
  std::vector<float> f(taps * channels);
  for (size_t d = 0; d < taps; ++d) {
    for (size_t c = 0; c < channels; ++c) {
      const double n = static_cast<double>(d);
      const double forms[] = {-0.01 * n, -1e-5 * n * n, 0.3 * std::log1p(n), 0,
                              -std::exp(0.002 * n)};
      f[d * channels + c] = static_cast<float>(forms[c % 5]);
    }
  }
  return f;
}

TEST(MaxPlusTest, UnderTheContract) {
  for (size_t taps : {1, 30, 300}) {
    for (size_t channels : {1, 5}) {
      const auto x = Normal(200 * channels, 1);
      const auto f = Normal(taps * channels, 2);
      const auto mixer = MaxPlusMixer(channels, f);
      ASSERT_TRUE(mixer.ok());
      CheckMixer(*mixer, x, MaxPlus(f, channels, x), kUnit * 16);
      const auto lazy = MaxPlusMixer(channels, f, Tiling::kLazy);
      ASSERT_TRUE(lazy.ok());
      // Maxima of the same sums.
      EXPECT_TRUE(
          SameBits(RunAlone(*mixer, x, 1, 1), RunAlone(*lazy, x, 1, 2)));
    }
  }
}

TEST(MaxPlusTest, SearchFindsWhatAllSumsFind) {
  const size_t channels = 5, length = 3000;
  for (size_t taps : {length, size_t{700}}) {
    const auto f = Concave(channels, taps);
    const auto mixer = MaxPlusConvolution::Create(channels, f);
    ASSERT_TRUE(mixer.ok());
    for (size_t c = 0; c < channels; ++c) EXPECT_TRUE((*mixer)->concave(c));
    for (float spread : {1.0f, 20.0f}) {
      const auto x = Normal(length * channels, 3, spread);
      const auto want = MaxPlus(f, channels, x);
      const auto tiled = MaxPlusMixer(channels, f);
      ASSERT_TRUE(tiled.ok());
      const auto y = RunAlone(*tiled, x, 1, 2);
      for (size_t i = 0; i < y.size(); ++i) {
        // Seven levels of search above blocks of 16 rows, each a slack and two
        // roundings; |f| < 500 where it decays fastest and is searched.
        const double most = std::abs(f[(taps - 1) * channels + i % channels]);
        const double loss =
            kUnit * 8 * (MaxPlusConvolution::kSlack + 2) * (most + 80);
        ASSERT_LE(y[i], want[i] + kUnit * (most + 80)) << i;
        ASSERT_GE(y[i], want[i] - loss) << i;
      }
    }
  }
}

TEST(MaxPlusTest, OtherFiltersAreNotTakenForConcave) {
  auto f = Concave(1, 500);
  for (size_t d = 0; d < f.size(); ++d)
    f[d] = -std::sqrt(static_cast<float>(d));
  auto mixer = MaxPlusConvolution::Create(1, f);
  ASSERT_TRUE(mixer.ok());
  EXPECT_FALSE((*mixer)->concave(0));
  // One tap out of line by more than rounding.
  f = Concave(1, 500);
  f[250] -= 1e-3f;
  mixer = MaxPlusConvolution::Create(1, f);
  ASSERT_TRUE(mixer.ok());
  EXPECT_FALSE((*mixer)->concave(0));
  f[250] = INFINITY;
  EXPECT_FALSE(MaxPlusConvolution::Create(1, f).ok());
  EXPECT_FALSE(MaxPlusConvolution::Create(3, f).ok());
  EXPECT_FALSE(MaxPlusConvolution::Create(0, f).ok());
}

// Long convolution, contribution by contribution.
struct DirectConvolution {
  using Input = float;
  using Partial = double;
  using Output = float;
  size_t channels = 1;
  std::vector<float> taps;  // [taps][channels]

  size_t units() const noexcept { return channels; }
  double None() const noexcept { return 0; }
  void Aggregate(const double& later, double* earlier) const noexcept {
    *earlier += later;
  }
  void Cont(size_t unit, size_t first_in, std::span<const float> in,
            size_t first_out, std::span<double> out) const noexcept {
    for (size_t j = 0; j < out.size(); ++j) {
      for (size_t i = 0; i < in.size(); ++i) {
        const size_t at = (first_out + j - first_in - i) * channels + unit;
        if (at < taps.size()) out[j] += static_cast<double>(in[i]) * taps[at];
      }
    }
  }
  float Read(size_t, const float&, const double& partial) const noexcept {
    return static_cast<float>(partial);
  }
};

TEST(TiledTest, LongConvolutionIsThatOfTheFastPath) {
  const size_t channels = 18, length = 333;
  const auto taps = Normal(length * channels, 1, 0.1f);
  const auto x = Normal(length * channels, 2);
  const auto tiled = std::make_shared<TiledAsMixer<DirectConvolution>>(
      std::make_shared<DirectConvolution>(DirectConvolution{channels, taps}),
      "direct convolution", 0);
  const auto want = ref::Convolution(taps, {}, channels, Doubles(x));
  CheckMixer(tiled, x, want, 2 * kUnit * 8);
  const auto fast = LongConvolution::Create(channels, taps);
  ASSERT_TRUE(fast.ok());
  ExpectNear(RunAlone(*fast, x, 1, 1), Doubles(RunAlone(tiled, x, 1, 1)),
             40 * kUnit * 8, "the two paths");
}

// Maps s -> a s + b, composed in the order of positions: a recurrence with
// gates as a tiled mixer. Aggregate does not commute.
struct Maps {
  struct Map {
    float a = 1, b = 0;
  };
  using Input = Map;
  using Partial = Map;
  using Output = float;

  size_t units() const noexcept { return 1; }
  Map None() const noexcept { return {}; }
  void Aggregate(const Map& later, Map* earlier) const noexcept {
    *earlier = {later.a * earlier->a, later.a * earlier->b + later.b};
  }
  void Cont(size_t, size_t, std::span<const Map> in, size_t,
            std::span<Map> out) const noexcept {
    Map all;
    for (const Map& map : in) Aggregate(map, &all);
    for (Map& map : out) Aggregate(all, &map);
  }
  float Read(size_t, const Map&, const Map& partial) const noexcept {
    return partial.b;
  }
};

TEST(TiledTest, ContributionsComeInOrder) {
  std::mt19937 rng(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  const size_t length = 200;
  std::vector<Maps::Map> x(length);
  std::vector<float> want;
  float state = 0;
  for (Maps::Map& map : x) {
    map = {uniform(rng), uniform(rng)};
    want.push_back(state = map.a * state + map.b);
  }
  ThreadPool pool(2);
  for (Tiling tiling : {Tiling::kBinary, Tiling::kLazy}) {
    auto driver = TiledDriver<Maps>::Create(std::make_shared<Maps>(), length,
                                            tiling, pool);
    ASSERT_TRUE(driver.ok());
    for (size_t t = 0; t < length; ++t) {
      float y = NAN;
      (*driver)->Step(&x[t], &y);
      (*driver)->Advance();
      // Composing instead of applying: a few roundings of numbers below 10.
      ASSERT_NEAR(y, want[t], 200 * kUnit) << t;
    }
    // Known ones by themselves: the same bits.
    std::vector<float> steps(length), many(length);
    (*driver)->Reset();
    for (size_t t = 0; t < length; ++t) {
      (*driver)->Step(&x[t], &steps[t]);
      (*driver)->Advance();
    }
    (*driver)->Reset();
    (*driver)->TakeMany(99, x.data(), many.data());
    (*driver)->TakeMany(length - 99, x.data() + 99, many.data() + 99);
    EXPECT_TRUE(SameBits(steps, many));
  }
}

// What is not one. (What the compiler says: the tests tiled_mixer_says_*.)
struct NoTypes {
  size_t units() const noexcept { return 1; }
};
struct NoRead : Maps {
  float Read(size_t) const noexcept { return 0; }
};
struct NoCont : Maps {
  // Asks for the query.
  void Cont(size_t, size_t, std::span<const Map>, size_t, std::span<Map>,
            const Map& query) const noexcept {}
};
struct MayThrow : Maps {
  Map None() const { return {}; }
};
struct NotPlain : Maps {
  using Partial = std::vector<float>;
};
static_assert(TiledMixer<Maps>);
static_assert(!TiledMixer<NoTypes>);
static_assert(!TiledMixer<NoRead>);
static_assert(!TiledMixer<NoCont>);
static_assert(!TiledMixer<MayThrow>);
static_assert(!TiledMixer<NotPlain>);

}  // namespace
}  // namespace lcsm
