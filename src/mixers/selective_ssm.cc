#include "mixers/selective_ssm.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "kernels/recurrent.h"

namespace lcsm {
namespace {

// State updates worth handing to another thread; each has an exponential.
constexpr size_t kGrainUpdates = 4096;
// Ranges of channels are multiples of a cache line.
constexpr size_t kUnit = 16;

}  // namespace

class SelectiveSsmState final : public RowMixerState {
 public:
  SelectiveSsmState(const SelectiveSsm& mixer, FloatBuffer state,
                    ThreadPool& pool)
      : mixer_(mixer), state_(std::move(state)), pool_(pool) {
    w_.skip = mixer.weights_.data();
    w_.a = w_.skip + mixer.channels_;
    w_.states = mixer.states_;
    w_.stride = mixer.channels_;
  }

  size_t bytes() const override { return state_.bytes(); }
  Status Save(io::SectionWriter& writer) const override {
    return writer.PutArray(
        "selective states",
        std::span<const float>(state_.data(), state_.size()));
  }

 private:
  void Take(size_t count, const float* x, float* y) noexcept override {
    const RecurrentKernels& kernels = GetRecurrentKernels();
    const size_t channels = mixer_.channels_, states = mixer_.states_;
    const size_t updates = count * states * kUnit;
    pool_.ParallelFor(
        (channels + kUnit - 1) / kUnit, kGrainUpdates / updates + 1,
        [&](size_t begin, size_t end, size_t) {
          // Few channels at a time, so that their states stay in L1.
          for (size_t unit = begin; unit < end; ++unit) {
            const size_t first = unit * kUnit;
            const size_t last = std::min(first + kUnit, channels);
            for (size_t t = 0; t < count; ++t) {
              const float* const at = x + t * mixer_.in_width();
              const SelectiveRow row = {at, at + channels, at + 2 * channels,
                                        at + 2 * channels + states};
              kernels.selective(w_, first, last, row, state_.data(),
                                y + t * channels);
            }
          }
        });
  }
  Status DoPretend(size_t) override {
    FillPast(state_.data(), state_.size());
    return OkStatus();
  }
  void DoReset() noexcept override { state_.Zero(); }
  Status DoCopyFrom(const MixerState& other) override {
    const auto& from = static_cast<const SelectiveSsmState&>(other);
    std::copy_n(from.state_.data(), state_.size(), state_.data());
    return OkStatus();
  }
  Status DoGrowFrom(const MixerState& shorter) override {
    return DoCopyFrom(shorter);
  }
  Status DoLoad(io::SectionReader& reader, size_t) override {
    return reader.GetArray("selective states",
                           std::span<float>(state_.data(), state_.size()));
  }

  const SelectiveSsm& mixer_;
  SelectiveWeights w_ = {};
  FloatBuffer state_;
  ThreadPool& pool_;
};

StatusOr<std::shared_ptr<const SelectiveSsm>> SelectiveSsm::Create(
    size_t channels, size_t states, const std::vector<float>& a,
    const std::vector<float>& skip) {
  if (channels == 0 || states == 0 || a.size() % channels != 0 ||
      a.size() / channels != states) {
    return InvalidInput(fmt::format(
        "a selective state space of {} channels and {} states has {} rates, "
        "expected at least one of each and a rate for each state of each "
        "channel",
        channels, states, a.size()));
  }
  if (!skip.empty() && skip.size() != channels) {
    return InvalidInput(
        fmt::format("a selective state space's skip has {} numbers, expected "
                    "one for each of {} channels",
                    skip.size(), channels));
  }
  std::shared_ptr<SelectiveSsm> mixer(new SelectiveSsm);
  mixer->channels_ = channels;
  mixer->states_ = states;
  LCSM_ASSIGN_OR_RETURN(
      mixer->weights_,
      FloatBuffer::Allocate((1 + states) * channels, "rates of states"));
  float* const at = mixer->weights_.data();
  std::copy(skip.begin(), skip.end(), at);
  for (size_t c = 0; c < channels; ++c) {
    for (size_t n = 0; n < states; ++n) {
      const float rate = a[c * states + n];
      if (!std::isfinite(rate) || rate > 0) {
        return InvalidInput(fmt::format(
            "the rate of state {} of channel {} of a selective state space is "
            "{}, expected a finite number not above 0",
            n, c, rate));
      }
      at[(1 + n) * channels + c] = rate;
    }
  }
  return std::shared_ptr<const SelectiveSsm>(std::move(mixer));
}

std::string SelectiveSsm::Describe() const {
  return fmt::format("selective state space, {} channels of {} states",
                     channels_, states_);
}

MixerMemory SelectiveSsm::Memory(size_t, size_t) const {
  return {weights_.bytes(), states_ * channels_ * sizeof(float)};
}

StatusOr<std::unique_ptr<MixerState>> SelectiveSsm::NewState(
    const Resources& resources) const {
  LCSM_ASSIGN_OR_RETURN(
      FloatBuffer state,
      FloatBuffer::Allocate(states_ * channels_, "selective states"));
  return std::unique_ptr<MixerState>(
      new SelectiveSsmState(*this, std::move(state), *resources.pool));
}

}  // namespace lcsm
