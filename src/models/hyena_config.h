// What a Hyena model's config.json says, whatever dialect it is written in
// (docs/models.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "io/config_json.h"
#include "io/filter_conventions.h"
#include "lcsm/status.h"

namespace lcsm {

using io::FilterLayout;
const char* Name(FilterLayout layout);  // "order_slowest", "order_fastest"

struct HyenaConfig {
  std::string dialect;  // "hugging face", "hyenadna" or "safari".
  size_t vocab = 0;
  size_t padded_vocab = 0;  // Rows of the embedding.
  size_t width = 0;         // D
  size_t inner = 0;         // Of the MLP.
  size_t layers = 0;        // M
  size_t order = 2;         // N; N - 1 long convolutions a layer.
  size_t fir_taps = 3;
  size_t max_length = 0;     // Lmax
  size_t features = 5;       // E, inputs of the filter's MLP.
  size_t filter_width = 64;  // F
  size_t filter_inner_layers = 2;
  bool modulate = true;
  double shift = 0;         // Floor of the modulating window.
  bool normalized = false;  // Filters divided by their L1 norm over channels.
  FilterLayout layout = FilterLayout::kOrderSlowest;
  double block_norm_eps = 1e-5;
  double final_norm_eps = 1e-5;
  int32_t eos_id = -1;

  size_t convolutions() const { return order - 1; }
  size_t filter_channels() const { return convolutions() * width; }
};

// Errors: fields missing or out of range, options that change the mathematics
// in ways not supported (model-formats 1.6), each named with its field.
StatusOr<HyenaConfig> ParseHyenaConfig(const io::ConfigJson& json);

}  // namespace lcsm
