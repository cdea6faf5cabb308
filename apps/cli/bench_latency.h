// `lcsm bench latency`.
#pragma once

#include "command.h"

namespace lcsm::cli {

void AddLatencyBench(CLI::App& root, Commands& commands);

}  // namespace lcsm::cli
