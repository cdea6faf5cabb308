// A rival: the paper's binary tiling through FFTW in the memory layout that
// suits FFTW best, each channel contiguous in time, with one real transform of
// length 2U a tile and precomputed spectra.
//
// Usage: rival_fftw CHANNELS LENGTH [CROSSOVER]. Blocks below CROSSOVER (64)
// are direct sums, which the compiler vectorises over time. One thread. Checks
// its answers against float64 direct sums first, then prints ns per token and
// channel of five runs. Built with -DLCSM_FFTW=ON only (GPL).
#include <fftw3.h>
#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>
#include <vector>

namespace {

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
    for (size_t block = crossover; block < length; block *= 2)
      levels_.push_back(MakeLevel(block));
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
    size_t block;
    float* time;               // 2U
    fftwf_complex* frequency;  // U + 1
    fftwf_complex* spectra;    // [channel][U + 1]
    fftwf_plan forward, inverse;
  };

  Level MakeLevel(size_t block) {
    Level level;
    level.block = block;
    const int n = static_cast<int>(2 * block);
    level.time = fftwf_alloc_real(2 * block);
    level.frequency = fftwf_alloc_complex(block + 1);
    level.spectra = fftwf_alloc_complex(channels_ * (block + 1));
    level.forward =
        fftwf_plan_dft_r2c_1d(n, level.time, level.frequency, FFTW_MEASURE);
    level.inverse =
        fftwf_plan_dft_c2r_1d(n, level.frequency, level.time, FFTW_MEASURE);
    for (size_t c = 0; c < channels_; ++c) {
      const size_t count = std::min(2 * block, length_);
      std::fill_n(level.time, 2 * block, 0.0f);
      for (size_t k = 0; k < count; ++k) {
        level.time[k] = taps_[c * length_ + k] / static_cast<float>(n);
      }
      fftwf_execute(level.forward);
      std::copy_n(&level.frequency[0][0], 2 * (block + 1),
                  &level.spectra[c * (block + 1)][0]);
    }
    return level;
  }

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
    const Level& level = levels_[__builtin_ctzll(block / crossover_)];
    std::copy_n(x, block, level.time);
    std::fill_n(level.time + block, block, 0.0f);
    fftwf_execute(level.forward);
    const float* h = &level.spectra[c * (block + 1)][0];
    float* f = &level.frequency[0][0];
    for (size_t k = 0; k < 2 * (block + 1); k += 2) {
      const float re = f[k] * h[k] - f[k + 1] * h[k + 1];
      f[k + 1] = f[k] * h[k + 1] + f[k + 1] * h[k];
      f[k] = re;
    }
    fftwf_execute(level.inverse);
    for (size_t j = 0; j < outputs; ++j) acc[j] += level.time[block + j];
  }

  const size_t channels_, length_, crossover_;
  size_t stride_;
  std::vector<float> taps_;     // [channel][n]
  std::vector<float> inputs_;   // [t][channel], as a model would hand them over
  std::vector<float> history_;  // [channel][stride], half storage
  std::vector<Level> levels_;
  float sink_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: rival_fftw CHANNELS LENGTH [CROSSOVER]\n");
    return 2;
  }
  const size_t channels = strtoull(argv[1], nullptr, 10);
  const size_t length = strtoull(argv[2], nullptr, 10);
  const size_t crossover = argc > 3 ? strtoull(argv[3], nullptr, 10) : 64;
  if (channels == 0 || length < 2 || crossover == 0 ||
      (crossover & (crossover - 1)) != 0) {
    fprintf(stderr,
            "rival_fftw: expected channels >= 1, length >= 2, a power of two "
            "to cross at\n");
    return 2;
  }
  Tiling tiling(channels, length, crossover);
  std::vector<float> outputs(channels * length);
  tiling.Run(&outputs);
  const double error = tiling.Error(outputs);
  if (!(error < 2e-6)) {
    fprintf(stderr, "rival_fftw: off by %.2e of max |y|\n", error);
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
      "fftw contiguous  C=%zu L=%zu crossover=%zu  %.2f ns per token and "
      "channel "
      "(%.2f .. %.2f), error %.1e%s\n",
      channels, length, crossover, ns[2], ns[0], ns[4], error,
      tiling.sink() == 0 ? " " : "");
  return 0;
}
