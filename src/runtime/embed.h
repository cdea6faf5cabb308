// Activations of known tokens: of every position, or pooled to one row.
//
// Layers are numbered as Hugging Face numbers hidden_states: 0 is the
// embedding, k what the first k blocks leave in the residual stream. kFinalNorm
// is that of all blocks after the last norm, which goes into the head.
//
// Thread safety: one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "lcsm/status.h"
#include "runtime/known_tokens.h"
#include "runtime/model.h"

namespace lcsm {

enum class Pooling {
  kMean,  // Over all positions, summed in float64.
  kLast,  // The last position, which has seen all others.
};

class Embedder {
 public:
  // Rows of consecutive positions, [n][width] for some n.
  using RowSink = std::function<Status(std::span<const float> rows)>;

  static constexpr size_t kFinalNorm = ModelState::PrefillRequest::kFinalNorm;

  // `layer` is at most ModelInfo::layers, or kFinalNorm. `states` should be
  // prepared for no steps. Both must outlive this.
  Embedder(const Model& model, KnownTokenStates& states, size_t layer)
      : model_(model), states_(states), layer_(layer) {}

  // Hands out the rows of all positions in order. `progress` may be empty.
  // Errors: more tokens than the model takes, ids outside the vocabulary,
  // memory, the sink's, kCancelled, weights cut short while in use.
  Status Rows(std::span<const int32_t> tokens, const RowSink& sink,
              const ModelState::Progress& progress);

  // One row, in float64. Precondition: there are tokens.
  StatusOr<std::vector<double>> Pooled(std::span<const int32_t> tokens,
                                       Pooling pooling,
                                       const ModelState::Progress& progress);

 private:
  const Model& model_;
  KnownTokenStates& states_;
  size_t layer_;
};

}  // namespace lcsm
