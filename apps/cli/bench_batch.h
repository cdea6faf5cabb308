// `lcsm bench batch`.
#pragma once

#include "command.h"
#include "option_parser.h"

namespace lcsm::cli {

void AddBenchBatch(App& root, Commands& commands);

}  // namespace lcsm::cli
