// `lcsm convert`: a torch checkpoint to a folder that lcsm runs from, which is
// config.json and model.safetensors. Of a Hyena model with canonical names and
// float32 weights; of one that runs as a stack (stack_config.h) with its own
// names, weights in the type that they are stored in, and its config as it is.
//
// Thread safety: independent calls may run at once on different folders.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "io/filter_conventions.h"
#include "io/hyena_keys.h"
#include "io/tensor.h"
#include "lcsm/status.h"

namespace lcsm::io {

struct ConvertOptions {
  // What no tensor of a Hyena model tells; unless given, as
  // ReadFilterConventions has it. An error for a stack.
  std::optional<double> filter_shift;
  std::optional<FilterLayout> filter_layout;
  // The model's config.json; empty: the one beside the weights.
  std::filesystem::path config;
  // Replace a model that stands in the output folder.
  bool overwrite = false;
};

struct ConvertReport {
  struct Conversion {
    std::string name;
    DType from = DType::kF32;
  };
  std::filesystem::path weights;  // What was read.
  std::vector<std::string> kept;  // Canonical names, as written.
  std::vector<KeyPlan::Dropped> dropped;
  std::vector<Conversion> converted;  // To F32.
  std::vector<std::string> copied;    // Tokenizer files taken along.
  // Of Hyena models only.
  bool is_stack = false;
  double filter_shift = 0;
  FilterLayout filter_layout = FilterLayout::kOrderSlowest;
  size_t bytes = 0;  // Of tensors written.
};

// `weights_or_folder`: a .ckpt, .pt or .bin file, or a folder that holds
// weights.ckpt, pytorch_model.bin or model.pt. `output` is made if need be. On
// any failure the output folder is as it was. Errors: whatever TorchCheckpoint
// and CanonicalHyenaKeys refuse, a missing or bad config.json, NaN or infinite
// weights, a model in `output` already, a full disk.
StatusOr<ConvertReport> ConvertCheckpoint(
    const std::filesystem::path& weights_or_folder,
    const std::filesystem::path& output, const ConvertOptions& options);

}  // namespace lcsm::io
