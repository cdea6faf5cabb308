// What device benchmarks are to show, and what they saw.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace lcsm::bench {

// Of a report of gpu_main.cc ("mixers", "paper" and "models"), row by row:
// target, where, aim, whether that is a least or a most, seen, and verdict:
// "met", "missed" or "not measured". All of a case is told of one method, the
// one whose sequence took the least time, which is named. Rows without an aim
// have the verdict "seen".
nlohmann::ordered_json GpuTargets(const nlohmann::ordered_json& report);

// The same as a table.
std::string PrintGpuTargets(const nlohmann::ordered_json& targets);

}  // namespace lcsm::bench
