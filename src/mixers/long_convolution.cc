#include "mixers/long_convolution.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace lcsm {
namespace {

class State final : public MixerState {
 public:
  explicit State(const Mixer::Resources& resources)
      : convolution_(*resources.convolution),
        index_(resources.first_convolution) {}

  void Ahead(float* y) noexcept override { convolution_.Ahead(index_, y); }
  size_t bytes() const override { return 0; }
  Status Save(io::SectionWriter&) const override { return OkStatus(); }

 private:
  void DoStep(const float* x, float* y) noexcept override {
    convolution_.Step(index_, x, y);
  }
  Status DoPrefill(size_t count, const float* x, float* y) override {
    // One position is ended like a step (MixerStates::Advance).
    if (count == 1) {
      convolution_.Step(index_, x, y);
    } else {
      convolution_.StepMany(index_, count, x, y);
    }
    return OkStatus();
  }
  Status DoPretend(size_t) override { return OkStatus(); }
  void DoReset() noexcept override {}
  Status DoCopyFrom(const MixerState&) override { return OkStatus(); }
  Status DoLoad(io::SectionReader&, size_t) override { return OkStatus(); }

  conv::OnlineConvolution& convolution_;
  const size_t index_;
};

}  // namespace

StatusOr<std::shared_ptr<LongConvolution>> LongConvolution::Make(
    size_t channels, size_t taps, TapSource source, std::vector<float> skip) {
  if (channels == 0 || taps == 0) {
    return InvalidInput(fmt::format(
        "a long convolution of {} channels and {} taps, expected at least one "
        "of each",
        channels, taps));
  }
  if (!skip.empty() && skip.size() != channels) {
    return InvalidInput(
        fmt::format("a long convolution's skip has {} numbers, expected one "
                    "for each of {} channels",
                    skip.size(), channels));
  }
  std::shared_ptr<LongConvolution> mixer(new LongConvolution);
  mixer->channels_ = channels;
  mixer->taps_ = taps;
  mixer->source_ = std::move(source);
  mixer->skip_ = std::move(skip);
  return mixer;
}

StatusOr<std::shared_ptr<const LongConvolution>> LongConvolution::Create(
    size_t channels, size_t taps, TapSource source, std::vector<float> skip) {
  LCSM_ASSIGN_OR_RETURN(
      std::shared_ptr<const LongConvolution> mixer,
      Make(channels, taps, std::move(source), std::move(skip)));
  return mixer;
}

StatusOr<std::shared_ptr<const LongConvolution>> LongConvolution::Create(
    size_t channels, std::vector<float> taps, std::vector<float> skip) {
  if (channels == 0 || taps.size() % channels != 0) {
    return InvalidInput(fmt::format(
        "a long convolution's filters have {} taps in all, expected a multiple "
        "of its {} channels",
        taps.size(), channels));
  }
  const auto shared = std::make_shared<std::vector<float>>(std::move(taps));
  const auto copy = [shared, channels](size_t first, size_t count,
                                       float* values) {
    std::copy_n(shared->data() + first * channels, count * channels, values);
  };
  LCSM_ASSIGN_OR_RETURN(
      std::shared_ptr<LongConvolution> mixer,
      Make(channels, shared->size() / channels, copy, std::move(skip)));
  mixer->held_ = shared->size() * sizeof(float);
  return std::shared_ptr<const LongConvolution>(std::move(mixer));
}

std::string LongConvolution::Describe() const {
  return taps_ == MixerConvolutions::kEndless
             ? fmt::format("long convolution, {} channels", channels_)
             : fmt::format("long convolution, {} channels, {} taps", channels_,
                           taps_);
}

MixerMemory LongConvolution::Memory(size_t, size_t) const {
  return {held_ + skip_.size() * sizeof(float), 0};
}

void LongConvolution::Taps(size_t, size_t first, size_t count,
                           float* values) const noexcept {
  source_(first, count, values);
  if (first != 0 || count == 0) return;
  for (size_t c = 0; c < skip_.size(); ++c) values[c] += skip_[c];
}

StatusOr<std::unique_ptr<MixerState>> LongConvolution::NewState(
    const Resources& resources) const {
  if (resources.convolution == nullptr) {
    return InternalError("a long convolution's state without an executor");
  }
  return std::unique_ptr<MixerState>(new State(resources));
}

}  // namespace lcsm
