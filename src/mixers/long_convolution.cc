#include "mixers/long_convolution.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"

namespace lcsm {
namespace {

class State final : public MixerState {
 public:
  State(const Mixer::Resources& resources, size_t channels)
      : convolutions_(resources.convolutions),
        index_(resources.first_convolution),
        channels_(channels) {}

  void Ahead(float* y) noexcept override { convolutions_[0]->Ahead(index_, y); }
  size_t bytes() const override { return 0; }
  Status Save(io::SectionWriter&) const override { return OkStatus(); }

 private:
  void DoStep(const float* x, float* y) noexcept override {
    convolutions_[position() % convolutions_.size()]->Step(index_, x, y);
  }
  Status DoPrefill(size_t count, const float* x, float* y) override {
    const size_t phases = convolutions_.size();
    if (phases == 1) {
      Take(*convolutions_[0], count, x, y);
      return OkStatus();
    }
    LCSM_ASSIGN_OR_RETURN(
        FloatBuffer turn,
        FloatBuffer::Allocate((count - 1) / phases * channels_ + channels_,
                              "every other known position"));
    for (size_t first = 0; first < std::min(phases, count); ++first) {
      size_t rows = 0;
      for (size_t t = first; t < count; t += phases) {
        std::copy_n(x + t * channels_, channels_,
                    turn.data() + rows++ * channels_);
      }
      Take(*convolutions_[(position() + first) % phases], rows, turn.data(),
           turn.data());
      for (size_t k = 0; k < rows; ++k) {
        std::copy_n(turn.data() + k * channels_, channels_,
                    y + (first + k * phases) * channels_);
      }
    }
    return OkStatus();
  }
  void Take(conv::OnlineConvolution& convolution, size_t count, const float* x,
            float* y) noexcept {
    // One position is ended like a step (MixerStates::Advance).
    if (count == 1) {
      convolution.Step(index_, x, y);
    } else {
      convolution.StepMany(index_, count, x, y);
    }
  }
  Status DoPretend(size_t) override { return OkStatus(); }
  void DoReset() noexcept override {}
  Status DoCopyFrom(const MixerState&) override { return OkStatus(); }
  Status DoGrowFrom(const MixerState& shorter) override {
    return DoCopyFrom(shorter);
  }
  Status DoLoad(io::SectionReader&, size_t) override { return OkStatus(); }

  const std::vector<conv::OnlineConvolution*> convolutions_;
  const size_t index_, channels_;
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
    size_t channels, size_t taps, TapSource source, std::vector<float> skip,
    size_t every) {
  if (every == 0) {
    return InvalidInput(
        "a long convolution with a tap at every 0th lag, expected at least 1");
  }
  LCSM_ASSIGN_OR_RETURN(
      std::shared_ptr<LongConvolution> mixer,
      Make(channels, taps, std::move(source), std::move(skip)));
  mixer->every_ = every;
  return std::shared_ptr<const LongConvolution>(std::move(mixer));
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
  std::string text = fmt::format("long convolution, {} channels", channels_);
  if (taps_ != MixerConvolutions::kEndless) {
    text += fmt::format(", {} taps", taps_);
  }
  if (every_ != 1) text += fmt::format(", one for {} lags", every_);
  return text;
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
  if (resources.convolutions.size() != every_) {
    return InternalError("a long convolution's state without its executors");
  }
  return std::unique_ptr<MixerState>(new State(resources, channels_));
}

}  // namespace lcsm
