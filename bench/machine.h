// The "machine" object of every benchmark's JSON.
#pragma once

#include <nlohmann/json.hpp>

namespace lcsm::bench {

nlohmann::ordered_json MachineJson();

}  // namespace lcsm::bench
