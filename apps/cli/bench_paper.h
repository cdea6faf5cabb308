// lcsm bench paper, in a file of its own.
#pragma once

#include "command.h"

namespace lcsm::cli {

void AddBenchPaper(CLI::App& bench, Commands& commands);

}  // namespace lcsm::cli
