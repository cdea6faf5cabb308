#pragma once

#include "option_parser.h"

#include "command.h"

namespace lcsm::cli {

void AddBenchLinks(App& bench, Commands& commands);

}  // namespace lcsm::cli
