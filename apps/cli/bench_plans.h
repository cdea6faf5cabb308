// `lcsm bench plans`.
#pragma once

#include "command.h"

namespace lcsm::cli {

void AddBenchPlans(CLI::App& bench, Commands& commands);

}  // namespace lcsm::cli
