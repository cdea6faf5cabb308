#include "mixers/relaxed_mixer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/aligned_buffer.h"
#include "conv/relaxed_convolution.h"
#include "conv/relaxed_plan.h"

namespace lcsm {
namespace {

// Known positions whose streams are taken apart at a time.
constexpr size_t kPositions = 256;
// Of a made-up past, as in mixer_set.cc.
constexpr size_t kPastRows = 61;

class State final : public MixerState {
 public:
  State(std::unique_ptr<conv::RelaxedConvolution> convolution, size_t channels,
        size_t bytes, bool at_once)
      : convolution_(std::move(convolution)),
        channels_(channels),
        bytes_(bytes),
        at_once_(at_once) {}

  size_t bytes() const override { return bytes_; }
  void Advance(size_t count) noexcept override {
    if (count == 1) convolution_->Advance();
  }
  Status Save(io::SectionWriter& writer) const override {
    return convolution_->Save(writer);
  }

 private:
  void DoStep(const float* x, float* y) noexcept override {
    convolution_->Step(0, x, x + channels_, y);
    if (at_once_) convolution_->Advance();
  }
  Status DoPrefill(size_t count, const float* x, float* y) override {
    // One position is ended like a step, here or by MixerStates::Advance.
    if (count == 1) {
      DoStep(x, y);
      return OkStatus();
    }
    const size_t rows = std::min(count, kPositions);
    LCSM_ASSIGN_OR_RETURN(
        FloatBuffer streams,
        FloatBuffer::Allocate(2 * rows * channels_, "streams of known tokens"));
    float* const inputs = streams.data();
    float* const taps = inputs + rows * channels_;
    for (size_t first = 0; first < count; first += rows) {
      const size_t now = std::min(rows, count - first);
      for (size_t t = 0; t < now; ++t) {
        const float* const row = x + (first + t) * 2 * channels_;
        std::copy_n(row, channels_, inputs + t * channels_);
        std::copy_n(row + channels_, channels_, taps + t * channels_);
      }
      convolution_->StepMany(0, now, inputs, taps, y + first * channels_);
      convolution_->AdvanceMany(now);
    }
    return OkStatus();
  }
  Status DoPretend(size_t position) override {
    LCSM_ASSIGN_OR_RETURN(
        FloatBuffer rows,
        FloatBuffer::Allocate(kPastRows * channels_, "a made-up past"));
    FillPast(rows.data(), rows.size());
    convolution_->Reset();
    convolution_->PretendHistory(position, rows.data(), kPastRows);
    return OkStatus();
  }
  void DoMoveTo(size_t position) noexcept override {
    convolution_->PretendPosition(position);
  }
  void DoReset() noexcept override { convolution_->Reset(); }
  Status DoCopyFrom(const MixerState& other) override {
    LCSM_ASSIGN_OR_RETURN(
        convolution_, static_cast<const State&>(other).convolution_->Fork());
    return OkStatus();
  }
  Status DoGrowFrom(const MixerState& shorter) override {
    LCSM_ASSIGN_OR_RETURN(
        convolution_, static_cast<const State&>(shorter).convolution_->Grown(
                          convolution_->plan()));
    return OkStatus();
  }
  Status DoLoad(io::SectionReader& reader, size_t position) override {
    LCSM_RETURN_IF_ERROR(convolution_->Load(reader));
    if (convolution_->position() == position) return OkStatus();
    return InvalidInput(fmt::format(
        "{}: a relaxed convolution stands at position {}, the mixers at {}",
        reader.name(), convolution_->position(), position));
  }

  std::unique_ptr<conv::RelaxedConvolution> convolution_;
  const size_t channels_, bytes_;
  const bool at_once_;  // Tiles are done within the step.
};

}  // namespace

StatusOr<std::shared_ptr<const RelaxedMixer>> RelaxedMixer::Create(
    size_t channels) {
  if (channels == 0) {
    return InvalidInput(
        "a relaxed convolution of 0 channels, expected at least 1");
  }
  std::shared_ptr<RelaxedMixer> mixer(new RelaxedMixer);
  mixer->channels_ = channels;
  mixer->options_.method = conv::Method::kPlanned;
  return std::shared_ptr<const RelaxedMixer>(std::move(mixer));
}

StatusOr<std::shared_ptr<const Mixer>> RelaxedMixer::Planned(
    size_t horizon, const conv::PlanOptions& options) const {
  if (options.latency == conv::Latency::kFlat && options.levels.empty()) {
    return InvalidInput(
        "a relaxed convolution cannot spread its work over the steps to come: "
        "expected the latency best");
  }
  std::shared_ptr<RelaxedMixer> mixer(new RelaxedMixer);
  mixer->channels_ = channels_;
  mixer->options_ = options;
  LCSM_ASSIGN_OR_RETURN(mixer->plan_, mixer->PlanFor(horizon));
  // It has been held to it; the plan for the horizon is the same without.
  mixer->options_.memory_limit = 0;
  return std::shared_ptr<const Mixer>(std::move(mixer));
}

StatusOr<conv::Plan> RelaxedMixer::PlanFor(size_t horizon) const {
  conv::Problem problem;
  problem.channels = channels_;
  problem.length = problem.taps = horizon;
  return conv::MakeRelaxedPlan(problem, options_);
}

std::string RelaxedMixer::Describe() const {
  std::string text = fmt::format("relaxed convolution, {} channels", channels_);
  if (plan_.has_value()) text += ", by " + plan_->Print();
  return text;
}

MixerMemory RelaxedMixer::Memory(size_t horizon, size_t threads) const {
  const StatusOr<conv::Plan> plan = PlanFor(horizon);
  return {0, plan.ok() ? conv::RelaxedBytes(*plan, threads) : 0};
}

StatusOr<std::unique_ptr<MixerState>> RelaxedMixer::NewState(
    const Resources& resources) const {
  LCSM_ASSIGN_OR_RETURN(const conv::Plan plan, PlanFor(resources.horizon));
  LCSM_ASSIGN_OR_RETURN(
      std::unique_ptr<conv::RelaxedConvolution> convolution,
      conv::RelaxedConvolution::Create(plan, *resources.pool));
  const size_t bytes = conv::RelaxedBytes(plan, resources.pool->NumThreads());
  return std::unique_ptr<MixerState>(
      new State(std::move(convolution), channels_, bytes, !defers()));
}

}  // namespace lcsm
