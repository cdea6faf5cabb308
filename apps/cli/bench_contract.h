// `lcsm bench contract`.
#pragma once

#include "command.h"

namespace lcsm::cli {

void AddBenchContract(CLI::App& root, Commands& commands);

}  // namespace lcsm::cli
