// Known tokens taken in a block of positions at a time, each block through the
// whole model before the next one comes: memory does not grow with the prompt,
// and each of the weights is read once for a block.
//
// What states share of it: which positions' activations and logits are handed
// out when, progress, and cancellation. Pure control; the pass does the work.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include "lcsm/status.h"
#include "runtime/model.h"

namespace lcsm {

// Tokens that go through a layer at a time: each of the weights is read once
// for all of them (from L3 or memory), and their activations, some 10 KiB a
// token at a width of 256, stay in L2 and L3.
inline constexpr size_t kBlockTokens = 128;

// Tokens whose logits are held at a time; a vocabulary may be large.
inline constexpr size_t kHeadTokens = 8;

// A model's forward pass over up to a block of consecutive positions.
template <typename T>
concept BlockPass = requires(T pass, const int32_t* tokens, size_t n,
                             float* logits) {
  { pass.position() } -> std::convertible_to<size_t>;  // Of the next token.
  { pass.layers() } -> std::convertible_to<size_t>;
  { pass.width() } -> std::convertible_to<size_t>;
  { pass.vocab() } -> std::convertible_to<size_t>;
  pass.Embed(tokens, n);
  // Layer `n` of as many tokens as were embedded.
  { pass.Layer(n, n) } -> std::same_as<Status>;
  // After all layers.
  pass.Advance(n);
  // The residual stream, [n][width], and the same through the final norm,
  // valid until the next call.
  { pass.Residual() } -> std::convertible_to<const float*>;
  { pass.FinalNorm(n) } -> std::convertible_to<const float*>;
  // Logits of tokens [first, first + count) of the block, [count][vocab].
  pass.Head(n, n, logits);
};

// Takes tokens in, which must have been checked, `block` > 0 at a time.
// `logits` is room for kHeadTokens of them. Errors: the request's, the pass's.
template <BlockPass Pass>
Status TakeInBlocks(std::span<const int32_t> tokens,
                    const ModelState::PrefillRequest& request, size_t block,
                    float* logits, Pass&& pass) {
  const size_t vocab = pass.vocab(), width = pass.width();
  const size_t layers = pass.layers();
  for (size_t done = 0; done < tokens.size();) {
    const size_t count = std::min(block, tokens.size() - done);
    const size_t first = pass.position();
    pass.Embed(tokens.data() + done, count);
    for (size_t layer = 0; layer <= layers; ++layer) {
      if (request.on_hidden && layer == request.hidden_layer) {
        LCSM_RETURN_IF_ERROR(
            request.on_hidden(first, {pass.Residual(), count * width}));
      }
      if (layer < layers) LCSM_RETURN_IF_ERROR(pass.Layer(layer, count));
    }
    pass.Advance(count);
    done += count;
    if (request.on_hidden &&
        request.hidden_layer == ModelState::PrefillRequest::kFinalNorm) {
      LCSM_RETURN_IF_ERROR(
          request.on_hidden(first, {pass.FinalNorm(count), count * width}));
    }
    for (size_t t = 0; request.on_logits && t < count; t += kHeadTokens) {
      const size_t now = std::min(kHeadTokens, count - t);
      pass.Head(t, now, logits);
      for (size_t i = 0; i < now; ++i) {
        LCSM_RETURN_IF_ERROR(
            request.on_logits(first + t + i, {logits + i * vocab, vocab}));
      }
    }
    if (done == tokens.size() && request.last_logits != nullptr) {
      pass.Head(count - 1, 1, request.last_logits);
    }
    if (request.progress &&
        !request.progress(static_cast<double>(done) /
                          static_cast<double>(tokens.size()))) {
      return Cancelled("stopped while taking known tokens in");
    }
  }
  return OkStatus();
}

}  // namespace lcsm
