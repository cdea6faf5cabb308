// The paper's binary tiling in the memory layout that suits libraries best,
// each channel contiguous in time, for rivals of ours: one thread, precomputed
// spectra, direct sums for small blocks.
//
// A Transform is made for blocks of U inputs and outputs and has
//   size_t SpectrumFloats() const
//   void Spectrum(const float* taps, float* spectrum)   of 2U taps
//   void Apply(const float* x, const float* spectrum, size_t count, float* acc)
// where Apply adds what U inputs give to the first `count` of the U outputs
// after them.
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <random>
#include <vector>

namespace rivals {

template <typename Transform>
class Tiling {
 public:
  Tiling(size_t channels, size_t length, size_t crossover)
      : channels_(channels), length_(length), crossover_(crossover) {
    std::mt19937 rng(3);
    std::normal_distribution<float> normal;
    taps_.resize(channels * length);
    inputs_.resize(channels * length);
    for (float& v : taps_) v = normal(rng);
    for (float& v : inputs_) v = normal(rng);
    // A few floats of padding keep the channels out of each other's cache sets.
    stride_ = length + 16;
    history_.assign(channels * stride_, 0.0f);
    std::vector<float> taps;
    for (size_t block = crossover; block < length; block *= 2) {
      levels_.push_back(
          {std::make_unique<Transform>(block), std::vector<float>()});
      Level& level = levels_.back();
      const size_t floats = level.transform->SpectrumFloats();
      level.spectra.resize(channels * floats);
      for (size_t c = 0; c < channels; ++c) {
        const float* channel = &taps_[c * length];
        taps.assign(channel, channel + std::min(2 * block, length));
        taps.resize(2 * block);
        level.transform->Spectrum(taps.data(), &level.spectra[c * floats]);
      }
    }
  }

  void Run(std::vector<float>* outputs) {
    std::fill(history_.begin(), history_.end(), 0.0f);
    for (size_t t = 0; t < length_; ++t) {
      for (size_t c = 0; c < channels_; ++c) {
        float* cell = &history_[c * stride_ + t];
        const float x = inputs_[t * channels_ + c];
        const float y = *cell + x * taps_[c * length_];
        *cell = x;
        sink_ += y;
        if (outputs != nullptr) (*outputs)[t * channels_ + c] = y;
      }
      const size_t r = t + 1;
      if (r >= length_) break;
      const size_t block = r & (~r + 1);
      for (size_t c = 0; c < channels_; ++c) Tile(c, r, block);
    }
  }

  // Of max |y|, against float64 sums at eight positions of 16 channels.
  double Error(const std::vector<float>& outputs) const {
    double error = 0, largest = 0;
    for (size_t k = 0; k < 8; ++k) {
      const size_t t = (length_ - 1) * k / 7;
      for (size_t c = 0; c < channels_;
           c += std::max<size_t>(1, channels_ / 16)) {
        double want = 0;
        for (size_t i = 0; i <= t; ++i) {
          want += static_cast<double>(inputs_[i * channels_ + c]) *
                  taps_[c * length_ + t - i];
        }
        largest = std::max(largest, std::abs(want));
        error = std::max(error, std::abs(outputs[t * channels_ + c] - want));
      }
    }
    return error / largest;
  }

  float sink() const { return sink_; }

 private:
  struct Level {
    std::unique_ptr<Transform> transform;
    std::vector<float> spectra;  // [channel][SpectrumFloats()]
  };

  void Tile(size_t c, size_t r, size_t block) {
    float* const acc = &history_[c * stride_ + r];
    const float* const x = acc - block;
    const size_t outputs = std::min(block, length_ - r);
    if (block < crossover_) {
      const float* h = &taps_[c * length_];
      for (size_t i = 0; i < block; ++i) {
        const float* tap = h + block - i;
        for (size_t j = 0; j < outputs; ++j) acc[j] += x[i] * tap[j];
      }
      return;
    }
    Level& level = levels_[__builtin_ctzll(block / crossover_)];
    level.transform->Apply(
        x, &level.spectra[c * level.transform->SpectrumFloats()], outputs, acc);
  }

  const size_t channels_, length_, crossover_;
  size_t stride_;
  std::vector<float> taps_;     // [channel][n]
  std::vector<float> inputs_;   // [t][channel], as a model would hand them over
  std::vector<float> history_;  // [channel][stride], half storage
  std::vector<Level> levels_;
  float sink_ = 0;
};

// The program: NAME CHANNELS LENGTH [CROSSOVER]. Checks its answers, then
// prints ns per token and channel of five runs. Blocks below CROSSOVER (64) are
// direct sums, which the compiler vectorises over time.
template <typename Transform>
int Main(const char* name, int argc, char** argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: %s CHANNELS LENGTH [CROSSOVER]\n", name);
    return 2;
  }
  const size_t channels = strtoull(argv[1], nullptr, 10);
  const size_t length = strtoull(argv[2], nullptr, 10);
  const size_t crossover = argc > 3 ? strtoull(argv[3], nullptr, 10) : 64;
  if (channels == 0 || length < 2 || crossover < 8 ||
      (crossover & (crossover - 1)) != 0) {
    fprintf(stderr,
            "%s: expected channels >= 1, length >= 2, a power of two from 8 "
            "up to cross at\n",
            name);
    return 2;
  }
  Tiling<Transform> tiling(channels, length, crossover);
  std::vector<float> outputs(channels * length);
  tiling.Run(&outputs);
  const double error = tiling.Error(outputs);
  if (!(error < 2e-6)) {
    fprintf(stderr, "%s: off by %.2e of max |y|\n", name, error);
    return 1;
  }
  std::vector<double> ns;
  for (int run = 0; run < 5; ++run) {
    const auto start = std::chrono::steady_clock::now();
    tiling.Run(nullptr);
    const std::chrono::duration<double, std::nano> time =
        std::chrono::steady_clock::now() - start;
    ns.push_back(time.count() / static_cast<double>(channels * length));
  }
  std::sort(ns.begin(), ns.end());
  printf(
      "%s  C=%zu L=%zu crossover=%zu  %.2f ns per token and channel "
      "(%.2f .. %.2f), error %.1e%s\n",
      name, channels, length, crossover, ns[2], ns[0], ns[4], error,
      tiling.sink() == 0 ? " " : "");
  return 0;
}

}  // namespace rivals
