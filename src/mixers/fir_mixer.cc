#include "mixers/fir_mixer.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>

namespace lcsm {
namespace {

// Multiply-adds worth handing to another thread.
constexpr size_t kGrainProducts = 16384;
// Ranges of channels are multiples of a cache line.
constexpr size_t kUnit = 16;

class State final : public RowMixerState {
 public:
  State(const ShortFir& fir, ShortFirState state, ThreadPool& pool)
      : fir_(fir), state_(std::move(state)), pool_(pool) {}

  size_t bytes() const override { return state_.bytes(); }
  Status Save(io::SectionWriter& writer) const override {
    return writer.PutArray(
        "short filter's tail",
        std::span<const float>(state_.tail(), state_.bytes() / sizeof(float)));
  }

 private:
  void Take(size_t count, const float* x, float* y) noexcept override {
    const size_t channels = fir_.channels();
    if (x != y) std::copy_n(x, count * channels, y);
    const size_t grain = kGrainProducts / (count * fir_.taps() * kUnit) + 1;
    pool_.ParallelFor((channels + kUnit - 1) / kUnit, grain,
                      [&](size_t begin, size_t end, size_t) {
                        state_.Process(begin * kUnit,
                                       std::min(end * kUnit, channels), count,
                                       channels, y);
                      });
  }
  Status DoPretend(size_t) override {
    FillPast(state_.tail(), state_.bytes() / sizeof(float));
    return OkStatus();
  }
  void DoReset() noexcept override { state_.Reset(); }
  Status DoCopyFrom(const MixerState& other) override {
    state_.CopyFrom(static_cast<const State&>(other).state_);
    return OkStatus();
  }
  Status DoGrowFrom(const MixerState& shorter) override {
    return DoCopyFrom(shorter);
  }
  Status DoLoad(io::SectionReader& reader, size_t) override {
    return reader.GetArray(
        "short filter's tail",
        std::span<float>(state_.tail(), state_.bytes() / sizeof(float)));
  }

  const ShortFir& fir_;
  ShortFirState state_;
  ThreadPool& pool_;
};

}  // namespace

StatusOr<std::shared_ptr<const FirMixer>> FirMixer::Create(
    size_t channels, size_t taps, const std::vector<float>& w,
    std::vector<float> bias) {
  if (channels == 0 || taps == 0 || w.size() / channels != taps ||
      w.size() % channels != 0) {
    return InvalidInput(fmt::format(
        "a short filter of {} channels and {} taps has {} weights, expected "
        "at least one and one for each tap of each channel",
        channels, taps, w.size()));
  }
  if (bias.empty()) bias.resize(channels);
  if (bias.size() != channels) {
    return InvalidInput(fmt::format(
        "a short filter's bias has {} numbers, expected one for each of {} "
        "channels",
        bias.size(), channels));
  }
  std::shared_ptr<FirMixer> mixer(new FirMixer);
  mixer->bias_ = std::move(bias);
  LCSM_ASSIGN_OR_RETURN(
      mixer->fir_,
      ShortFir::Create(w.data(), mixer->bias_.data(), channels, taps));
  return std::shared_ptr<const FirMixer>(std::move(mixer));
}

std::string FirMixer::Describe() const {
  return fmt::format("short filter, {} channels, {} taps", fir_.channels(),
                     fir_.taps());
}

MixerMemory FirMixer::Memory(size_t, size_t) const {
  return {fir_.bytes() + bias_.size() * sizeof(float),
          fir_.tail_rows() * fir_.channels() * sizeof(float)};
}

StatusOr<std::unique_ptr<MixerState>> FirMixer::NewState(
    const Resources& resources) const {
  LCSM_ASSIGN_OR_RETURN(ShortFirState state, ShortFirState::Create(fir_));
  return std::unique_ptr<MixerState>(
      new State(fir_, std::move(state), *resources.pool));
}

}  // namespace lcsm
