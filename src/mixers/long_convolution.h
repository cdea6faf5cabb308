// Long convolutions through the contract: each channel with a filter of its own
// that may be as long as the sequence,
//   y[t][c] = skip[c] x[t][c] + sum_{i <= t} rho[t - i][c] x[i][c].
// The work is that of conv::OnlineConvolution, shared with other mixers of the
// stack. P1 and P2 hold; the state grows with the horizon.
//
// Filters that have a tap at every n-th lag only, as STU's two branches
// together have at every other one, are n convolutions of the positions t, t +
// n, t + 2 n, ..: one level of tiles less, and 1/n of the spectra.
// Immutable; may be shared by threads.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lcsm/status.h"
#include "mixers/mixer.h"

namespace lcsm {

class LongConvolution : public Mixer {
 public:
  // Writes taps [first, first + count) of all channels, [count][channels]. May
  // be called by several threads at a time, and must not fail.
  using TapSource =
      std::function<void(size_t first, size_t count, float* values)>;

  // `taps` may be MixerConvolutions::kEndless. `skip` is [channels] or empty.
  // Tap k is that of lag k * every. Errors: no channels, no taps, a skip of
  // another size, an `every` of 0.
  static StatusOr<std::shared_ptr<const LongConvolution>> Create(
      size_t channels, size_t taps, TapSource source,
      std::vector<float> skip = {}, size_t every = 1);
  // Of explicit taps, [taps][channels].
  static StatusOr<std::shared_ptr<const LongConvolution>> Create(
      size_t channels, std::vector<float> taps, std::vector<float> skip = {});

  std::string Describe() const override;
  size_t in_width() const override { return channels_; }
  size_t out_width() const override { return channels_; }
  MixerTraits traits() const override { return {true, true, false}; }
  MixerMemory Memory(size_t horizon, size_t threads) const override;
  MixerConvolutions convolutions() const override {
    return {1, channels_, taps_, every_};
  }
  bool CanBeReadAhead() const override { return every_ == 1; }
  void Taps(size_t which, size_t first, size_t count,
            float* values) const noexcept override;
  StatusOr<std::unique_ptr<MixerState>> NewState(
      const Resources& resources) const override;
  // The executors have the rows.
  StatusOr<std::unique_ptr<MixerState>> NewRows(const Resources& resources,
                                                size_t) const override {
    return NewState(resources);
  }

 private:
  LongConvolution() = default;
  static StatusOr<std::shared_ptr<LongConvolution>> Make(
      size_t channels, size_t taps, TapSource source, std::vector<float> skip);

  size_t channels_ = 0, taps_ = 0, every_ = 1;
  TapSource source_;
  size_t held_ = 0;  // Bytes of explicit taps.
  std::vector<float> skip_;
};

}  // namespace lcsm
