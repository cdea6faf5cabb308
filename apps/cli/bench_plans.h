// `lcsm bench plans`.
#pragma once

#include "option_parser.h"

#include "command.h"

namespace lcsm::cli {

void AddBenchPlans(App& bench, Commands& commands);

}  // namespace lcsm::cli
