// `lcsm bench prefill`.
#pragma once

#include "command.h"

namespace lcsm::cli {

void AddBenchPrefill(CLI::App& root, Commands& commands);

}  // namespace lcsm::cli
