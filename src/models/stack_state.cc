#include "models/stack_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "kernels/dense.h"
#include "kernels/pointwise.h"
#include "models/known_blocks.h"

namespace lcsm {
namespace {

using Clock = std::chrono::steady_clock;

// As in hyena_pass.cc, for the same reasons.
constexpr size_t kRowUnit = 16;
constexpr size_t kGrainProducts = 16384;

// Known positions are handed to threads in multiples of this, which is one of
// every target's tiles of vectors (dense_panels).
constexpr size_t kPanelTokens = 24;

double Seconds(Clock::time_point since) {
  return std::chrono::duration<double>(Clock::now() - since).count();
}

size_t BlockTokens(const StackWeights& weights, size_t horizon) {
  return weights.reads_past() ? 1 : std::min(kBlockTokens, horizon);
}

}  // namespace

size_t StackState::Bytes(const StackWeights& weights, size_t horizon) {
  const StackDescription& stack = weights.description();
  const size_t tokens = BlockTokens(weights, horizon);
  return sizeof(float) *
         (tokens * (stack.width + weights.row() + weights.most_in() +
                    weights.most_out() + weights.slots() * stack.width) +
          weights.slots() * stack.width + kHeadTokens * stack.padded_vocab);
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
  tokens_ = BlockTokens(*weights_, prepared_->horizon());
  const auto allocate = [](size_t floats, FloatBuffer* out) -> Status {
    if (floats == 0) return OkStatus();
    LCSM_ASSIGN_OR_RETURN(*out, FloatBuffer::Allocate(floats, "activations"));
    return OkStatus();
  };
  const size_t width = stack.width, slots = weights_->slots();
  LCSM_RETURN_IF_ERROR(allocate(tokens_ * width, &x_));
  LCSM_RETURN_IF_ERROR(allocate(tokens_ * weights_->row(), &rows_));
  LCSM_RETURN_IF_ERROR(allocate(tokens_ * weights_->most_in(), &in_));
  LCSM_RETURN_IF_ERROR(allocate(tokens_ * weights_->most_out(), &out_));
  LCSM_RETURN_IF_ERROR(allocate(slots * tokens_ * width, &slots_));
  LCSM_RETURN_IF_ERROR(allocate(slots * width, &past_));
  return allocate(kHeadTokens * stack.padded_vocab, &logits_);
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

template <typename Body>
void StackState::EachRow(size_t count, size_t floats, Body&& body) noexcept {
  pool_.ParallelFor(count, kGrainProducts / (floats + 1) + 1,
                    [&](size_t begin, size_t end, size_t) {
                      for (size_t t = begin; t < end; ++t) body(t);
                    });
}

template <typename Body>
void StackState::SplitRows(size_t n, size_t in, size_t count,
                           Body&& body) noexcept {
  const size_t units = (n + kRowUnit - 1) / kRowUnit;
  pool_.ParallelFor(units, kGrainProducts / (kRowUnit * in * count),
                    [&](size_t begin, size_t end, size_t) {
                      body(begin * kRowUnit, std::min(n, end * kRowUnit));
                    });
}

const float* StackState::Inputs(const StackOp& op, size_t count,
                                size_t* stride) noexcept {
  const size_t row = weights_->row();
  if (op.from.size() == 1 && op.repeat == 1) {
    *stride = row;
    return Rows(op.from[0]);
  }
  *stride = op.in;
  EachRow(count, op.in, [&](size_t t) {
    float* to = in_.data() + t * op.in;
    for (size_t r = 0; r < op.repeat; ++r) {
      for (const StackSpan& from : op.from) {
        to = std::copy_n(Rows(from) + t * row, from.width, to);
      }
    }
  });
  return in_.data();
}

void StackState::Linear(const StackOp& op, size_t count, bool step) noexcept {
  const size_t row = weights_->row();
  size_t stride = 0;
  const float* const x = Inputs(op, count, &stride);
  for (size_t i = 0; i < op.linear.size(); ++i) {
    const LinearWeights& linear = op.linear[i];
    float* const y = Rows(op.to[i]);
    if (!step && panels_ != nullptr) {
      const DenseKernels& dense = GetDenseKernels();
      const size_t products = kPanelTokens * linear.in * linear.out;
      pool_.ParallelFor(
          (count + kPanelTokens - 1) / kPanelTokens,
          kGrainProducts / products + 1, [&](size_t begin, size_t end, size_t) {
            const size_t first = begin * kPanelTokens;
            const size_t last = std::min(count, end * kPanelTokens);
            dense.dense_panels(panels_->Of(op, i), linear.bias,
                               x + first * stride, stride, last - first,
                               y + first * row, row);
          });
      continue;
    }
    SplitRows(linear.out, linear.in, count, [&](size_t begin, size_t end) {
      linear.Apply(begin, end, x, stride, count, y, row);
    });
  }
}

Status StackState::Mix(const StackOp& op, size_t count, bool step) noexcept {
  const size_t row = weights_->row();
  size_t stride = 0;
  const float* x = Inputs(op, count, &stride);
  if (stride != op.in && count > 1) {
    EachRow(count, op.in, [&](size_t t) {
      std::copy_n(x + t * stride, op.in, in_.data() + t * op.in);
    });
    x = in_.data();
  }
  const Clock::time_point start = Clock::now();
  if (skip_mixers_) {
    std::fill_n(out_.data(), count * op.out, 0.0f);
  } else if (step) {
    (*mixers_)[op.mixer].Step(x, out_.data());
  } else {
    LCSM_RETURN_IF_ERROR((*mixers_)[op.mixer].Prefill(count, x, out_.data()));
  }
  times_.mixers += Seconds(start);
  EachRow(count, op.out, [&](size_t t) {
    float* y = out_.data() + t * op.out;
    if (op.bias != nullptr) {
      GetPointwiseKernels().add(y, op.bias, op.out, y);
    }
    for (const StackSpan& to : op.to) {
      std::copy_n(y, to.width, Rows(to) + t * row);
      y += to.width;
    }
  });
  return OkStatus();
}

Status StackState::Run(const StackOp& op, size_t count, bool step) noexcept {
  const PointwiseKernels& kernels = GetPointwiseKernels();
  const size_t row = weights_->row();
  const size_t width = weights_->description().width;
  switch (op.kind) {
    case StackStepKind::kLinear:
      Linear(op, count, step);
      return OkStatus();
    case StackStepKind::kMultiply:
    case StackStepKind::kAdd:
      EachRow(count, op.out, [&](size_t t) {
        (op.kind == StackStepKind::kAdd ? kernels.add : kernels.multiply)(
            Rows(op.from[0]) + t * row, Rows(op.from[1]) + t * row, op.out,
            Rows(op.to[0]) + t * row);
      });
      return OkStatus();
    case StackStepKind::kActivate:
      // Some tens of operations an element.
      EachRow(count, 32 * op.out, [&](size_t t) {
        for (size_t i = 0; i < op.to.size(); ++i) {
          Activate(op.activation, Rows(op.from[i]) + t * row, op.to[i].width,
                   Rows(op.to[i]) + t * row);
        }
      });
      return OkStatus();
    case StackStepKind::kNorm:
      EachRow(count, 4 * op.out, [&](size_t t) {
        for (size_t i = 0; i < op.to.size(); ++i) {
          op.norm.Apply(Rows(op.from[i]) + t * row, op.to[i].width,
                        Rows(op.to[i]) + t * row);
        }
      });
      return OkStatus();
    case StackStepKind::kRead:
      if (op.mixer != StackOp::kNoMixer) {
        // One position at a time: reads_past().
        (*mixers_)[op.mixer].Ahead(Rows(op.to[0]));
        return OkStatus();
      }
      EachRow(count, width, [&](size_t t) {
        // Of a block before this one all positions up to t are there; of this
        // one or a later one those of earlier calls, and then t is 0.
        const float* const kept =
            t < op.delay
                ? past_.data() + op.slot * width
                : slots_.data() + (op.slot * tokens_ + t - op.delay) * width;
        std::copy_n(kept, width, Rows(op.to[0]) + t * row);
      });
      return OkStatus();
    case StackStepKind::kConvolve:
    case StackStepKind::kAttention:
    case StackStepKind::kLinearAttention:
    case StackStepKind::kSelectiveScan:
    case StackStepKind::kRelaxedConvolve:
      return Mix(op, count, step);
  }
  return OkStatus();
}

Status StackState::Block(const StackBlockOps& block, size_t count,
                         bool step) noexcept {
  const Clock::time_point start = Clock::now();
  const double mixers_before = times_.mixers;
  const PointwiseKernels& kernels = GetPointwiseKernels();
  const size_t width = weights_->description().width, row = weights_->row();
  for (const StackPartOps& part : block.parts) {
    EachRow(count, 4 * width, [&](size_t t) {
      part.norm.Apply(x_.data() + t * width, width, Rows(part.input) + t * row);
    });
    for (const StackOp& op : part.ops) {
      LCSM_RETURN_IF_ERROR(Run(op, count, step));
    }
    EachRow(count, width, [&](size_t t) {
      float* const x = x_.data() + t * width;
      kernels.add(x, Rows(part.output) + t * row, width, x);
    });
  }
  if (block.slot != StackBlockOps::kNoSlot) {
    std::copy_n(x_.data(), count * width,
                slots_.data() + block.slot * tokens_ * width);
  }
  times_.blocks += Seconds(start) - (times_.mixers - mixers_before);
  return OkStatus();
}

void StackState::Embed(const int32_t* tokens, size_t count) noexcept {
  const size_t width = weights_->description().width;
  for (size_t t = 0; t < count; ++t) {
    std::copy_n(weights_->embedding() + static_cast<size_t>(tokens[t]) * width,
                width, x_.data() + t * width);
  }
}

void StackState::Advance(size_t count) noexcept {
  const Clock::time_point start = Clock::now();
  const size_t width = weights_->description().width;
  for (size_t s = 0; s < weights_->slots(); ++s) {
    std::copy_n(slots_.data() + (s * tokens_ + count - 1) * width, width,
                past_.data() + s * width);
  }
  if (!skip_mixers_) mixers_->Advance(count);
  position_ += count;
  times_.mixers += Seconds(start);
}

const float* StackState::FinalNorm(size_t count) noexcept {
  // Streams are at rest now, and rows of them are no narrower.
  const size_t width = weights_->description().width;
  EachRow(count, 4 * width, [&](size_t t) {
    weights_->final_norm().Apply(x_.data() + t * width, width,
                                 rows_.data() + t * width);
  });
  return rows_.data();
}

void StackState::Head(size_t first, size_t count, float* logits) noexcept {
  const Clock::time_point start = Clock::now();
  const LinearWeights& head = weights_->head();
  const size_t width = head.in, row = weights_->row();
  // Streams are at rest now: `input` lies at the beginning of each row.
  EachRow(count, 4 * width, [&](size_t t) {
    weights_->final_norm().Apply(x_.data() + (first + t) * width, width,
                                 rows_.data() + t * row);
  });
  SplitRows(head.out, head.in, count, [&](size_t begin, size_t end) {
    head.Apply(begin, end, rows_.data(), row, count, logits, head.out);
  });
  times_.head += Seconds(start);
}

void StackState::Step(int32_t token, float* logits) noexcept {
  Embed(&token, 1);
  for (const StackBlockOps& block : weights_->blocks()) {
    // A step of a mixer does not fail, and nothing else can.
    (void)Block(block, 1, true);
  }
  Advance(1);
  Head(0, 1, logits);
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
    size_t position() const { return state.position_; }
    size_t layers() const { return state.weights_->blocks().size(); }
    size_t width() const { return state.weights_->description().width; }
    size_t vocab() const { return state.padded_vocab(); }
    void Embed(const int32_t* ids, size_t count) { state.Embed(ids, count); }
    Status Layer(size_t layer, size_t count) {
      return state.Block(state.weights_->blocks()[layer], count, false);
    }
    void Advance(size_t count) { state.Advance(count); }
    const float* Residual() const { return state.x_.data(); }
    const float* FinalNorm(size_t count) { return state.FinalNorm(count); }
    void Head(size_t first, size_t count, float* logits) {
      state.Head(first, count, logits);
    }
  };
  return TakeInBlocks(tokens, request, tokens_, logits_.data(), Pass{*this});
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
