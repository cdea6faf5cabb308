// `lcsm bench contract`.
#pragma once

#include "option_parser.h"

#include "command.h"

namespace lcsm::cli {

void AddBenchContract(App& root, Commands& commands);

}  // namespace lcsm::cli
