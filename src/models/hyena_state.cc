#include "models/hyena_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "kernels/lanes.h"
#include "mixers/mixer.h"
#include "models/hyena_batch.h"
#include "models/hyena_place.h"
#include "models/known_blocks.h"

namespace lcsm {
namespace {

// Tokens for which activations are set aside.
size_t BlockTokens(size_t steps) { return std::min(kBlockTokens, steps); }

// Of a made-up past, as in mixer_set.cc.
constexpr size_t kPastRows = 61;

constexpr char kPendingName[] = "contributions to coming positions";

}  // namespace

size_t HyenaState::Bytes(const HyenaConfig& config, size_t steps) {
  const size_t tokens = BlockTokens(steps);
  const size_t tail = config.layers *
                      (std::max<size_t>(config.fir_taps, 2) - 1) *
                      (config.order + 1) * config.width;
  return HyenaPass::Bytes(config, tokens) +
         sizeof(float) * (tail + kHeadTokens * config.padded_vocab);
}

StatusOr<std::unique_ptr<HyenaState>> HyenaState::Create(Shared shared,
                                                         ThreadPool& pool) {
  std::unique_ptr<HyenaState> state(new HyenaState(std::move(shared), pool));
  LCSM_RETURN_IF_ERROR(state->Allocate());
  if (state->shared_.prefill != nullptr) {
    state->prefill_ = std::make_shared<HyenaPrefill>(
        *state->weights_, *state->shared_.prefill, pool);
  }
  if (state->shared_.convolution != nullptr) {
    LCSM_ASSIGN_OR_RETURN(
        state->convolution_,
        conv::OnlineConvolution::Create(state->shared_.convolution, pool));
  }
  return state;
}

StatusOr<std::unique_ptr<HyenaState>> HyenaState::Create(
    std::shared_ptr<const HyenaWeights> weights,
    std::shared_ptr<const conv::PreparedConvolution> convolution,
    ThreadPool& pool) {
  Shared shared;
  shared.weights = std::move(weights);
  shared.horizon = convolution->plan().problem.length;
  shared.convolution = std::move(convolution);
  return Create(std::move(shared), pool);
}

Status HyenaState::Allocate() {
  const HyenaConfig& config = weights_->config();
  LCSM_ASSIGN_OR_RETURN(
      pass_, HyenaPass::Create(*weights_, BlockTokens(shared_.steps()), pool_));
  LCSM_ASSIGN_OR_RETURN(
      logits_,
      FloatBuffer::Allocate(kHeadTokens * config.padded_vocab, "logits"));
  for (const HyenaLayerWeights& layer : weights_->layers()) {
    LCSM_ASSIGN_OR_RETURN(ShortFirState fir,
                          ShortFirState::Create(layer.short_fir));
    fir_.push_back(std::move(fir));
  }
  return OkStatus();
}

void HyenaState::Reset() noexcept {
  if (convolution_ != nullptr) convolution_->Reset();
  for (ShortFirState& fir : fir_) fir.Reset();
  times_ = StepTimes();
  origin_ = 0;
  pending_ = PendingLines();
  apart_ = FloatBuffer();
  horizon_ = shared_.horizon;
}

Status HyenaState::Pretend(size_t position) {
  if (convolution_ == nullptr || shared_.steps() < shared_.horizon) {
    return Unsupported(
        "a state that takes its first tokens in by layers cannot be put at a "
        "position");
  }
  Reset();
  const conv::Problem& problem = convolution_->plan().problem;
  LCSM_ASSIGN_OR_RETURN(
      FloatBuffer rows,
      FloatBuffer::Allocate(kPastRows * problem.channels, "a made-up past"));
  FillPast(rows.data(), rows.size());
  convolution_->PretendHistory(position, rows.data(), kPastRows);
  return OkStatus();
}

void HyenaState::MoveTo(size_t position) noexcept {
  convolution_->PretendPosition(position);
}

size_t HyenaState::StepRoom() const {
  if (convolution_ == nullptr || PendingIsApart()) return 0;
  return std::min(horizon_, origin_ + shared_.steps()) - position();
}

void HyenaState::Step(int32_t token, float* logits) noexcept {
  pass_->Embed(&token, 1);
  for (size_t l = 0; l < weights_->layers().size(); ++l) Layer(l, 1);
  Advance(1);
  pass_->Head(0, 1, logits, &times_);
}

void HyenaState::Layer(size_t layer, size_t count) noexcept {
  pass_->Layer(layer, {count, 1}, &fir_[layer], *convolution_, skip_mixers_,
               &times_);
}

void HyenaState::Advance(size_t count) noexcept {
  pass_->Advance(count, *convolution_, skip_mixers_, &times_);
}

StatusOr<std::unique_ptr<ModelState>> HyenaState::Fork() const {
  std::unique_ptr<HyenaState> fork(new HyenaState(shared_, pool_));
  LCSM_RETURN_IF_ERROR(fork->Allocate());
  for (size_t l = 0; l < fir_.size(); ++l) fork->fir_[l].CopyFrom(fir_[l]);
  if (convolution_ != nullptr) {
    LCSM_ASSIGN_OR_RETURN(fork->convolution_, convolution_->Fork());
  }
  fork->origin_ = origin_;
  fork->horizon_ = horizon_;
  fork->pending_ = pending_;
  fork->prefill_ = prefill_;
  if (PendingIsApart()) {
    LCSM_ASSIGN_OR_RETURN(fork->apart_,
                          FloatBuffer::Allocate(apart_.size(), kPendingName));
    std::copy_n(apart_.data(), apart_.size(), fork->apart_.data());
    fork->pending_.lines = fork->apart_.data();
  } else if (pending_.lines != nullptr) {
    fork->pending_.lines = fork->convolution_->Accumulators(0);
  }
  return std::unique_ptr<ModelState>(std::move(fork));
}

StatusOr<std::unique_ptr<HyenaState>> HyenaState::Grown(Shared longer) const {
  if (longer.weights != weights_) {
    return InvalidInput(
        "a state was to grow onto a preparation of another model, expected one "
        "of its own");
  }
  if (shared_.prefill != nullptr || longer.prefill != nullptr) {
    return Unsupported(
        "a state whose first tokens go in layer by layer cannot grow: it does "
        "not keep what they would add to later positions; expected as many "
        "steps as positions");
  }
  std::unique_ptr<HyenaState> grown(new HyenaState(std::move(longer), pool_));
  LCSM_RETURN_IF_ERROR(grown->Allocate());
  for (size_t l = 0; l < fir_.size(); ++l) grown->fir_[l].CopyFrom(fir_[l]);
  LCSM_ASSIGN_OR_RETURN(grown->convolution_,
                        convolution_->Grown(grown->shared_.convolution));
  return grown;
}

StatusOr<std::unique_ptr<BatchState>> HyenaState::Spread(size_t rows) const {
  // Before BeginSteps: contributions of the prompt are not in the executor yet.
  if (convolution_ == nullptr || PendingIsApart()) {
    return ModelState::Spread(rows);
  }
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<HyenaBatch> batch,
                        HyenaBatch::Create(weights_, *convolution_, fir_, rows,
                                           StepRoom(), position(), pool_));
  return std::unique_ptr<BatchState>(std::move(batch));
}

Status HyenaState::Save(io::SectionWriter& writer) const {
  const HyenaPlace place = {origin_, horizon_, pending_.count,
                            PendingIsApart()};
  LCSM_RETURN_IF_ERROR(place.Save(writer));
  for (size_t l = 0; l < fir_.size(); ++l) {
    LCSM_RETURN_IF_ERROR(writer.PutArray(
        "short filter", std::span<const float>(fir_[l].tail(), TailFloats(l))));
  }
  if (PendingIsApart()) {
    // Close together: the memory may be from when more positions could follow.
    FloatBuffer buffer;
    LCSM_ASSIGN_OR_RETURN(const PendingLines lines,
                          AllocateApart(pending_.count, &buffer));
    for (size_t h = 0; h < buffer.size() / lines.stride; ++h) {
      std::copy_n(pending_.At(h), pending_.count * kLanes, lines.At(h));
    }
    LCSM_RETURN_IF_ERROR(writer.PutArray(
        "pending", std::span<const float>(buffer.data(), buffer.size())));
  }
  if (convolution_ == nullptr) return OkStatus();
  return convolution_->Save(writer);
}

Status HyenaState::Load(io::SectionReader& reader) {
  LCSM_ASSIGN_OR_RETURN(
      const HyenaPlace place,
      HyenaPlace::Load(reader, shared_.horizon, shared_.steps()));
  for (size_t l = 0; l < fir_.size(); ++l) {
    LCSM_RETURN_IF_ERROR(reader.GetArray(
        "short filter", std::span<float>(fir_[l].tail(), TailFloats(l))));
  }
  apart_ = FloatBuffer();
  pending_ = PendingLines();
  if (place.apart) {
    LCSM_ASSIGN_OR_RETURN(pending_, AllocateApart(place.pending, &apart_));
    LCSM_RETURN_IF_ERROR(reader.GetArray(
        "pending", std::span<float>(apart_.data(), apart_.size())));
  } else if (place.pending != 0) {
    pending_ = {convolution_->Accumulators(0),
                convolution_->AccumulatorStride(), place.pending};
  }
  origin_ = place.origin;
  horizon_ = place.horizon;
  if (convolution_ == nullptr) return OkStatus();
  LCSM_RETURN_IF_ERROR(convolution_->Load(reader));
  return place.CheckPosition(reader, position());
}

size_t HyenaState::TailFloats(size_t layer) const {
  const ShortFir& fir = weights_->layers()[layer].short_fir;
  return fir.tail_rows() * fir.channels();
}

StatusOr<PendingLines> HyenaState::AllocateApart(size_t count,
                                                 FloatBuffer* buffer) const {
  const HyenaConfig& config = weights_->config();
  const size_t stride = (count | 1) * kLanes;
  LCSM_ASSIGN_OR_RETURN(
      *buffer, FloatBuffer::Allocate(config.layers * config.convolutions() *
                                         HyenaGroups(config) * stride,
                                     kPendingName));
  return PendingLines{buffer->data(), stride, count};
}

Status HyenaState::CheckTokens(std::span<const int32_t> tokens,
                               size_t at) const {
  const HyenaConfig& config = weights_->config();
  // Once steps have begun, all goes through the convolution.
  const size_t end = shared_.prefill != nullptr && Stepped() == 0
                         ? horizon_
                         : position() + StepRoom();
  if (tokens.size() > end - std::min(at, end)) {
    return InvalidInput(fmt::format(
        "{} tokens do not fit into the {} positions that are left of {}",
        tokens.size(), end - std::min(at, end), end));
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 ||
        static_cast<size_t>(tokens[i]) >= config.padded_vocab) {
      return InvalidInput(
          fmt::format("token {} at position {} is outside the {} rows of the "
                      "embedding",
                      tokens[i], at + i, config.padded_vocab));
    }
  }
  return OkStatus();
}

Status HyenaState::Prefill(std::span<const int32_t> tokens,
                           const PrefillRequest& request) {
  LCSM_RETURN_IF_ERROR(CheckTokens(tokens, position()));
  const size_t taken = position() + tokens.size();
  const size_t following = std::min(request.following, horizon_ - taken);
  horizon_ = taken + following;
  if (shared_.prefill != nullptr && Stepped() == 0) {
    return PrefillByLayers(tokens, following, request);
  }
  return PrefillOnline(tokens, request);
}

void HyenaState::BeginSteps() noexcept {
  if (convolution_ == nullptr || !PendingIsApart()) return;
  const PendingLines from = pending_;
  pending_ = {convolution_->Accumulators(0), convolution_->AccumulatorStride(),
              std::min(from.count, shared_.steps())};
  const HyenaConfig& config = weights_->config();
  const size_t histories =
      config.layers * config.convolutions() * HyenaGroups(config);
  for (size_t history = 0; history < histories; ++history) {
    std::copy_n(from.At(history), pending_.count * kLanes,
                pending_.At(history));
  }
  apart_ = FloatBuffer();
  horizon_ = origin_ + pending_.count;
}

Status HyenaState::PrefillBranches(
    std::span<const int32_t> trunk,
    std::span<const std::span<const int32_t>> branches,
    const BranchRequest& request) {
  // A branch's short filters reach into the trunk, and no further.
  if (shared_.prefill == nullptr || Stepped() != 0 ||
      trunk.size() + 1 < weights_->config().fir_taps) {
    return ModelState::PrefillBranches(trunk, branches, request);
  }
  LCSM_RETURN_IF_ERROR(CheckTokens(trunk, position()));
  const size_t begin = position() + trunk.size();
  for (const auto& branch : branches) {
    LCSM_RETURN_IF_ERROR(CheckTokens(branch, begin));
  }
  // Whatever comes of it, nothing but Reset is left to do.
  const size_t origin = std::exchange(origin_, horizon_);
  return prefill_->RunBranches(trunk, branches, origin, request, fir_, pending_,
                               &times_);
}

Status HyenaState::PrefillByLayers(std::span<const int32_t> tokens,
                                   size_t following,
                                   const PrefillRequest& request) {
  if (tokens.empty()) return OkStatus();
  PendingLines after;
  FloatBuffer apart;
  if (following != 0 && following <= shared_.steps()) {
    after = {convolution_->Accumulators(0), convolution_->AccumulatorStride(),
             following};
  } else if (following != 0 && PendingIsApart()) {
    after = {pending_.lines, pending_.stride, following};
  } else if (following != 0) {
    LCSM_ASSIGN_OR_RETURN(after, AllocateApart(following, &apart));
  }
  LCSM_RETURN_IF_ERROR(prefill_->Run(tokens, origin_, following, request, fir_,
                                     pending_, after, &times_));
  origin_ += tokens.size();
  pending_ = after;
  if (!PendingIsApart()) apart_ = std::move(apart);  // New, or none any more.
  return OkStatus();
}

Status HyenaState::PrefillOnline(std::span<const int32_t> tokens,
                                 const PrefillRequest& request) {
  struct Pass {
    HyenaState& state;
    size_t position() const { return state.position(); }
    size_t layers() const { return state.weights_->layers().size(); }
    size_t width() const { return state.weights_->config().width; }
    size_t vocab() const { return state.padded_vocab(); }
    void Embed(const int32_t* ids, size_t n) { state.pass_->Embed(ids, n); }
    Status Layer(size_t layer, size_t count) {
      state.Layer(layer, count);
      return OkStatus();
    }
    void Advance(size_t count) { state.Advance(count); }
    const float* Residual() const { return state.pass_->residual(); }
    const float* FinalNorm(size_t n) { return state.pass_->FinalNorm(n); }
    void Head(size_t first, size_t count, float* logits) {
      state.pass_->Head(first, count, logits, &state.times_);
    }
  };
  return TakeInBlocks(tokens, request, BlockTokens(convolution_->length()),
                      logits_.data(), Pass{*this});
}

}  // namespace lcsm
