#pragma once

#include "command.h"

namespace lcsm::cli {

void AddBenchRelaxed(CLI::App& bench, Commands& commands);

}  // namespace lcsm::cli
