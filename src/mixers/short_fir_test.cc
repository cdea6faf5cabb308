#include "mixers/short_fir.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

namespace lcsm {
namespace {

TEST(ShortFirTest, MatchesTheDefinitionHoweverItIsCut) {
  std::mt19937 rng(1);
  std::normal_distribution<float> normal;
  const size_t length = 23, channels = 37, stride = channels + 3;
  for (size_t taps : {1, 2, 3, 5}) {
    std::vector<float> w(channels * taps), bias(channels), x(length * stride);
    for (float& v : w) v = normal(rng);
    for (float& v : bias) v = normal(rng);
    for (float& v : x) v = normal(rng);
    auto fir = ShortFir::Create(w.data(), bias.data(), channels, taps);
    ASSERT_TRUE(fir.ok());
    auto state = ShortFirState::Create(*fir);
    ASSERT_TRUE(state.ok());
    std::vector<float> whole = x;
    state->Process(0, channels, length, stride, whole.data());
    for (size_t t = 0; t < length; ++t) {
      for (size_t c = 0; c < channels; ++c) {
        double want = bias[c];
        for (size_t back = 0; back < taps && back <= t; ++back) {
          want += static_cast<double>(w[c * taps + taps - 1 - back]) *
                  x[(t - back) * stride + c];
        }
        ASSERT_NEAR(whole[t * stride + c], want, 3e-6);
      }
      for (size_t c = channels; c < stride; ++c) {
        ASSERT_EQ(whole[t * stride + c], x[t * stride + c]);
      }
    }
    // Row by row, two ranges of channels in turn; after a reset, the same.
    for (size_t cut : {1, 16, 30}) {
      state->Reset();
      std::vector<float> cut_up = x;
      for (size_t t = 0; t < length; ++t) {
        state->Process(cut, channels, 1, stride, cut_up.data() + t * stride);
        state->Process(0, cut, 1, stride, cut_up.data() + t * stride);
      }
      ASSERT_EQ(std::memcmp(cut_up.data(), whole.data(),
                            whole.size() * sizeof(float)),
                0);
    }
  }
}

}  // namespace
}  // namespace lcsm
