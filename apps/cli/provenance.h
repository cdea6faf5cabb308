// What made an output: every one of them says so where its format has room.
#pragma once

#include <string>

#include "runtime/model.h"

namespace lcsm::cli {

// "lcsm 0.1.0, model ecoli-hyenadna".
std::string Provenance(const ModelInfo& info);

}  // namespace lcsm::cli
