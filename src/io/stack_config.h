// Whose config.json a model's is that runs as a stack: by what only theirs has.
//
// Pure functions.
#pragma once

#include <optional>
#include <string>

#include "io/config_json.h"

namespace lcsm::io {

enum class StackFamily {
  kDescribed,  // "lcsm-stack": docs/stacks.md.
  kStu,
  kH3,
  kStripedHyena,
};

// Nothing: a config of another kind of model.
std::optional<StackFamily> StackFamilyOf(const ConfigJson& json);

// The name under which the family's reader looks for a tensor of a torch
// checkpoint: without what wrappers of training put in front. A description
// names tensors as it likes.
std::string StackTensorName(StackFamily family, const std::string& key);

}  // namespace lcsm::io
