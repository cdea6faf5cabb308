// `lcsm bench prefill`.
#pragma once

#include "option_parser.h"

#include "command.h"

namespace lcsm::cli {

void AddBenchPrefill(App& root, Commands& commands);

}  // namespace lcsm::cli
