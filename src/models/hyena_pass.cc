#include "models/hyena_pass.h"

#include <algorithm>
#include <chrono>

#include "kernels/pointwise.h"
#include "mixers/gated_convolution.h"

namespace lcsm {
namespace {

using Clock = std::chrono::steady_clock;

// Rows are handed to threads in multiples of this: whole cache lines of output,
// and whole register tiles.
constexpr size_t kRowUnit = 16;

// Multiply-adds worth handing to another thread: about a microsecond from L3,
// five times what a hand-over costs. 32768, rounded up to more, left the output
// projection of a width of 256 to one thread: 39 of the 278 microseconds that
// all blocks took on two.
constexpr size_t kGrainProducts = 16384;

double Seconds(Clock::time_point since) {
  return std::chrono::duration<double>(Clock::now() - since).count();
}

}  // namespace

size_t HyenaPass::Bytes(const HyenaConfig& config, size_t tokens) {
  return tokens * ((config.order + 4) * config.width + config.inner) *
         sizeof(float);
}

StatusOr<std::unique_ptr<HyenaPass>> HyenaPass::Create(
    const HyenaWeights& weights, size_t tokens, ThreadPool& pool) {
  const HyenaConfig& config = weights.config();
  std::unique_ptr<HyenaPass> pass(new HyenaPass(weights, pool));
  const auto allocate = [tokens](size_t width, FloatBuffer* out) -> Status {
    LCSM_ASSIGN_OR_RETURN(*out,
                          FloatBuffer::Allocate(tokens * width, "activations"));
    return OkStatus();
  };
  LCSM_RETURN_IF_ERROR(allocate(config.width, &pass->x_));
  LCSM_RETURN_IF_ERROR(allocate(config.width, &pass->u_));
  LCSM_RETURN_IF_ERROR(
      allocate((config.order + 1) * config.width, &pass->streams_));
  LCSM_RETURN_IF_ERROR(allocate(config.inner, &pass->hidden_));
  LCSM_RETURN_IF_ERROR(allocate(config.width, &pass->update_));
  return pass;
}

template <typename Body>
void HyenaPass::SplitRows(size_t n, size_t in, size_t count,
                          Body&& body) noexcept {
  const size_t units = (n + kRowUnit - 1) / kRowUnit;
  const size_t grain = kGrainProducts / (kRowUnit * in * count);
  pool_.ParallelFor(units, grain, [&](size_t begin, size_t end, size_t) {
    body(begin * kRowUnit, std::min(n, end * kRowUnit));
  });
}

void HyenaPass::Normalize(const NormWeights& norm, double eps, size_t first,
                          size_t count) noexcept {
  const PointwiseKernels& kernels = GetPointwiseKernels();
  const size_t width = weights_.config().width;
  const size_t grain = kGrainProducts / width + 1;
  pool_.ParallelFor(count, grain, [&](size_t begin, size_t end, size_t) {
    for (size_t t = begin; t < end; ++t) {
      kernels.layer_norm(x_.data() + (first + t) * width, norm.weight,
                         norm.bias, width, static_cast<float>(eps),
                         u_.data() + t * width);
    }
  });
}

// x += W_out (gates and convolutions of FIR(W_in LN(x))).
void HyenaPass::Mix(const HyenaLayerWeights& w, size_t layer,
                    HyenaPassShape shape, ShortFirState* tails,
                    conv::OnlineConvolution& convolution, bool skip_mixers,
                    StepTimes* times) noexcept {
  const size_t count = shape.tokens();
  const PointwiseKernels& pointwise = GetPointwiseKernels();
  const HyenaConfig& config = weights_.config();
  const size_t width = config.width, rows = w.in_proj.out;
  Normalize(w.norm1, config.block_norm_eps, 0, count);
  SplitRows(rows, width, count, [&](size_t begin, size_t end) {
    w.in_proj.Apply(begin, end, u_.data(), width, count, streams_.data(), rows);
    for (size_t row = 0; row < shape.rows; ++row) {
      tails[row].Process(begin, end, shape.positions, shape.rows * rows,
                         streams_.data() + row * rows);
    }
  });
  const GatedConvolution gated = {config.order, width,
                                  layer * config.convolutions()};
  gated.Run(convolution, pool_, shape.positions, shape.rows, streams_.data(),
            skip_mixers, u_.data(), &times->mixers);
  SplitRows(width, width, count, [&](size_t begin, size_t end) {
    w.out_proj.Apply(begin, end, u_.data(), width, count, update_.data(),
                     width);
    for (size_t t = 0; t < count; ++t) {
      float* const x = x_.data() + t * width + begin;
      pointwise.add(x, update_.data() + t * width + begin, end - begin, x);
    }
  });
}

// x += W_2 gelu(W_1 LN(x)).
void HyenaPass::Mlp(const HyenaLayerWeights& w, size_t count) noexcept {
  const PointwiseKernels& pointwise = GetPointwiseKernels();
  const HyenaConfig& config = weights_.config();
  const size_t width = config.width, inner = config.inner;
  Normalize(w.norm2, config.block_norm_eps, 0, count);
  SplitRows(inner, width, count, [&](size_t begin, size_t end) {
    w.fc1.Apply(begin, end, u_.data(), width, count, hidden_.data(), inner);
    for (size_t t = 0; t < count; ++t) {
      float* const h = hidden_.data() + t * inner + begin;
      pointwise.gelu(h, end - begin, h);
    }
  });
  SplitRows(width, inner, count, [&](size_t begin, size_t end) {
    w.fc2.Apply(begin, end, hidden_.data(), inner, count, update_.data(),
                width);
    for (size_t t = 0; t < count; ++t) {
      float* const x = x_.data() + t * width + begin;
      pointwise.add(x, update_.data() + t * width + begin, end - begin, x);
    }
  });
}

void HyenaPass::Embed(const int32_t* tokens, size_t count) noexcept {
  const size_t width = weights_.config().width;
  for (size_t t = 0; t < count; ++t) {
    std::copy_n(weights_.embedding() + static_cast<size_t>(tokens[t]) * width,
                width, x_.data() + t * width);
  }
}

void HyenaPass::Layer(size_t layer, HyenaPassShape shape, ShortFirState* tails,
                      conv::OnlineConvolution& convolution, bool skip_mixers,
                      StepTimes* times) noexcept {
  const Clock::time_point start = Clock::now();
  const double mixers_before = times->mixers;
  const HyenaLayerWeights& w = weights_.layers()[layer];
  Mix(w, layer, shape, tails, convolution, skip_mixers, times);
  Mlp(w, shape.tokens());
  times->blocks += Seconds(start) - (times->mixers - mixers_before);
}

void HyenaPass::Advance(size_t positions, conv::OnlineConvolution& convolution,
                        bool skip_mixers, StepTimes* times) noexcept {
  const Clock::time_point start = Clock::now();
  if (positions == 1 && !skip_mixers) {
    convolution.Advance();
  } else {
    convolution.AdvanceMany(positions);
  }
  times->mixers += Seconds(start);
}

void HyenaPass::Head(size_t first, size_t count, float* logits,
                     StepTimes* times) noexcept {
  const Clock::time_point start = Clock::now();
  const LinearWeights& head = weights_.head();
  Normalize(weights_.final_norm(), weights_.config().final_norm_eps, first,
            count);
  SplitRows(head.out, head.in, count, [&](size_t begin, size_t end) {
    head.Apply(begin, end, u_.data(), head.in, count, logits, head.out);
  });
  times->head += Seconds(start);
}

const float* HyenaPass::FinalNorm(size_t count) noexcept {
  Normalize(weights_.final_norm(), weights_.config().final_norm_eps, 0, count);
  return u_.data();
}

}  // namespace lcsm
