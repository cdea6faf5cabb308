#include "mixers/gated_mixer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "kernels/pointwise.h"

namespace lcsm {
namespace {

// Rows of a few thousand products are over before another thread has woken up.
constexpr size_t kGrainFloats = 16384;

class State final : public MixerState {
 public:
  State(std::vector<std::unique_ptr<MixerState>> inner, size_t width,
        size_t rows, ThreadPool& pool)
      : inner_(std::move(inner)), width_(width), rows_(rows), pool_(pool) {}

  void Advance(size_t count) noexcept override {
    for (const auto& state : inner_) state->Advance(count);
  }
  size_t bytes() const override {
    size_t bytes = 0;
    for (const auto& state : inner_) bytes += state->bytes();
    return bytes;
  }
  Status Save(io::SectionWriter& writer) const override {
    for (const auto& state : inner_) LCSM_RETURN_IF_ERROR(state->Save(writer));
    return OkStatus();
  }

 private:
  void DoStep(const float* x, float* y) noexcept override {
    const size_t n = inner_.size();
    for (size_t o = 0; o < n; ++o) {
      Multiply(rows_, x, n - o, o == 0, y);
      inner_[o]->Step(y, y);
    }
    Multiply(rows_, x, 0, false, y);
  }
  Status DoPrefill(size_t count, const float* x, float* y) override {
    const size_t n = inner_.size();
    for (size_t o = 0; o < n; ++o) {
      Multiply(count, x, n - o, o == 0, y);
      LCSM_RETURN_IF_ERROR(inner_[o]->Prefill(count, y, y));
    }
    Multiply(count, x, 0, false, y);
    return OkStatus();
  }
  // y <- (v or y) * stream `gate`.
  void Multiply(size_t count, const float* x, size_t gate, bool first,
                float* y) noexcept {
    const PointwiseKernels& kernels = GetPointwiseKernels();
    const size_t n = inner_.size(), stride = (n + 2) * width_;
    pool_.ParallelFor(count, kGrainFloats / width_ + 1,
                      [&](size_t begin, size_t end, size_t) {
                        for (size_t t = begin; t < end; ++t) {
                          const float* const row = x + t * stride;
                          float* const out = y + t * width_;
                          kernels.multiply(first ? row + (n + 1) * width_ : out,
                                           row + gate * width_, width_, out);
                        }
                      });
  }
  Status DoPretend(size_t position) override {
    for (const auto& state : inner_) {
      LCSM_RETURN_IF_ERROR(state->Pretend(position));
    }
    return OkStatus();
  }
  void DoMoveTo(size_t position) noexcept override {
    for (const auto& state : inner_) state->MoveTo(position);
  }
  void DoReset() noexcept override {
    for (const auto& state : inner_) state->Reset();
  }
  Status DoCopyFrom(const MixerState& other) override {
    const auto& from = static_cast<const State&>(other);
    for (size_t o = 0; o < inner_.size(); ++o) {
      LCSM_RETURN_IF_ERROR(inner_[o]->CopyFrom(*from.inner_[o]));
    }
    return OkStatus();
  }
  Status DoGrowFrom(const MixerState& shorter) override {
    const auto& from = static_cast<const State&>(shorter);
    for (size_t o = 0; o < inner_.size(); ++o) {
      LCSM_RETURN_IF_ERROR(inner_[o]->GrowFrom(*from.inner_[o]));
    }
    return OkStatus();
  }
  Status DoSpreadFrom(const MixerState& one) override {
    const auto& from = static_cast<const State&>(one);
    for (size_t o = 0; o < inner_.size(); ++o) {
      LCSM_RETURN_IF_ERROR(inner_[o]->SpreadFrom(*from.inner_[o]));
    }
    return OkStatus();
  }
  Status DoLoad(io::SectionReader& reader, size_t position) override {
    for (const auto& state : inner_) {
      LCSM_RETURN_IF_ERROR(state->Load(reader, position));
    }
    return OkStatus();
  }

  const std::vector<std::unique_ptr<MixerState>> inner_;
  const size_t width_, rows_;
  ThreadPool& pool_;
};

}  // namespace

StatusOr<std::shared_ptr<const GatedMixer>> GatedMixer::Create(
    std::vector<std::shared_ptr<const Mixer>> inner) {
  if (inner.empty()) return InvalidInput("gates with nothing in between");
  std::shared_ptr<GatedMixer> mixer(new GatedMixer);
  mixer->width_ = inner[0]->in_width();
  for (size_t o = 0; o < inner.size(); ++o) {
    if (inner[o]->in_width() != mixer->width_ ||
        inner[o]->out_width() != mixer->width_) {
      return InvalidInput(fmt::format(
          "between gates of width {} stands a mixer from {} to {}, expected "
          "the same width",
          mixer->width_, inner[o]->in_width(), inner[o]->out_width()));
    }
    const MixerConvolutions one = inner[o]->convolutions();
    if (one.count == 0) continue;
    MixerConvolutions& all = mixer->convolutions_;
    if (all.count != 0 && (all.channels != one.channels ||
                           all.taps != one.taps || all.phases != one.phases)) {
      return Unsupported(fmt::format(
          "long convolutions of {} and {} taps between the gates of one mixer, "
          "expected equal ones",
          all.taps, one.taps));
    }
    all = {all.count + one.count, one.channels, one.taps, one.phases};
  }
  mixer->inner_ = std::move(inner);
  return std::shared_ptr<const GatedMixer>(std::move(mixer));
}

std::string GatedMixer::Describe() const {
  std::string text = "gated";
  for (size_t o = 0; o < inner_.size(); ++o) {
    text += (o == 0 ? " " : " and ") + inner_[o]->Describe();
  }
  return text;
}

MixerTraits GatedMixer::traits() const {
  // Gates stand before contributions are made and after they are read.
  MixerTraits traits = {true, true, true};
  for (const auto& mixer : inner_) {
    const MixerTraits one = mixer->traits();
    traits.associative &= one.associative;
    traits.query_blind &= one.query_blind;
    traits.finite_state &= one.finite_state;
  }
  return traits;
}

bool GatedMixer::defers() const {
  return std::any_of(inner_.begin(), inner_.end(),
                     [](const auto& mixer) { return mixer->defers(); });
}

MixerMemory GatedMixer::Memory(size_t horizon, size_t threads) const {
  MixerMemory memory;
  for (const auto& mixer : inner_) {
    const MixerMemory one = mixer->Memory(horizon, threads);
    memory.weights += one.weights;
    memory.state += one.state;
  }
  return memory;
}

void GatedMixer::Taps(size_t which, size_t first, size_t count,
                      float* values) const noexcept {
  for (const auto& mixer : inner_) {
    const size_t has = mixer->convolutions().count;
    if (which < has) return mixer->Taps(which, first, count, values);
    which -= has;
  }
}

StatusOr<std::unique_ptr<MixerState>> GatedMixer::NewRows(
    const Resources& resources, size_t rows) const {
  std::vector<std::unique_ptr<MixerState>> states;
  Resources own = resources;
  for (const auto& mixer : inner_) {
    LCSM_ASSIGN_OR_RETURN(
        std::unique_ptr<MixerState> state,
        rows == 1 ? mixer->NewState(own) : mixer->NewRows(own, rows));
    states.push_back(std::move(state));
    own.first_convolution += mixer->convolutions().count;
  }
  return std::unique_ptr<MixerState>(
      new State(std::move(states), width_, rows, *resources.pool));
}

}  // namespace lcsm
