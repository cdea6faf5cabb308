// `lcsm bench latency`.
#pragma once

#include "option_parser.h"

#include "command.h"

namespace lcsm::cli {

void AddLatencyBench(App& root, Commands& commands);

}  // namespace lcsm::cli
