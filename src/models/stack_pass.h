// The forward pass of a stack for some tokens at a time, and the activations
// that it needs.
//
// Tokens go through together as *known* positions of one sequence that follow
// each other, or as a *step*: one position of each of some sequences, which are
// a decode step of one, or a batch. Both share one code path but for matrices
// laid out for known positions (StackPanels) and for how mixers take them, and
// kernels whose bits do not depend on how many tokens go together: that is why
// every row of a batch has the bits of a sequence by itself.
//
// Who owns what: activations are the pass's; mixers' states, and what readers
// of the position before want, are the sequences'. What must never happen: an
// allocation or a failure in a step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "lcsm/status.h"
#include "mixers/mixer_set.h"
#include "models/stack_panels.h"
#include "models/stack_weights.h"
#include "runtime/model.h"

namespace lcsm {

// What moves with one sequence, or with several that go on by steps.
struct StackSequences {
  MixerStates* mixers = nullptr;
  // The residual streams that readers want, of the position before,
  // [slot][sequences][D].
  float* past = nullptr;
  StepTimes* times = nullptr;  // Grows.
  // For benchmarks: mixers are left out.
  bool skip_mixers = false;
};

// Not thread safe; splits its work over the pool it was given.
class StackPass {
 public:
  enum class Tokens {
    kStep,   // One position of each of so many sequences.
    kKnown,  // So many positions of one.
  };

  // For at most `tokens` tokens at a time. `panels`, which may be null, are for
  // known positions. All of them must outlive it. Error: memory.
  static StatusOr<std::unique_ptr<StackPass>> Create(
      const StackWeights& weights, const StackPanels* panels, size_t tokens,
      ThreadPool& pool);
  static size_t Bytes(const StackWeights& weights, size_t tokens);

  // Embeddings into the residual stream.
  void Embed(const int32_t* tokens, size_t count) noexcept;
  // `count` tokens through a block. Known ones may fail, for want of memory; a
  // step does not.
  Status Block(size_t block, Tokens kind, size_t count,
               const StackSequences& sequences) noexcept;
  // Ends the positions that all blocks have taken in.
  void Advance(Tokens kind, size_t count,
               const StackSequences& sequences) noexcept;
  // Of the first `count` tokens, [count][D]; valid until the next call.
  const float* FinalNorm(size_t count) noexcept;
  // Logits of tokens [first, first + count), [count][padded_vocab].
  void Head(size_t first, size_t count, float* logits,
            StepTimes* times) noexcept;
  // The residual stream, [tokens][D].
  const float* residual() const { return x_.data(); }
  size_t tokens() const { return tokens_; }

 private:
  StackPass(const StackWeights& weights, const StackPanels* panels,
            size_t tokens, ThreadPool& pool)
      : weights_(weights), panels_(panels), tokens_(tokens), pool_(pool) {}

  Status Run(const StackOp& op, Tokens kind, size_t count,
             const StackSequences& sequences) noexcept;
  Status Mix(const StackOp& op, Tokens kind, size_t count,
             const StackSequences& sequences) noexcept;
  void Read(const StackOp& op, Tokens kind, size_t count,
            const StackSequences& sequences) noexcept;
  void Linear(const StackOp& op, Tokens kind, size_t count) noexcept;
  // A step's inputs side by side: rows and the floats from one to the next.
  const float* Inputs(const StackOp& op, size_t count, size_t* stride) noexcept;
  float* Rows(const StackSpan& span) { return rows_.data() + span.offset; }
  // Calls body(t) for all rows.
  template <typename Body>
  void EachRow(size_t count, size_t floats, Body&& body) noexcept;
  template <typename Body>
  void SplitRows(size_t n, size_t in, size_t count, Body&& body) noexcept;

  const StackWeights& weights_;
  const StackPanels* const panels_;
  const size_t tokens_;
  ThreadPool& pool_;
  FloatBuffer x_;      // Residual stream, [tokens][D].
  FloatBuffer rows_;   // A part's streams, [tokens][row].
  FloatBuffer in_;     // Of a mixer, [tokens][most_in].
  FloatBuffer out_;    // [tokens][most_out]
  FloatBuffer slots_;  // Residual streams for readers, [slot][tokens][D].
};

}  // namespace lcsm
