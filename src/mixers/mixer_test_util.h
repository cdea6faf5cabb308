// What every mixer must do, tested the same way for all: steps against a slow
// twin, known positions however cut and on however many threads, no look ahead,
// reset, fork, several sequences together, save and load, memory as foretold.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "io/section_file.h"
#include "mixers/mixer_set.h"

namespace lcsm {

inline std::vector<float> Normal(size_t n, unsigned seed, float scale = 1) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> v(n);
  for (float& f : v) f = normal(rng);
  return v;
}

inline std::vector<double> Doubles(const std::vector<float>& v) {
  return std::vector<double>(v.begin(), v.end());
}

// A stack of one mixer. Null and a failed test on error.
inline std::unique_ptr<MixerStates> Alone(std::shared_ptr<const Mixer> mixer,
                                          size_t horizon, ThreadPool& pool) {
  MixerSetOptions options;
  options.horizon = horizon;
  auto prepared = PreparedMixers::Create({{mixer, {}}}, options, pool);
  EXPECT_TRUE(prepared.ok()) << prepared.status().message();
  if (!prepared.ok()) return nullptr;
  auto states = (*prepared)->NewStates(pool);
  EXPECT_TRUE(states.ok()) << states.status().message();
  return states.ok() ? std::move(*states) : nullptr;
}

// Takes rows [from, to) of x in, `together` at a time (1: by steps).
inline void Take(MixerStates& states, const Mixer& mixer,
                 const std::vector<float>& x, size_t from, size_t to,
                 size_t together, std::vector<float>* y) {
  for (size_t t = from; t < to;) {
    const size_t count = std::min(together, to - t);
    const float* const in = x.data() + t * mixer.in_width();
    float* const out = y->data() + t * mixer.out_width();
    if (together == 1) {
      states[0].Step(in, out);
    } else {
      ASSERT_TRUE(states[0].Prefill(count, in, out).ok());
    }
    states.Advance(count);
    t += count;
  }
}

inline std::vector<float> RunAlone(const std::shared_ptr<const Mixer>& mixer,
                                   const std::vector<float>& x, size_t together,
                                   size_t threads) {
  ThreadPool pool(threads);
  const size_t length = x.size() / mixer->in_width();
  std::vector<float> y(length * mixer->out_width(), NAN);
  const auto states = Alone(mixer, length, pool);
  if (states != nullptr) Take(*states, *mixer, x, 0, length, together, &y);
  return y;
}

inline bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

inline void ExpectNear(const std::vector<float>& y,
                       const std::vector<double>& want, double tolerance,
                       const std::string& what) {
  ASSERT_EQ(y.size(), want.size()) << what;
  for (size_t i = 0; i < y.size(); ++i) {
    ASSERT_NEAR(y[i], want[i], tolerance) << what << ", element " << i;
  }
}

// Several sequences go on together from where one stands, each with inputs of
// its own: the bits of its forks, and what it was spread from takes no notice.
inline void CheckSpread(const std::shared_ptr<const Mixer>& mixer,
                        const std::vector<float>& x) {
  const size_t in = mixer->in_width(), out = mixer->out_width();
  const size_t length = x.size() / in;
  size_t threads = 1;
  for (const size_t at : {size_t{0}, size_t{1}, length / 2, length - 1}) {
    for (const size_t rows : {1, 2, 5}) {
      SCOPED_TRACE(std::to_string(rows) + " rows from " + std::to_string(at));
      threads = 3 - threads;
      ThreadPool pool(threads);
      const auto states = Alone(mixer, length, pool);
      ASSERT_NE(states, nullptr);
      std::vector<float> y(length * out, NAN);
      Take(*states, *mixer, x, 0, at / 2, length, &y);
      Take(*states, *mixer, x, at / 2, at, 1, &y);
      const auto batch = states->Spread(rows);
      ASSERT_TRUE(batch.ok()) << batch.status().message();
      EXPECT_EQ((*batch)->rows(), rows);
      EXPECT_EQ((*batch)->position(), at);
      std::vector<std::vector<float>> inputs(rows, x), want(rows, y);
      for (size_t r = 0; r < rows; ++r) {
        for (size_t i = at * in; i < x.size(); ++i) {
          inputs[r][i] *= 1 - 0.25f * static_cast<float>(r);
        }
        auto fork = states->Fork();
        ASSERT_TRUE(fork.ok());
        Take(**fork, *mixer, inputs[r], at, length, 1, &want[r]);
      }
      std::vector<float> row_in(rows * in), row_out(rows * out);
      for (size_t t = at; t < length; ++t) {
        for (size_t r = 0; r < rows; ++r) {
          std::copy_n(&inputs[r][t * in], in, &row_in[r * in]);
        }
        (**batch)[0].Step(row_in.data(), row_out.data());
        (*batch)->Advance();
        for (size_t r = 0; r < rows; ++r) {
          ASSERT_EQ(std::memcmp(&row_out[r * out], &want[r][t * out],
                                out * sizeof(float)),
                    0)
              << "row " << r << ", position " << t;
        }
      }
      EXPECT_FALSE(states->Spread(0).ok());
      EXPECT_EQ((*batch)->Spread(2).ok(), rows == 1);
      Take(*states, *mixer, inputs[0], at, length, 1, &y);
      EXPECT_TRUE(SameBits(y, want[0])) << "what it was spread from";
    }
  }
}

// Sets of horizons, the last one that of x, and the positions at which a
// sequence leaves each of them for the next.
struct Growth {
  std::vector<size_t> horizons, positions;
};
inline std::vector<Growth> Growths(size_t length) {
  const size_t third = length / 3, half = length / 2;
  return {{{length, length}, {0}},
          {{1, length}, {0}},
          {{1, 1, length}, {1, 1}},
          {{third, half, length}, {third - 1, half}},
          {{half, half + 1, length}, {half, half + 1}},
          {{half, length - 1, length}, {7, half + 3}}};
}

// From where it has grown, a sequence is one of the longer set whose mixers got
// the same inputs: every bit where `tolerance` is 0, which takes mixers that
// do not feed each other (what they gave before was rounded by the shorter
// set). The sequence that it was before, and its forks, take no notice.
// `take(states, until, y)` goes there by steps; y has `width` floats a
// position.
template <typename Take>
void CheckGrowth(const std::vector<MixerEntry>& mixers,
                 const MixerSetOptions& wanted, size_t length, size_t width,
                 double tolerance, const Take& take) {
  ThreadPool pool(2);
  for (const Growth& growth : Growths(length)) {
    MixerSetOptions options = wanted;
    options.longest = length;
    std::shared_ptr<const PreparedMixers> prepared;
    std::unique_ptr<MixerStates> states;
    for (size_t k = 0; k < growth.horizons.size(); ++k) {
      options.horizon = growth.horizons[k];
      options.shorter = prepared.get();
      auto longer = PreparedMixers::Create(mixers, options, pool);
      ASSERT_TRUE(longer.ok()) << longer.status().message();
      if (k == 0) {
        states = (*longer)->NewStates(pool).value();
      } else {
        auto fork = states->Fork();
        ASSERT_TRUE(fork.ok());
        auto grown = states->Grown(*longer);
        ASSERT_TRUE(grown.ok()) << grown.status().message();
        std::vector<float> old(length * width), forked(length * width);
        take(*states, growth.horizons[k - 1], &old);
        take(**fork, growth.horizons[k - 1], &forked);
        EXPECT_TRUE(SameBits(old, forked)) << "what stayed";
        states = *std::move(grown);
      }
      const size_t from = states->position();
      const size_t until =
          k < growth.positions.size() ? growth.positions[k] : length;
      SCOPED_TRACE(std::to_string(options.horizon) + " positions, at " +
                   std::to_string(from));
      EXPECT_EQ(states->horizon(), options.horizon);
      const auto twin = (*longer)->NewStates(pool).value();
      std::vector<float> got(length * width), want(length * width);
      take(*states, until, &got);
      take(*twin, until, &want);
      for (size_t i = from * width; i < until * width; ++i) {
        if (tolerance == 0) {
          ASSERT_EQ(got[i], want[i]) << "grown and made long, element " << i;
        } else {
          ASSERT_NEAR(got[i], want[i], tolerance) << "element " << i;
        }
      }
      prepared = *longer;
    }
  }
}

// `want` is the slow twin's answer for x.
inline void CheckMixer(const std::shared_ptr<const Mixer>& mixer,
                       const std::vector<float>& x,
                       const std::vector<double>& want, double tolerance) {
  SCOPED_TRACE(mixer->Describe());
  const size_t in = mixer->in_width(), out = mixer->out_width();
  const size_t length = x.size() / in;
  const std::vector<float> steps = RunAlone(mixer, x, 1, 1);
  ExpectNear(steps, want, tolerance, "steps");
  for (size_t together : {size_t{2}, size_t{7}, size_t{67}, length + 1}) {
    const std::vector<float> known = RunAlone(mixer, x, together, 1);
    ExpectNear(known, want, tolerance, "known positions");
    EXPECT_TRUE(SameBits(known, RunAlone(mixer, x, together, 3))) << "threads";
  }
  EXPECT_TRUE(SameBits(steps, RunAlone(mixer, x, 1, 3))) << "threads";

  ThreadPool pool(2);
  const auto states = Alone(mixer, length, pool);
  ASSERT_NE(states, nullptr);
  MixerSetOptions options;
  options.horizon = length;
  const auto foretold =
      PreparedMixers::Foretell({{mixer, {}}}, options, pool.NumThreads());
  ASSERT_TRUE(foretold.ok()) << foretold.status().message();
  EXPECT_EQ(states->bytes(), foretold->states);
  std::vector<float> y(length * out, NAN);
  const size_t half = length / 2;
  // Nothing taken in is nothing done.
  ASSERT_TRUE((*states)[0].Prefill(0, x.data(), y.data()).ok());
  states->Advance(0);
  EXPECT_EQ(states->position(), 0u);
  // What stands behind an output does not matter: where the rest of the input
  // is other, the outputs up to there have the same bits.
  std::vector<float> other = x;
  for (size_t i = half * in; i < other.size(); ++i) other[i] = 1 - other[i];
  std::vector<float> ahead = RunAlone(mixer, other, length + 1, 1);
  std::vector<float> known = RunAlone(mixer, x, length + 1, 1);
  ahead.resize(half * out);
  known.resize(half * out);
  EXPECT_TRUE(SameBits(ahead, known)) << "a look ahead";
  Take(*states, *mixer, other, 0, half, 1, &y);
  auto fork = states->Fork();
  ASSERT_TRUE(fork.ok());
  const auto path =
      std::filesystem::temp_directory_path() /
      ("lcsm_mixer_" + std::to_string(::getpid()) + "_test.sections");
  {
    auto writer = io::SectionWriter::Create(path, "{}");
    ASSERT_TRUE(writer.ok()) << writer.status().message();
    const Status saved = states->Save(*writer);
    ASSERT_TRUE(saved.ok()) << saved.message();
    ASSERT_TRUE(writer->Finish().ok());
  }
  Take(*states, *mixer, other, half, length, 1, &y);
  std::vector<float> forked(y.size(), NAN);
  std::copy_n(y.begin(), half * out, forked.begin());
  Take(**fork, *mixer, x, half, length, 1, &forked);
  EXPECT_TRUE(SameBits(forked, steps)) << "fork";
  // Loaded over what came later, it goes on from half way.
  {
    auto reader = io::SectionReader::Open(path);
    ASSERT_TRUE(reader.ok()) << reader.status().message();
    const Status loaded = states->Load(*reader);
    ASSERT_TRUE(loaded.ok()) << loaded.message();
    EXPECT_TRUE(reader->Finish().ok());
  }
  std::filesystem::remove(path);
  EXPECT_EQ(states->position(), half);
  EXPECT_EQ((*states)[0].position(), half);
  Take(*states, *mixer, x, half, length, 1, &y);
  EXPECT_TRUE(SameBits(y, steps)) << "load";
  states->Reset();
  EXPECT_EQ(states->position(), 0u);
  Take(*states, *mixer, x, 0, length, 1, &y);
  EXPECT_TRUE(SameBits(y, steps)) << "reset";
  // Known positions first, steps behind.
  states->Reset();
  Take(*states, *mixer, x, 0, half, length, &y);
  Take(*states, *mixer, x, half, length, 1, &y);
  ExpectNear(y, want, tolerance, "steps behind known positions");

  // Put at a position with a made-up past, it goes on from there in finite
  // numbers, and back at the beginning everything is as it was.
  for (size_t at : {size_t{0}, half, length - 1}) {
    const Status placed = states->Pretend(at);
    ASSERT_TRUE(placed.ok()) << placed.message();
    EXPECT_EQ(states->position(), at);
    EXPECT_EQ((*states)[0].position(), at);
    size_t taken = 0;
    for (size_t i = 0; i < states->convolutions(); ++i) {
      taken += states->convolution(i).position();
    }
    EXPECT_EQ(taken, states->convolutions() == 0 ? 0 : at);
    Take(*states, *mixer, x, at, at + (length - at) / 2, 7, &y);
    Take(*states, *mixer, x, at + (length - at) / 2, length, 1, &y);
    EXPECT_EQ(states->position(), length);
    for (size_t i = at * out; i < y.size(); ++i) {
      ASSERT_TRUE(std::isfinite(y[i])) << "a made-up past, from " << at;
    }
    states->MoveTo(half);
    EXPECT_EQ(states->position(), half);
    EXPECT_EQ((*states)[0].position(), half);
    Take(*states, *mixer, x, half, length, 1, &y);
  }
  states->Reset();
  Take(*states, *mixer, x, 0, length, 1, &y);
  EXPECT_TRUE(SameBits(y, steps)) << "reset of a made-up past";

  // One position alone.
  const std::vector<float> first(x.begin(),
                                 x.begin() + static_cast<std::ptrdiff_t>(in));
  const std::vector<double> first_want(
      want.begin(), want.begin() + static_cast<std::ptrdiff_t>(out));
  ExpectNear(RunAlone(mixer, first, 1, 1), first_want, tolerance, "horizon 1");
  ExpectNear(RunAlone(mixer, first, 2, 1), first_want, tolerance, "horizon 1");

  CheckSpread(mixer, x);

  // More than one convolution in a mixer: one feeds the other.
  CheckGrowth({{mixer, {}}}, {}, length, out,
              mixer->convolutions().count > 1 ? 2 * tolerance : 0,
              [&](MixerStates& grown, size_t until, std::vector<float>* into) {
                Take(grown, *mixer, x, grown.position(), until, 1, into);
              });
}

}  // namespace lcsm
