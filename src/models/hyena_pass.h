// The forward pass of a Hyena model for a few tokens at a time, and the
// activations that it needs.
//
// Tokens go through together as `positions` consecutive ones of each of `rows`
// sequences, [positions][rows]: one of one sequence for a decode step, many of
// one for known tokens, one of each of many for a batch. All share one code
// path, and kernels whose bits do not depend on how many tokens go together:
// that is why steps, known tokens and batches give the same logits.
//
// Who owns what: activations are the pass's; short filters' tails and the
// convolution are the sequences'. What must never happen: an allocation or a
// failure after Create.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "conv/online_convolution.h"
#include "lcsm/status.h"
#include "mixers/short_fir.h"
#include "models/hyena_weights.h"
#include "runtime/model.h"

namespace lcsm {

struct HyenaPassShape {
  size_t positions = 1, rows = 1;
  size_t tokens() const { return positions * rows; }
};

// Not thread safe; splits its work over the pool it was given.
class HyenaPass {
 public:
  // For at most `tokens` tokens at a time. `weights` and `pool` must outlive
  // it. Error: memory.
  static StatusOr<std::unique_ptr<HyenaPass>> Create(
      const HyenaWeights& weights, size_t tokens, ThreadPool& pool);
  static size_t Bytes(const HyenaConfig& config, size_t tokens);

  // Embeddings into the residual stream.
  void Embed(const int32_t* tokens, size_t count) noexcept;
  // One layer over the residual stream. `tails` is [rows], of this layer.
  // `times` grows. With `skip_mixers` long convolutions are left out.
  void Layer(size_t layer, HyenaPassShape shape, ShortFirState* tails,
             conv::OnlineConvolution& convolution, bool skip_mixers,
             StepTimes* times) noexcept;
  // After all layers: the convolution moves on.
  void Advance(size_t positions, conv::OnlineConvolution& convolution,
               bool skip_mixers, StepTimes* times) noexcept;
  // Logits of tokens [first, first + count) of the residual stream,
  // [count][padded_vocab].
  void Head(size_t first, size_t count, float* logits,
            StepTimes* times) noexcept;
  // The first `count` tokens through the final norm, [count][D]; valid until
  // the next call.
  const float* FinalNorm(size_t count) noexcept;
  // The residual stream, [tokens][D].
  const float* residual() const { return x_.data(); }

 private:
  HyenaPass(const HyenaWeights& weights, ThreadPool& pool)
      : weights_(weights), pool_(pool) {}
  void Mix(const HyenaLayerWeights& w, size_t layer, HyenaPassShape shape,
           ShortFirState* tails, conv::OnlineConvolution& convolution,
           bool skip_mixers, StepTimes* times) noexcept;
  void Mlp(const HyenaLayerWeights& w, size_t count) noexcept;
  // Rows of x_ through a norm into u_.
  void Normalize(const NormWeights& norm, double eps, size_t first,
                 size_t count) noexcept;
  // Calls body(begin, end) on ranges of rows [0, n) of a matrix with `in`
  // columns that `count` tokens go through.
  template <typename Body>
  void SplitRows(size_t n, size_t in, size_t count, Body&& body) noexcept;

  const HyenaWeights& weights_;
  ThreadPool& pool_;
  FloatBuffer x_;        // Residual stream, [tokens][D].
  FloatBuffer u_;        // Normed, or mixed, [tokens][D].
  FloatBuffer streams_;  // Projections, [tokens][(N+1) D].
  FloatBuffer hidden_;   // Of the MLP, [tokens][inner].
  FloatBuffer update_;   // What is added to x_, [tokens][D].
};

}  // namespace lcsm
