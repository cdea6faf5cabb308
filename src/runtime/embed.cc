#include "runtime/embed.h"

#include <fmt/format.h>

namespace lcsm {

Status Embedder::Rows(std::span<const int32_t> tokens, const RowSink& sink,
                      const ModelState::Progress& progress) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 ||
        static_cast<size_t>(tokens[i]) >= model_.info().vocab) {
      return InvalidInput(
          fmt::format("token {} at position {} is outside the vocabulary of {}",
                      tokens[i], i, model_.info().vocab));
    }
  }
  LCSM_ASSIGN_OR_RETURN(ModelState* const state, states_.For(tokens.size()));
  ModelState::PrefillRequest request;
  request.following = 0;
  request.progress = progress;
  request.hidden_layer = layer_;
  request.on_hidden = [&sink](size_t, std::span<const float> rows) {
    return sink(rows);
  };
  LCSM_RETURN_IF_ERROR(state->Prefill(tokens, request));
  return model_.CheckWeights();
}

StatusOr<std::vector<double>> Embedder::Pooled(
    std::span<const int32_t> tokens, Pooling pooling,
    const ModelState::Progress& progress) {
  const size_t width = model_.info().width;
  std::vector<double> row(width);
  LCSM_RETURN_IF_ERROR(Rows(
      tokens,
      [&](std::span<const float> rows) {
        if (pooling == Pooling::kLast) {
          row.assign(rows.end() - static_cast<std::ptrdiff_t>(width),
                     rows.end());
          return OkStatus();
        }
        for (size_t at = 0; at < rows.size(); at += width) {
          for (size_t c = 0; c < width; ++c) row[c] += rows[at + c];
        }
        return OkStatus();
      },
      progress));
  if (pooling == Pooling::kMean) {
    for (double& x : row) x /= static_cast<double>(tokens.size());
  }
  return row;
}

}  // namespace lcsm
