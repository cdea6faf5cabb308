// Sets of mixers whose sequences get a longer horizon: by every method, with
// the links between mixers that cost something, and what is refused. (What each
// mixer must do by itself: CheckMixer.)
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "mixers/long_convolution.h"
#include "mixers/mixer_set.h"
#include "mixers/mixer_test_util.h"
#include "mixers/relaxed_mixer.h"

namespace lcsm {
namespace {

constexpr size_t kWidth = 19, kLength = 300;

std::shared_ptr<const Mixer> Conv(size_t taps, unsigned seed,
                                  size_t* asked = nullptr) {
  const auto values =
      std::make_shared<std::vector<float>>(Normal(taps * kWidth, seed, 0.1f));
  return LongConvolution::Create(
             kWidth, taps,
             [values, asked](size_t first, size_t count, float* to) {
               if (asked != nullptr) *asked += count;
               std::copy_n(values->data() + first * kWidth, count * kWidth, to);
             },
             {})
      .value();
}

// Steps of mixers of one width that all get the same rows; their outputs stand
// side by side, and behind them what the first one has ahead.
struct SideBySide {
  std::vector<float> x = Normal(kLength * kWidth, 4);
  bool reads_ahead = false;

  static size_t Width(size_t mixers) { return (mixers + 1) * kWidth; }
  void operator()(MixerStates& states, size_t until,
                  std::vector<float>* y) const {
    while (states.position() < until) {
      const float* const row = x.data() + states.position() * kWidth;
      float* to = y->data() + states.position() * Width(states.size());
      for (size_t m = 0; m < states.size(); ++m, to += kWidth) {
        states[m].Step(row, to);
      }
      if (reads_ahead) states[0].Ahead(to);
      states.Advance();
    }
  }
};

TEST(MixerGrowthTest, EveryMethodAndLinks) {
  for (const auto method :
       {conv::Method::kPaper, conv::Method::kPlanned, conv::Method::kLazy,
        conv::Method::kEager, conv::Method::kFutureFill,
        conv::Method::kGardner}) {
    for (const auto latency : {conv::Latency::kBest, conv::Latency::kFlat}) {
      for (const bool ahead : {false, true}) {
        if (latency == conv::Latency::kFlat &&
            method != conv::Method::kPlanned) {
          continue;
        }
        // Whoever is read ahead runs in order, where nothing can be deferred.
        if (ahead && method == conv::Method::kGardner) continue;
        SCOPED_TRACE(std::string(conv::Name(method)) + " " +
                     conv::Name(latency) + (ahead ? " ahead" : ""));
        // Filters that end before, at and behind the horizons.
        std::vector<MixerEntry> mixers = {{Conv(kLength, 1), {}},
                                          {Conv(37, 2), {}},
                                          {Conv(2000, 3), {}},
                                          {Conv(151, 5), {}}};
        SideBySide rows;
        if (ahead) {
          rows.reads_ahead = true;
          mixers[1].reads = {{0, 0, MixerRead::What::kAhead}};
        }
        MixerSetOptions options;
        options.plan.method = method;
        options.plan.latency = latency;
        CheckGrowth(mixers, options, kLength, SideBySide::Width(mixers.size()),
                    0, rows);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(MixerGrowthTest, TapsAtEverySecondLag) {
  const auto values = Normal(kLength * kWidth, 9, 0.1f);
  const auto phased = LongConvolution::Create(
      kWidth, kLength / 2,
      [&](size_t first, size_t count, float* to) {
        std::copy_n(values.data() + first * kWidth, count * kWidth, to);
      },
      {}, 2);
  ASSERT_TRUE(phased.ok());
  for (const auto method : {conv::Method::kPaper, conv::Method::kPlanned}) {
    MixerSetOptions options;
    options.plan.method = method;
    CheckGrowth({{*phased, {}}, {Conv(kLength, 1), {}}}, options, kLength,
                SideBySide::Width(2), 0, SideBySide());
  }
}

TEST(MixerGrowthTest, RelaxedByEveryMethodItHas) {
  const std::vector<float> x = Normal(kLength * 2 * kWidth, 6);
  const std::shared_ptr<const Mixer> relaxed =
      RelaxedMixer::Create(kWidth).value();
  for (const auto method :
       {conv::Method::kPaper, conv::Method::kPlanned, conv::Method::kLazy}) {
    for (const auto schedule :
         {conv::Schedule::kAcrossLayers, conv::Schedule::kPerLayer}) {
      MixerSetOptions options;
      options.plan.method = method;
      options.plan.schedule = schedule;
      CheckGrowth(
          {{relaxed, {}}}, options, kLength, kWidth, 0,
          [&](MixerStates& states, size_t until, std::vector<float>* y) {
            Take(states, *relaxed, x, states.position(), until, 1, y);
          });
    }
  }
}

TEST(MixerGrowthTest, TapsAreEvaluatedForNewLagsOnly) {
  size_t asked = 0;
  const std::vector<MixerEntry> mixers = {{Conv(5000, 3, &asked), {}}};
  MixerSetOptions options;
  options.longest = 5000;
  options.horizon = 1500;
  ThreadPool pool(1);
  const auto shorter = PreparedMixers::Create(mixers, options, pool).value();
  EXPECT_EQ(asked, 1500u);
  options.shorter = shorter.get();
  options.horizon = 5000;
  ASSERT_TRUE(PreparedMixers::Create(mixers, options, pool).ok());
  // Those of the call that was cut short once more.
  EXPECT_EQ(asked, 1500u + 5000u - 1024u);
}

TEST(MixerGrowthTest, MemoryIsForetoldAndLimited) {
  const std::vector<MixerEntry> mixers = {{Conv(5000, 3), {}}};
  MixerSetOptions options;
  options.plan.method = conv::Method::kPlanned;
  options.horizon = 2000;
  const size_t fixed = PreparedMixers::Foretell(mixers, options, 1)->Total();
  options.longest = 5000;
  const auto growable = PreparedMixers::Foretell(mixers, options, 1).value();
  // All taps stay: 2 groups of 16.
  EXPECT_GE(growable.convolution.taps, size_t{2000 * 32 * 4});
  EXPECT_GT(growable.Total(), fixed);
  options.plan.memory_limit = growable.Total() + growable.convolution.taps;
  ThreadPool pool(1);
  const auto shorter = PreparedMixers::Create(mixers, options, pool);
  ASSERT_TRUE(shorter.ok()) << shorter.status().message();
  options.shorter = shorter->get();
  options.horizon = 5000;
  const auto refused = PreparedMixers::Create(mixers, options, pool);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().message().find("5000 positions take at least"),
            std::string::npos)
      << refused.status().message();
}

TEST(MixerGrowthTest, WhatDoesNotFitIsRefused) {
  const std::vector<MixerEntry> mixers = {{Conv(2000, 3), {}}};
  ThreadPool pool(1);
  MixerSetOptions options;
  const auto make = [&](size_t horizon, size_t longest,
                        const PreparedMixers* shorter,
                        const std::vector<MixerEntry>& which) {
    options.horizon = horizon;
    options.longest = longest;
    options.shorter = shorter;
    return PreparedMixers::Create(which, options, pool);
  };
  const auto refused = [](const auto& status, const char* words) {
    ASSERT_FALSE(status.ok()) << words;
    EXPECT_NE(status.status().message().find(words), std::string::npos)
        << status.status().message();
  };
  options.plan.method = conv::Method::kPlanned;
  const auto set = make(500, 2000, nullptr, mixers).value();
  refused(make(2001, 2000, nullptr, mixers), "may grow to 2000");
  refused(make(499, 2000, set.get(), mixers), "500 positions were to grow to");
  refused(make(600, 0, set.get(), mixers), "may not grow");
  refused(make(600, 1999, set.get(), mixers), "the same length");
  const auto fixed = make(500, 0, nullptr, mixers).value();
  refused(make(600, 2000, fixed.get(), mixers), "a set of others");
  refused(make(600, 2000, set.get(), {{Conv(200, 3), {}}}), "a set of others");
  refused(make(600, 2000, set.get(), {{mixers[0]}, {mixers[0]}}),
          "a set of others");
  // States of sets that were not to grow, where inputs are forgotten by then.
  options.plan.levels =
      conv::ParseLevels("1x16 direct, 16x4 fft-fused, 64 fft-fused", "plan")
          .value();
  const std::vector<MixerEntry> short_one = {{Conv(60, 3), {}}};
  const auto ring = make(500, 0, nullptr, short_one).value();
  ASSERT_LT(conv::HistoryLines(ring->schedule().groups[0].plan), 500u);
  const auto longer = make(600, 0, nullptr, short_one).value();
  const auto states = ring->NewStates(pool).value();
  const SideBySide rows;
  std::vector<float> y(kLength * SideBySide::Width(1)), want(y.size());
  rows(*states, 200, &y);
  refused(states->Grown(longer), "growable");
  const auto twin = ring->NewStates(pool).value();
  rows(*states, 300, &y);
  rows(*twin, 300, &want);
  EXPECT_TRUE(SameBits(y, want));
}

}  // namespace
}  // namespace lcsm
