#include "models/stack_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "models/known_blocks.h"
#include "models/stack_batch.h"

namespace lcsm {
namespace {

// Known positions that go through at a time.
size_t BlockTokens(const StackWeights& weights, size_t horizon) {
  return weights.reads_past() ? 1 : std::min(kBlockTokens, horizon);
}

}  // namespace

size_t StackState::Bytes(const StackWeights& weights, size_t horizon) {
  const StackDescription& stack = weights.description();
  return StackPass::Bytes(weights, BlockTokens(weights, horizon)) +
         sizeof(float) *
             (weights.slots() * stack.width + kHeadTokens * stack.padded_vocab);
}

StatusOr<std::unique_ptr<StackState>> StackState::Create(
    std::shared_ptr<const StackWeights> weights,
    std::shared_ptr<const PreparedMixers> mixers,
    std::shared_ptr<const StackPanels> panels, ThreadPool& pool) {
  std::unique_ptr<StackState> state(new StackState(
      std::move(weights), std::move(mixers), std::move(panels), pool));
  LCSM_RETURN_IF_ERROR(state->Allocate());
  LCSM_ASSIGN_OR_RETURN(state->mixers_, state->prepared_->NewStates(pool));
  return state;
}

Status StackState::Allocate() {
  const StackDescription& stack = weights_->description();
  LCSM_ASSIGN_OR_RETURN(
      pass_,
      StackPass::Create(*weights_, panels_.get(),
                        BlockTokens(*weights_, prepared_->horizon()), pool_));
  if (weights_->slots() != 0) {
    LCSM_ASSIGN_OR_RETURN(
        past_,
        FloatBuffer::Allocate(weights_->slots() * stack.width, "activations"));
  }
  LCSM_ASSIGN_OR_RETURN(
      logits_,
      FloatBuffer::Allocate(kHeadTokens * stack.padded_vocab, "activations"));
  return OkStatus();
}

void StackState::Reset() noexcept {
  mixers_->Reset();
  past_.Zero();
  times_ = StepTimes();
  position_ = 0;
  horizon_ = prepared_->horizon();
}

Status StackState::Pretend(size_t position) {
  Reset();
  LCSM_RETURN_IF_ERROR(mixers_->Pretend(position));
  FillPast(past_.data(), past_.size());
  position_ = position;
  return OkStatus();
}

void StackState::MoveTo(size_t position) noexcept {
  mixers_->MoveTo(position);
  position_ = position;
}

size_t StackState::HistoryBytes() const {
  size_t bytes = mixers_->bytes() + past_.bytes();
  for (size_t g = 0; g < mixers_->convolutions(); ++g) {
    bytes +=
        mixers_->convolution(g).plan().Memory(pool_.NumThreads()).Session();
  }
  return bytes;
}

void StackState::Step(int32_t token, float* logits) noexcept {
  const StackSequences sequence = Sequence();
  pass_->Embed(&token, 1);
  for (size_t b = 0; b < weights_->blocks().size(); ++b) {
    // A step does not fail.
    (void)pass_->Block(b, StackPass::Tokens::kStep, 1, sequence);
  }
  pass_->Advance(StackPass::Tokens::kStep, 1, sequence);
  ++position_;
  pass_->Head(0, 1, logits, &times_);
}

Status StackState::CheckTokens(std::span<const int32_t> tokens) const {
  const size_t rows = weights_->description().padded_vocab;
  if (tokens.size() > StepRoom()) {
    return InvalidInput(fmt::format(
        "{} tokens do not fit into the {} positions that are left of {}",
        tokens.size(), StepRoom(), horizon_));
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || static_cast<size_t>(tokens[i]) >= rows) {
      return InvalidInput(
          fmt::format("token {} at position {} is outside the {} rows of the "
                      "embedding",
                      tokens[i], position_ + i, rows));
    }
  }
  return OkStatus();
}

Status StackState::Prefill(std::span<const int32_t> tokens,
                           const PrefillRequest& request) {
  LCSM_RETURN_IF_ERROR(CheckTokens(tokens));
  const size_t taken = position_ + tokens.size();
  horizon_ = taken + std::min(request.following, horizon_ - taken);
  struct Pass {
    StackState& state;
    StackPass& pass;
    const StackSequences sequence;
    size_t position() const { return state.position_; }
    size_t layers() const { return state.weights_->blocks().size(); }
    size_t width() const { return state.weights_->description().width; }
    size_t vocab() const { return state.padded_vocab(); }
    void Embed(const int32_t* ids, size_t count) { pass.Embed(ids, count); }
    Status Layer(size_t layer, size_t count) {
      return pass.Block(layer, StackPass::Tokens::kKnown, count, sequence);
    }
    void Advance(size_t count) {
      pass.Advance(StackPass::Tokens::kKnown, count, sequence);
      state.position_ += count;
    }
    const float* Residual() const { return pass.residual(); }
    const float* FinalNorm(size_t count) { return pass.FinalNorm(count); }
    void Head(size_t first, size_t count, float* logits) {
      pass.Head(first, count, logits, sequence.times);
    }
  };
  return TakeInBlocks(tokens, request, pass_->tokens(), logits_.data(),
                      Pass{*this, *pass_, Sequence()});
}

StatusOr<std::unique_ptr<BatchState>> StackState::Spread(size_t rows) const {
  LCSM_ASSIGN_OR_RETURN(
      std::unique_ptr<StackBatch> batch,
      StackBatch::Create(weights_, *mixers_, past_, rows, StepRoom(), pool_));
  return std::unique_ptr<BatchState>(std::move(batch));
}

StatusOr<std::unique_ptr<ModelState>> StackState::Fork() const {
  std::unique_ptr<StackState> fork(
      new StackState(weights_, prepared_, panels_, pool_));
  LCSM_RETURN_IF_ERROR(fork->Allocate());
  LCSM_ASSIGN_OR_RETURN(fork->mixers_, mixers_->Fork());
  std::copy_n(past_.data(), past_.size(), fork->past_.data());
  fork->position_ = position_;
  fork->horizon_ = horizon_;
  return std::unique_ptr<ModelState>(std::move(fork));
}

StatusOr<std::unique_ptr<StackState>> StackState::Grown(
    std::shared_ptr<const StackWeights> weights,
    std::shared_ptr<const PreparedMixers> mixers,
    std::shared_ptr<const StackPanels> panels) const {
  if (weights != weights_) {
    return InvalidInput(
        "a state was to grow onto a preparation of another model, expected one "
        "of its own");
  }
  std::unique_ptr<StackState> grown(
      new StackState(weights_, std::move(mixers), std::move(panels), pool_));
  LCSM_RETURN_IF_ERROR(grown->Allocate());
  LCSM_ASSIGN_OR_RETURN(grown->mixers_, mixers_->Grown(grown->prepared_));
  std::copy_n(past_.data(), past_.size(), grown->past_.data());
  grown->position_ = position_;
  return grown;
}

Status StackState::Save(io::SectionWriter& writer) const {
  const uint64_t numbers[] = {position_, horizon_};
  LCSM_RETURN_IF_ERROR(
      writer.PutArray("state", std::span<const uint64_t>(numbers)));
  LCSM_RETURN_IF_ERROR(writer.PutArray(
      "past", std::span<const float>(past_.data(), past_.size())));
  return mixers_->Save(writer);
}

Status StackState::Load(io::SectionReader& reader) {
  uint64_t numbers[2] = {};
  LCSM_RETURN_IF_ERROR(reader.GetArray("state", std::span<uint64_t>(numbers)));
  const auto [position, horizon] = numbers;
  if (position > horizon || horizon > prepared_->horizon()) {
    return InvalidInput(
        fmt::format("{}: stands at {} of {} positions, expected a place that "
                    "the session's {} positions allow",
                    reader.name(), position, horizon, prepared_->horizon()));
  }
  LCSM_RETURN_IF_ERROR(
      reader.GetArray("past", std::span<float>(past_.data(), past_.size())));
  LCSM_RETURN_IF_ERROR(mixers_->Load(reader));
  if (mixers_->position() != position) {
    return InvalidInput(
        fmt::format("{}: its mixers stand at position {}, "
                    "expected {}",
                    reader.name(), mixers_->position(), position));
  }
  position_ = position;
  horizon_ = horizon;
  return OkStatus();
}

}  // namespace lcsm
