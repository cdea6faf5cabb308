// lcsm bench paper, in a file of its own.
#pragma once

#include "option_parser.h"

#include "command.h"

namespace lcsm::cli {

void AddBenchPaper(App& bench, Commands& commands);

}  // namespace lcsm::cli
