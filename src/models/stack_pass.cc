#include "models/stack_pass.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "kernels/dense.h"
#include "kernels/pointwise.h"

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

}  // namespace

size_t StackPass::Bytes(const StackWeights& weights, size_t tokens) {
  const size_t width = weights.description().width;
  return sizeof(float) * tokens *
         (width + weights.row() + weights.most_in() + weights.most_out() +
          weights.slots() * width);
}

StatusOr<std::unique_ptr<StackPass>> StackPass::Create(
    const StackWeights& weights, const StackPanels* panels, size_t tokens,
    ThreadPool& pool) {
  std::unique_ptr<StackPass> pass(new StackPass(weights, panels, tokens, pool));
  const auto allocate = [tokens](size_t floats, FloatBuffer* out) -> Status {
    if (floats == 0) return OkStatus();
    LCSM_ASSIGN_OR_RETURN(
        *out, FloatBuffer::Allocate(tokens * floats, "activations"));
    return OkStatus();
  };
  const size_t width = weights.description().width;
  LCSM_RETURN_IF_ERROR(allocate(width, &pass->x_));
  LCSM_RETURN_IF_ERROR(allocate(weights.row(), &pass->rows_));
  LCSM_RETURN_IF_ERROR(allocate(weights.most_in(), &pass->in_));
  LCSM_RETURN_IF_ERROR(allocate(weights.most_out(), &pass->out_));
  LCSM_RETURN_IF_ERROR(allocate(weights.slots() * width, &pass->slots_));
  return pass;
}

template <typename Body>
void StackPass::EachRow(size_t count, size_t floats, Body&& body) noexcept {
  pool_.ParallelFor(count, kGrainProducts / (floats + 1) + 1,
                    [&](size_t begin, size_t end, size_t) {
                      for (size_t t = begin; t < end; ++t) body(t);
                    });
}

template <typename Body>
void StackPass::SplitRows(size_t n, size_t in, size_t count,
                          Body&& body) noexcept {
  const size_t units = (n + kRowUnit - 1) / kRowUnit;
  pool_.ParallelFor(units, kGrainProducts / (kRowUnit * in * count),
                    [&](size_t begin, size_t end, size_t) {
                      body(begin * kRowUnit, std::min(n, end * kRowUnit));
                    });
}

const float* StackPass::Inputs(const StackOp& op, size_t count,
                               size_t* stride) noexcept {
  const size_t row = weights_.row();
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

void StackPass::Linear(const StackOp& op, Tokens kind, size_t count) noexcept {
  const size_t row = weights_.row();
  size_t stride = 0;
  const float* const x = Inputs(op, count, &stride);
  for (size_t i = 0; i < op.linear.size(); ++i) {
    const LinearWeights& linear = op.linear[i];
    float* const y = Rows(op.to[i]);
    if (kind == Tokens::kKnown && panels_ != nullptr) {
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

Status StackPass::Mix(const StackOp& op, Tokens kind, size_t count,
                      const StackSequences& sequences) noexcept {
  const size_t row = weights_.row();
  size_t stride = 0;
  const float* x = Inputs(op, count, &stride);
  if (stride != op.in && count > 1) {
    EachRow(count, op.in, [&](size_t t) {
      std::copy_n(x + t * stride, op.in, in_.data() + t * op.in);
    });
    x = in_.data();
  }
  const Clock::time_point start = Clock::now();
  if (sequences.skip_mixers) {
    std::fill_n(out_.data(), count * op.out, 0.0f);
  } else if (kind == Tokens::kStep) {
    (*sequences.mixers)[op.mixer].Step(x, out_.data());
  } else {
    LCSM_RETURN_IF_ERROR(
        (*sequences.mixers)[op.mixer].Prefill(count, x, out_.data()));
  }
  sequences.times->mixers += Seconds(start);
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

void StackPass::Read(const StackOp& op, Tokens kind, size_t count,
                     const StackSequences& sequences) noexcept {
  const size_t row = weights_.row(), width = weights_.description().width;
  if (op.mixer != StackOp::kNoMixer) {
    // Known positions come one at a time: reads_past().
    const size_t ahead = op.to[0].width;
    (*sequences.mixers)[op.mixer].Ahead(out_.data());
    EachRow(count, ahead, [&](size_t t) {
      std::copy_n(out_.data() + t * ahead, ahead, Rows(op.to[0]) + t * row);
    });
    return;
  }
  const float* const now = slots_.data() + op.slot * tokens_ * width;
  EachRow(count, width, [&](size_t t) {
    const float* kept = now + t * width;
    if (op.delay != 0) {
      // Of a block before this one all known positions up to t are there; of
      // this one or a later one those of earlier calls, and then t is 0.
      if (kind == Tokens::kStep) {
        kept = sequences.past + (op.slot * count + t) * width;
      } else {
        kept = t == 0 ? sequences.past + op.slot * width : kept - width;
      }
    }
    std::copy_n(kept, width, Rows(op.to[0]) + t * row);
  });
}

Status StackPass::Run(const StackOp& op, Tokens kind, size_t count,
                      const StackSequences& sequences) noexcept {
  const PointwiseKernels& kernels = GetPointwiseKernels();
  const size_t row = weights_.row();
  switch (op.kind) {
    case StackStepKind::kLinear:
      Linear(op, kind, count);
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
      Read(op, kind, count, sequences);
      return OkStatus();
    case StackStepKind::kConvolve:
    case StackStepKind::kAttention:
    case StackStepKind::kLinearAttention:
    case StackStepKind::kSelectiveScan:
    case StackStepKind::kRelaxedConvolve:
      return Mix(op, kind, count, sequences);
  }
  return OkStatus();
}

Status StackPass::Block(size_t number, Tokens kind, size_t count,
                        const StackSequences& sequences) noexcept {
  const StackBlockOps& block = weights_.blocks()[number];
  const Clock::time_point start = Clock::now();
  const double mixers_before = sequences.times->mixers;
  const PointwiseKernels& kernels = GetPointwiseKernels();
  const size_t width = weights_.description().width, row = weights_.row();
  for (const StackPartOps& part : block.parts) {
    EachRow(count, 4 * width, [&](size_t t) {
      part.norm.Apply(x_.data() + t * width, width, Rows(part.input) + t * row);
    });
    for (const StackOp& op : part.ops) {
      LCSM_RETURN_IF_ERROR(Run(op, kind, count, sequences));
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
  sequences.times->blocks +=
      Seconds(start) - (sequences.times->mixers - mixers_before);
  return OkStatus();
}

void StackPass::Embed(const int32_t* tokens, size_t count) noexcept {
  const size_t width = weights_.description().width;
  for (size_t t = 0; t < count; ++t) {
    std::copy_n(weights_.embedding() + static_cast<size_t>(tokens[t]) * width,
                width, x_.data() + t * width);
  }
}

void StackPass::Advance(Tokens kind, size_t count,
                        const StackSequences& sequences) noexcept {
  const Clock::time_point start = Clock::now();
  const bool step = kind == Tokens::kStep;
  // The last position of each sequence.
  const size_t width = weights_.description().width;
  const size_t rows = step ? count : 1, first = count - rows;
  for (size_t s = 0; s < weights_.slots(); ++s) {
    std::copy_n(slots_.data() + (s * tokens_ + first) * width, rows * width,
                sequences.past + s * rows * width);
  }
  if (!sequences.skip_mixers) sequences.mixers->Advance(step ? 1 : count);
  sequences.times->mixers += Seconds(start);
}

const float* StackPass::FinalNorm(size_t count) noexcept {
  // Streams are at rest now, and rows of them are no narrower.
  const size_t width = weights_.description().width;
  EachRow(count, 4 * width, [&](size_t t) {
    weights_.final_norm().Apply(x_.data() + t * width, width,
                                rows_.data() + t * width);
  });
  return rows_.data();
}

void StackPass::Head(size_t first, size_t count, float* logits,
                     StepTimes* times) noexcept {
  const Clock::time_point start = Clock::now();
  const LinearWeights& head = weights_.head();
  const size_t width = head.in, row = weights_.row();
  // Streams are at rest now: `input` lies at the beginning of each row.
  EachRow(count, 4 * width, [&](size_t t) {
    weights_.final_norm().Apply(x_.data() + (first + t) * width, width,
                                rows_.data() + t * row);
  });
  SplitRows(head.out, head.in, count, [&](size_t begin, size_t end) {
    head.Apply(begin, end, rows_.data(), row, count, logits, head.out);
  });
  times->head += Seconds(start);
}

}  // namespace lcsm
