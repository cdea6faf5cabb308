// From what the user wrote after --model to a folder.
#pragma once

#include <string>
#include <vector>

#include "lcsm/status.h"

namespace lcsm::cli {

inline constexpr const char* kDefaultModel = "kjv-bytes";

// Where a model NAME is looked for, in order: share/lcsm/models of the
// installation the executable stands in, then each folder of LCSM_MODELS
// (separated by colons).
std::vector<std::string> ModelSearchPath();

// A folder is taken as it is; a plain NAME is looked up. Empty means the model
// in the box.
StatusOr<std::string> FindModel(const std::string& model);

}  // namespace lcsm::cli
