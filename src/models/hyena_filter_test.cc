#include "models/hyena_filter.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/cpu_info.h"
#include "models/hyena_reference.h"

namespace lcsm {
namespace {

HyenaConfig Config(size_t order, FilterLayout layout) {
  HyenaConfig config;
  config.vocab = config.padded_vocab = 4;
  config.width = 18;
  config.inner = 4;
  config.layers = 2;
  config.order = order;
  config.layout = layout;
  config.max_length = 1000;
  config.filter_width = 64;
  config.shift = 0.05;
  return config;
}

TEST(HyenaFilterTest, RowsMatchTheOracleInFloat64) {
  for (bool normalized : {false, true}) {
    HyenaConfig config = Config(3, FilterLayout::kOrderSlowest);
    config.normalized = normalized;
    const TestTensors tensors = RandomTensors(config, 2);
    const auto weights = HyenaWeights::Bind(config, MakeMapSource(&tensors));
    ASSERT_TRUE(weights.ok());
    const std::vector<double> want =
        ReferenceFilter(config, tensors, 1, config.max_length);
    const size_t channels = config.filter_channels();
    for (const std::string& target : SupportedSimdTargets()) {
      ASSERT_TRUE(ForceSimdTarget(target).ok());
      // Any piece of it.
      for (const auto& [first, count] :
           {std::pair<size_t, size_t>{0, 1000}, {3, 1}, {40, 49}, {999, 1}}) {
        std::vector<double> rows(count * channels);
        ASSERT_TRUE(EvaluateHyenaFilterRows(config,
                                            (*weights)->layers()[1].filter,
                                            first, count, rows.data())
                        .ok());
        for (size_t i = 0; i < rows.size(); ++i) {
          // Three sines of frequency 10 amplify the oracle's and our 1e-16 by
          // up to 1e4 together.
          ASSERT_NEAR(rows[i], want[first * channels + i], 2e-12)
              << target << " at " << i;
        }
      }
    }
    ASSERT_TRUE(ForceSimdTarget("best").ok());
  }
}

// Layout, skip and mixer numbers, for any number of threads and any horizon.
TEST(HyenaFilterTest, FillsTheBank) {
  for (const FilterLayout layout :
       {FilterLayout::kOrderSlowest, FilterLayout::kOrderFastest}) {
    for (size_t order : {2, 3, 4}) {
      const HyenaConfig config = Config(order, layout);
      const TestTensors tensors = RandomTensors(config, 3);
      const auto weights = HyenaWeights::Bind(config, MakeMapSource(&tensors));
      ASSERT_TRUE(weights.ok());
      for (size_t horizon : {1, 47, 48, 49, 700}) {
        for (size_t threads : {1, 3}) {
          conv::Problem problem;
          problem.mixers = config.layers * config.convolutions();
          problem.channels = config.width;
          problem.length = problem.taps = horizon;
          auto bank = conv::FilterBank::Create(problem);
          ASSERT_TRUE(bank.ok());
          ThreadPool pool(threads);
          double last = 0;
          ASSERT_TRUE(EvaluateHyenaFilters(
                          **weights, pool,
                          [&](double done) {
                            EXPECT_GE(done, last);
                            last = done;
                            return true;
                          },
                          **bank)
                          .ok());
          EXPECT_EQ(last, 1.0);
          for (size_t layer = 0; layer < config.layers; ++layer) {
            const std::vector<double> h =
                ReferenceFilter(config, tensors, layer, horizon);
            const std::string skip_name =
                fmt::format("backbone.layers.{}.mixer.filter_fn.bias", layer);
            const std::vector<float>& skip = tensors.at(skip_name).values;
            for (size_t o = 0; o + 1 < order; ++o) {
              for (size_t c = 0; c < config.width; ++c) {
                const size_t channel = layout == FilterLayout::kOrderSlowest
                                           ? o * config.width + c
                                           : c * config.convolutions() + o;
                const float* const taps =
                    (*bank)->Group(layer * config.convolutions() + o, c / 16) +
                    c % 16;
                for (size_t n = 0; n < horizon; ++n) {
                  const double want =
                      h[n * config.filter_channels() + channel] +
                      (n == 0 ? skip[channel] : 0.0);
                  ASSERT_NEAR(taps[n * 16], want, 1e-7 * (1 + std::abs(want)));
                }
              }
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace lcsm
