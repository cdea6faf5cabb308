// Recurrent and attention kernels against their scalar twins at odd sizes, on
// every SIMD target.
#include "kernels/recurrent.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstring>
#include <random>
#include <vector>

#include "base/cpu_info.h"
#include "kernels/ref/recurrent_ref.h"

namespace lcsm {
namespace {

constexpr double kUnit = 5.9604644775390625e-8;  // 2^-24
const size_t kSizes[] = {1, 2, 3, 5, 7, 8, 15, 16, 17, 33, 100};

std::vector<float> Normal(size_t n, std::mt19937& rng, float scale = 1) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> v(n);
  for (float& f : v) f = normal(rng);
  return v;
}

std::vector<float> Uniform(size_t n, std::mt19937& rng, float from, float to) {
  std::uniform_real_distribution<float> uniform(from, to);
  std::vector<float> v(n);
  for (float& f : v) f = uniform(rng);
  return v;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class RecurrentTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(ForceSimdTarget(GetParam()).ok());
    std::string name = GetRecurrentKernels().target;
    std::transform(name.begin(), name.end(), name.begin(), ::tolower);
    ASSERT_EQ(name, GetParam()) << "the forced target is the one that runs";
  }
  void TearDown() override { ASSERT_TRUE(ForceSimdTarget("best").ok()); }
};

TEST_P(RecurrentTest, Modes) {
  std::mt19937 rng(1);
  const RecurrentKernels& kernels = GetRecurrentKernels();
  const size_t count = 50, modes = 3;
  for (bool complex : {false, true}) {
    const auto run = complex ? kernels.modes_complex : kernels.modes_real;
    for (size_t n : kSizes) {
      const size_t plane = modes * n;
      const auto pole_re = Uniform(plane, rng, -0.65f, 0.65f);
      const auto pole_im = Uniform(plane, rng, -0.65f, 0.65f);
      const auto residue_re = Normal(plane, rng);
      const auto residue_im = Normal(plane, rng);
      const auto skip = Normal(n, rng), x = Normal(count * n, rng);
      ModeWeights w = {
          pole_re.data(), nullptr, residue_re.data(), nullptr, skip.data(),
          modes,          n};
      if (complex) {
        w.pole_im = pole_im.data();
        w.residue_im = residue_im.data();
      }
      const size_t floats = (complex ? 2 : 1) * plane;
      std::vector<float> state(floats + 1, 0), y(count * n + 1, -7);
      state[floats] = -7;
      run(w, 0, n, count, x.data(), state.data(), y.data());
      ASSERT_EQ(state[floats], -7);
      ASSERT_EQ(y[count * n], -7);
      for (size_t c = 0; c < n; ++c) {
        std::complex<double> s[modes] = {};
        for (size_t t = 0; t < count; ++t) {
          const double want = ref::Modes(w, c, x[t * n + c], s);
          // |p| < 0.92: states below 13 max |x| < 65, whose errors a few
          // residues below 5 take over.
          ASSERT_NEAR(y[t * n + c], want, kUnit * 4 / 0.08 * 65 * 3);
        }
      }
      // Position by position, in two ranges, in place: the same bits.
      std::vector<float> again(floats, 0), in_place = x;
      for (size_t t = 0; t < count; ++t) {
        float* const row = in_place.data() + t * n;
        run(w, n / 3, n, 1, row, again.data(), row);
        run(w, 0, n / 3, 1, row, again.data(), row);
      }
      state.resize(floats);
      y.resize(count * n);
      EXPECT_TRUE(SameBits(again, state));
      EXPECT_TRUE(SameBits(in_place, y));
    }
  }
}

TEST_P(RecurrentTest, Selective) {
  std::mt19937 rng(2);
  const RecurrentKernels& kernels = GetRecurrentKernels();
  const size_t count = 30, states = 5;
  for (size_t n : kSizes) {
    const auto a = Uniform(states * n, rng, -16, 0), skip = Normal(n, rng);
    const SelectiveWeights w = {a.data(), skip.data(), states, n};
    std::vector<float> state(states * n + 1, 0), again(states * n, 0);
    state[states * n] = -7;
    std::vector<std::vector<double>> want(n, std::vector<double>(states));
    for (size_t t = 0; t < count; ++t) {
      // A large one now and then: exp(-87) instead of less.
      const auto x = Normal(n, rng),
                 delta = Uniform(n, rng, 0, t % 10 == 9 ? 20.0f : 0.2f),
                 b = Normal(states, rng), c = Normal(states, rng);
      const SelectiveRow row = {x.data(), delta.data(), b.data(), c.data()};
      std::vector<float> y(n + 1, -7), cut(n);
      kernels.selective(w, 0, n, row, state.data(), y.data());
      ASSERT_EQ(y[n], -7);
      ASSERT_EQ(state[states * n], -7);
      for (size_t i = 0; i < n; ++i) {
        const double right = ref::Selective(w, i, row, want[i].data());
        // |delta b x| < 20 * 16; 30 positions of a few roundings each, taken
        // over by states * max |c|.
        ASSERT_NEAR(y[i], right, kUnit * 8 * (30 * 4 * 3 + 20 * 16) * 4);
      }
      kernels.selective(w, n / 2, n, row, again.data(), cut.data());
      kernels.selective(w, 0, n / 2, row, again.data(), cut.data());
      y.resize(n);
      ASSERT_TRUE(SameBits(cut, y));
    }
  }
}

TEST_P(RecurrentTest, Outer) {
  std::mt19937 rng(3);
  const RecurrentKernels& kernels = GetRecurrentKernels();
  const size_t count = 20;
  for (size_t key : {1, 4, 19}) {
    for (size_t value : kSizes) {
      for (bool own : {false, true}) {
        std::vector<float> s(key * value + 1, 0);
        s[key * value] = -7;
        std::vector<double> want_s(key * value), want(value);
        for (size_t t = 0; t < count; ++t) {
          const auto q = Normal(key, rng), k = Normal(key, rng),
                     v = Normal(value, rng), g = Uniform(key, rng, 0, 1);
          const float* const gates = own ? g.data() : nullptr;
          std::vector<float> y(value + 1, -7);
          kernels.outer(q.data(), k.data(), v.data(), gates, 0.9f, key, value,
                        s.data(), y.data());
          ref::Outer(q.data(), k.data(), v.data(), gates, 0.9f, key, value,
                     want_s.data(), want.data());
          ASSERT_EQ(y[value], -7);
          ASSERT_EQ(s[key * value], -7);
          for (size_t j = 0; j < value; ++j) {
            // |S| < 10 * 16; `key` products with |q| < 4.
            ASSERT_NEAR(y[j], want[j],
                        kUnit * (20 + static_cast<double>(key)) * 160 * 4);
          }
        }
      }
    }
  }
}

TEST_P(RecurrentTest, EluPlusOne) {
  const RecurrentKernels& kernels = GetRecurrentKernels();
  std::vector<float> x;
  for (float a = -90; a < 90; a += 0.0137f) x.push_back(a);
  x.push_back(0);
  for (float scale : {1.0f, 0.25f}) {
    std::vector<float> y(x.size());
    kernels.elu_plus_one(x.data(), scale, x.size(), y.data());
    for (size_t i = 0; i < x.size(); ++i) {
      const double want = ref::EluPlusOne(x[i], scale);
      ASSERT_NEAR(y[i], want, 4 * kUnit * want + 2e-38) << x[i];
    }
  }
}

TEST_P(RecurrentTest, Attend) {
  std::mt19937 rng(4);
  const RecurrentKernels& kernels = GetRecurrentKernels();
  for (size_t key : {1, 6, 16, 33, 64}) {
    for (size_t value : {1, 7, 32, 65}) {
      for (size_t count : {1, 3, 4, 5, 63, 64, 65, 200}) {
        for (const AttentionScore& score :
             {AttentionScore{1, 0, 0}, AttentionScore{0.3f, 50, 0},
              AttentionScore{0.5f, 2, 0.25f}, AttentionScore{30, 0, 0}}) {
          const auto q = Normal(key, rng), k = Normal(key * count, rng),
                     v = Normal(value * count, rng);
          const float distance = static_cast<float>(count + 2);
          std::vector<double> want(value);
          ref::Attend(score, q.data(), k.data(), v.data(), key, value, count,
                      distance, want.data());
          // Weights are off by less than this, relatively; |v| < 5.
          const double most = 6 * std::sqrt(static_cast<double>(key)) * 5 *
                              static_cast<double>(score.scale);
          const double tolerance =
              5 * 2 * kUnit *
              (static_cast<double>(key) * most / 4 + 8 + 2 * most +
               4 * static_cast<double>(score.cap));
          for (size_t cut : {count, count / 3, size_t{1}}) {
            AttentionSum sum;
            // Whatever stands there before.
            std::vector<float> y(value + 1, NAN);
            y[value] = -7;
            for (size_t i = 0; i < count;) {
              const size_t run = std::min(std::max<size_t>(cut, 1), count - i);
              kernels.attend(score, q.data(), k.data() + i * key,
                             v.data() + i * value, key, value, run,
                             distance - static_cast<float>(i), &sum, y.data());
              i += run;
            }
            ASSERT_EQ(y[value], -7);
            for (size_t j = 0; j < value; ++j) {
              ASSERT_NEAR(y[j] / sum.sum, want[j], tolerance)
                  << key << " " << value << " " << count << " " << cut;
            }
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, RecurrentTest,
                         testing::ValuesIn(SupportedSimdTargets()),
                         [](const auto& target) { return target.param; });

}  // namespace
}  // namespace lcsm
