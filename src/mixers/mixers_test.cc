// Each mixer against its slow twin (reference.h) and against what every mixer
// must do (mixer_test_util.h).
#include <complex>

#include "mixers/diagonal_ssm.h"
#include "mixers/fir_mixer.h"
#include "mixers/gated_mixer.h"
#include "mixers/linear_attention.h"
#include "mixers/long_convolution.h"
#include "mixers/mixer_test_util.h"
#include "mixers/reference.h"
#include "mixers/relaxed_mixer.h"
#include "mixers/selective_ssm.h"
#include "mixers/softmax_attention.h"

namespace lcsm {
namespace {

using Complex = std::complex<double>;

constexpr double kUnit = 5.9604644775390625e-8;  // 2^-24

double MaxAbs(const std::vector<double>& v) {
  double most = 0;
  for (double d : v) most = std::max(most, std::abs(d));
  return most;
}

// Answers of `want`'s size, each with `roundings` of that size.
double Tolerance(const std::vector<double>& want, double roundings) {
  return kUnit * roundings * MaxAbs(want);
}

TEST(MixersTest, LongConvolution) {
  for (size_t channels : {1, 19, 33}) {
    for (size_t taps : {1, 40, 300}) {
      const auto values = Normal(taps * channels, 1, 0.2f);
      const auto skip = Normal(channels, 2);
      const auto x = Normal(200 * channels, 3);
      const auto mixer = LongConvolution::Create(channels, values, skip);
      ASSERT_TRUE(mixer.ok());
      const auto want = ref::Convolution(values, skip, channels, Doubles(x));
      CheckMixer(*mixer, x, want, Tolerance(want, 40));
    }
  }
}

// Against the filter with the zeros in between.
TEST(MixersTest, LongConvolutionWithATapAtEveryFewLags) {
  const size_t channels = 19, length = 230;
  const auto x = Normal(length * channels, 1);
  const auto skip = Normal(channels, 2);
  for (const size_t every : {2, 3}) {
    for (const size_t taps : {1, 40, 400}) {
      const auto values = Normal(taps * channels, 3, 0.2f);
      std::vector<float> all(taps * every * channels);
      for (size_t k = 0; k < taps; ++k) {
        std::copy_n(values.data() + k * channels, channels,
                    all.data() + k * every * channels);
      }
      const auto mixer = LongConvolution::Create(
          channels, taps,
          [&](size_t first, size_t count, float* out) {
            std::copy_n(values.data() + first * channels, count * channels,
                        out);
          },
          skip, every);
      ASSERT_TRUE(mixer.ok());
      EXPECT_FALSE((*mixer)->CanBeReadAhead());
      const auto want = ref::Convolution(all, skip, channels, Doubles(x));
      CheckMixer(*mixer, x, want, Tolerance(want, 40));
      // With a neighbour of the same kind, and one that takes all positions.
      auto plain = LongConvolution::Create(channels, values);
      ASSERT_TRUE(plain.ok());
      MixerSetOptions options;
      options.horizon = length;
      const auto schedule = PreparedMixers::Schedule(
          {{*mixer, {}}, {*plain, {}}, {*mixer, {}}}, options);
      ASSERT_TRUE(schedule.ok());
      ASSERT_EQ(schedule->groups.size(), 2u);
      EXPECT_EQ(schedule->groups[0].mixers, (std::vector<size_t>{0, 2}));
      EXPECT_EQ(schedule->groups[0].phases, every);
      EXPECT_EQ(schedule->groups[0].plan.problem.length,
                (length + every - 1) / every);
    }
  }
  EXPECT_FALSE(LongConvolution::Create(1, 1, nullptr, {}, 0).ok());
}

TEST(MixersTest, RelaxedConvolution) {
  for (size_t channels : {1, 19}) {
    const size_t length = 200;
    auto x = Normal(length * 2 * channels, 3);
    std::vector<double> want(length * channels);
    for (size_t t = 0; t < length; ++t) {
      for (size_t c = 0; c < channels; ++c) {
        for (size_t i = 0; i <= t; ++i) {
          want[t * channels + c] +=
              static_cast<double>(x[i * 2 * channels + c]) *
              x[(t - i) * 2 * channels + channels + c];
        }
      }
    }
    const auto mixer = RelaxedMixer::Create(channels);
    ASSERT_TRUE(mixer.ok());
    CheckMixer(*mixer, x, want, Tolerance(want, 40));
  }
  EXPECT_FALSE(RelaxedMixer::Create(0).ok());
}

TEST(MixersTest, LongConvolutionRefusesWhatDoesNotMeet) {
  EXPECT_FALSE(LongConvolution::Create(3, std::vector<float>(10)).ok());
  EXPECT_FALSE(LongConvolution::Create(3, std::vector<float>()).ok());
  EXPECT_FALSE(LongConvolution::Create(0, std::vector<float>()).ok());
  EXPECT_FALSE(LongConvolution::Create(3, std::vector<float>(9), {1, 2}).ok());
}

TEST(MixersTest, Fir) {
  for (size_t channels : {1, 37}) {
    for (size_t taps : {1, 3, 64}) {
      const auto w = Normal(taps * channels, 1), bias = Normal(channels, 2);
      const auto x = Normal(150 * channels, 3);
      std::vector<double> want(x.size());
      for (size_t t = 0; t < 150; ++t) {
        for (size_t c = 0; c < channels; ++c) {
          double sum = bias[c];
          for (size_t n = 0; n < std::min(taps, t + 1); ++n) {
            sum += static_cast<double>(w[c * taps + taps - 1 - n]) *
                   x[(t - n) * channels + c];
          }
          want[t * channels + c] = sum;
        }
      }
      const auto mixer = FirMixer::Create(channels, taps, w, bias);
      ASSERT_TRUE(mixer.ok());
      CheckMixer(*mixer, x, want,
                 Tolerance(want, static_cast<double>(taps + 2)));
    }
  }
  EXPECT_FALSE(FirMixer::Create(2, 3, std::vector<float>(5)).ok());
  EXPECT_FALSE(FirMixer::Create(2, 3, std::vector<float>(6), {1}).ok());
  EXPECT_FALSE(FirMixer::Create(0, 3, {}).ok());
}

// Hyena's operator of order 3, and one with a recurrence inside.
TEST(MixersTest, Gated) {
  const size_t width = 21, length = 130;
  std::vector<std::shared_ptr<const Mixer>> inner;
  std::vector<std::vector<float>> taps;
  for (unsigned o = 0; o < 2; ++o) {
    taps.push_back(Normal(length * width, 10 + o, 0.1f));
    auto mixer = LongConvolution::Create(width, taps[o]);
    ASSERT_TRUE(mixer.ok());
    inner.push_back(*mixer);
  }
  const auto x = Normal(length * 4 * width, 3);
  std::vector<double> v(length * width);
  const auto gate = [&](size_t stream) {
    for (size_t i = 0; i < v.size(); ++i) {
      v[i] *= x[i / width * 4 * width + stream * width + i % width];
    }
  };
  std::fill(v.begin(), v.end(), 1);
  gate(3);
  gate(2);
  v = ref::Convolution(taps[0], {}, width, v);
  gate(1);
  v = ref::Convolution(taps[1], {}, width, v);
  gate(0);
  const auto mixer = GatedMixer::Create(inner);
  ASSERT_TRUE(mixer.ok());
  EXPECT_EQ((*mixer)->convolutions().count, 2u);
  CheckMixer(*mixer, x, v, Tolerance(v, 60));

  DiagonalModes modes;
  modes.channels = width;
  modes.poles.assign(width, 0.9);
  modes.residues.assign(width, 0.5);
  auto recurrence = DiagonalSsm::Create(modes);
  ASSERT_TRUE(recurrence.ok());
  const auto gated = GatedMixer::Create({*recurrence});
  ASSERT_TRUE(gated.ok());
  const auto rows = Normal(length * 3 * width, 4);
  std::vector<float> u(length * width);
  for (size_t i = 0; i < u.size(); ++i) {
    const float* const row = rows.data() + i / width * 3 * width + i % width;
    u[i] = row[width] * row[2 * width];
  }
  auto want = ref::Modes(modes, u);
  for (size_t i = 0; i < u.size(); ++i) {
    want[i] *= rows[i / width * 3 * width + i % width];
  }
  CheckMixer(*gated, rows, want, Tolerance(want, 4 / 0.1));

  // Convolutions of other shapes, other widths, nothing.
  auto shorter = LongConvolution::Create(width, Normal(2 * width, 1));
  auto wider = LongConvolution::Create(width + 1, Normal(2 * width + 2, 1));
  ASSERT_TRUE(shorter.ok() && wider.ok());
  EXPECT_FALSE(GatedMixer::Create({inner[0], *shorter}).ok());
  EXPECT_FALSE(GatedMixer::Create({inner[0], *wider}).ok());
  EXPECT_FALSE(GatedMixer::Create({}).ok());
}

DiagonalModes RandomModes(size_t channels, size_t modes, bool real) {
  std::mt19937 rng(5);
  std::uniform_real_distribution<double> radius(0, 0.97), angle(-3.1, 3.1);
  DiagonalModes out;
  out.channels = channels;
  out.modes = modes;
  for (size_t i = 0; i < channels * modes; ++i) {
    // What float32 holds, so that the poles themselves add no error.
    const Complex pole = std::polar(radius(rng), real ? 0 : angle(rng));
    out.poles.emplace_back(static_cast<float>(pole.real()),
                           static_cast<float>(pole.imag()));
    out.residues.emplace_back(static_cast<float>(angle(rng)),
                              real ? 0 : static_cast<float>(angle(rng)));
  }
  out.skip = Normal(channels, 6);
  return out;
}

TEST(MixersTest, DiagonalSsmBothWays) {
  for (size_t channels : {1, 18}) {
    for (size_t modes : {1, 8}) {
      for (bool real : {false, true}) {
        const DiagonalModes m = RandomModes(channels, modes, real);
        const auto x = Normal(300 * channels, 7);
        const auto want = ref::Modes(m, x);
        // |p| <= 0.97: a state remembers 1 / 0.03 positions of 4 roundings
        // each, which add up like a random walk; opposite residues may cancel
        // a part of their sum.
        const double tolerance = Tolerance(want, 4 * std::sqrt(1 / 0.03) * 2);
        const auto recurrence = DiagonalSsm::Create(m);
        ASSERT_TRUE(recurrence.ok());
        CheckMixer(*recurrence, x, want, tolerance);
        const auto convolution = ModesAsConvolution(m);
        ASSERT_TRUE(convolution.ok());
        CheckMixer(*convolution, x, want, Tolerance(want, 40));
      }
    }
  }
}

TEST(MixersTest, DiscretizesBothWays) {
  ContinuousModes m;
  m.channels = 2;
  m.modes = 2;
  m.a = {{-0.5, 3}, {-1, 0.2}, {-0.1, 7}, {0, 0}};
  m.b = {{1, 0}, {0.5, -1}, {2, 1}, {1, 1}};
  m.c = {{1, 2}, {-1, 0.5}, {0.3, 0}, {1, 0}};
  m.dt = {0.1, 0.01};
  for (const auto how :
       {Discretization::kBilinear, Discretization::kZeroOrderHold}) {
    const auto modes = Discretize(m, how);
    ASSERT_TRUE(modes.ok());
    for (size_t i = 0; i < 4; ++i) {
      const double dt = m.dt[i / 2];
      // Both approximate exp(a dt) and, per step, dt b.
      EXPECT_NEAR(std::abs(modes->poles[i] - std::exp(m.a[i] * dt)), 0, 3e-3);
      EXPECT_NEAR(std::abs(modes->residues[i] - 2.0 * m.c[i] * m.b[i] * dt), 0,
                  0.6 * std::abs(m.a[i] * dt * modes->residues[i]) + 1e-15);
    }
  }
  // By hand: a = -1 + 0.2i, dt = 0.1.
  const auto bilinear = Discretize(m, Discretization::kBilinear);
  const Complex half(-0.05, 0.01);
  EXPECT_NEAR(std::abs(bilinear->poles[1] - (1.0 + half) / (1.0 - half)), 0,
              1e-15);
  m.dt.pop_back();
  EXPECT_FALSE(Discretize(m, Discretization::kBilinear).ok());
}

TEST(MixersTest, DiagonalSsmRefuses) {
  DiagonalModes m = RandomModes(3, 2, false);
  m.poles[4] = {INFINITY, 0};
  const auto bad = DiagonalSsm::Create(m);
  ASSERT_FALSE(bad.ok());
  EXPECT_NE(bad.status().message().find("mode 0 of channel 2"),
            std::string::npos);
  m.poles.pop_back();
  EXPECT_FALSE(DiagonalSsm::Create(m).ok());
  EXPECT_FALSE(ModesAsConvolution(m).ok());
  m = RandomModes(3, 2, false);
  m.skip.pop_back();
  EXPECT_FALSE(DiagonalSsm::Create(m).ok());
}

TEST(MixersTest, SelectiveSsm) {
  for (size_t channels : {1, 35}) {
    for (size_t states : {1, 16}) {
      const size_t width = 2 * (channels + states), length = 120;
      std::vector<float> a(channels * states);
      for (size_t i = 0; i < a.size(); ++i) {
        a[i] = -static_cast<float>(1 + i % states);
      }
      const auto skip = Normal(channels, 1);
      auto x = Normal(length * width, 2);
      for (size_t t = 0; t < length; ++t) {
        for (size_t c = 0; c < channels; ++c) {
          float& delta = x[t * width + channels + c];
          delta = std::log1p(std::exp(delta - 2));
        }
      }
      const auto want = ref::Selective(channels, states, a, skip, x);
      const auto mixer = SelectiveSsm::Create(channels, states, a, skip);
      ASSERT_TRUE(mixer.ok());
      // Memories of some 50 positions, 4 roundings each, that add up like a
      // random walk.
      CheckMixer(*mixer, x, want, Tolerance(want, 4 * std::sqrt(50.0)));
    }
  }
  EXPECT_FALSE(SelectiveSsm::Create(2, 2, {-1, -1, -1}).ok());
  EXPECT_FALSE(SelectiveSsm::Create(2, 1, {-1, 0.5f}).ok());
  EXPECT_FALSE(SelectiveSsm::Create(2, 1, {-1, -1}, {1}).ok());
}

TEST(MixersTest, LinearAttention) {
  using Options = LinearAttentionOptions;
  const size_t length = 110;
  for (const auto gate : {Options::Gate::kNone, Options::Gate::kConstant,
                          Options::Gate::kHead, Options::Gate::kKey}) {
    for (const auto feature :
         {Options::Feature::kIdentity, Options::Feature::kRelu,
          Options::Feature::kEluPlusOne}) {
      for (bool normalise : {false, true}) {
        // A sum of weights of both signs may be near 0.
        if (normalise && feature != Options::Feature::kEluPlusOne) continue;
        Options o;
        o.heads = 3;
        o.key = 5;
        o.value = 18;
        o.gate = gate;
        o.feature = feature;
        o.normalise = normalise;
        o.scale = 0.45f;
        if (gate == Options::Gate::kConstant) o.decay = {0.5f, 0.96875f, 1};
        const auto mixer = LinearAttention::Create(o);
        ASSERT_TRUE(mixer.ok());
        const size_t width = (*mixer)->in_width();
        auto x = Normal(length * width, 4);
        const size_t gates = width - 3 * (2 * 5 + 18);
        for (size_t t = 0; t < length; ++t) {
          for (size_t j = width - gates; j < width; ++j) {
            float& g = x[t * width + j];
            g = 1 / (1 + std::exp(-g - 2));
          }
        }
        const auto want = ref::Attention(o, x);
        // Up to 110 * 5 products, whose roundings add up like a random walk.
        CheckMixer(*mixer, x, want, Tolerance(want, std::sqrt(550.0)));
      }
    }
  }
  Options o;
  o.gate = Options::Gate::kConstant;
  EXPECT_FALSE(LinearAttention::Create(o).ok());
  o.decay = {1.5f};
  EXPECT_FALSE(LinearAttention::Create(o).ok());
  o = {};
  o.key = 0;
  EXPECT_FALSE(LinearAttention::Create(o).ok());
  o.key = size_t{1} << 62;
  EXPECT_FALSE(LinearAttention::Create(o).ok());
  o = {};
  o.scale = INFINITY;
  EXPECT_FALSE(LinearAttention::Create(o).ok());
}

TEST(MixersTest, SoftmaxAttention) {
  using Options = SoftmaxAttentionOptions;
  const size_t length = 230;
  std::vector<Options> all;
  Options o;
  o.heads = 4;
  o.kv_heads = 2;
  o.key = 10;
  o.value = 7;
  all.push_back(o);
  o.rotary = 10;
  all.push_back(o);
  o.rotary = 4;
  o.rotary_base = 500000;
  o.position_scale = 16;
  o.window = 50;
  all.push_back(o);
  o.frequencies = {1.0, 0.01};
  o.window = 1;
  all.push_back(o);
  o = {};
  o.heads = o.kv_heads = 3;
  o.key = o.value = 16;
  o.slopes = AlibiSlopes(3, 0.25);
  o.soft_cap = 50;
  o.window = 100;
  all.push_back(o);
  o.soft_cap = 1;
  o.window = 229;
  all.push_back(o);
  o.window = 1000;
  o.kv_heads = 1;
  o.scale = 1;
  all.push_back(o);
  for (const Options& options : all) {
    const auto mixer = SoftmaxAttention::Create(options);
    ASSERT_TRUE(mixer.ok());
    const auto x = Normal(length * (*mixer)->in_width(), 8);
    const auto want = ref::Attention((*mixer)->options(), x);
    // Weights are off by about 2 |score| + key roundings, |score| < 20; 4 times
    // the cap where there is one.
    CheckMixer(*mixer, x, want,
               Tolerance(want, 60 + 4 * static_cast<double>(options.soft_cap)));
  }
}

TEST(MixersTest, SoftmaxAttentionRefuses) {
  using Options = SoftmaxAttentionOptions;
  const auto refused = [](auto change) {
    Options o;
    o.heads = 4;
    o.kv_heads = 4;
    o.key = 8;
    o.value = 8;
    EXPECT_TRUE(SoftmaxAttention::Create(o).ok());
    change(o);
    return !SoftmaxAttention::Create(o).ok();
  };
  EXPECT_TRUE(refused([](Options& o) { o.kv_heads = 3; }));
  EXPECT_TRUE(refused([](Options& o) { o.rotary = 3; }));
  EXPECT_TRUE(refused([](Options& o) { o.rotary = 10; }));
  EXPECT_TRUE(refused([](Options& o) { o.window = 0; }));
  EXPECT_TRUE(refused([](Options& o) { o.slopes = {1}; }));
  EXPECT_TRUE(refused([](Options& o) { o.frequencies = {1}; }));
  EXPECT_TRUE(refused([](Options& o) { o.soft_cap = -1; }));
  EXPECT_TRUE(refused([](Options& o) { o.position_scale = 0; }));
  EXPECT_TRUE(refused([](Options& o) { o.scale = NAN; }));
  EXPECT_TRUE(refused([](Options& o) { o.value = size_t{1} << 62; }));
}

TEST(MixersTest, AlibiSlopesAreThePublishedOnes) {
  const auto eight = AlibiSlopes(8);
  for (size_t h = 0; h < 8; ++h) {
    EXPECT_EQ(eight[h], std::exp2(-static_cast<float>(h + 1)));
  }
  // Twelve: those of eight, then every other one of sixteen.
  const auto twelve = AlibiSlopes(12, 0.25);
  ASSERT_EQ(twelve.size(), 12u);
  EXPECT_FLOAT_EQ(twelve[7], 0.25f / 256);
  EXPECT_FLOAT_EQ(twelve[8], 0.25f * std::exp2(-0.5f));
  EXPECT_FLOAT_EQ(twelve[11], 0.25f * std::exp2(-3.5f));
}

}  // namespace
}  // namespace lcsm
