// What a run will take in memory, as a table.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "runtime/model.h"

namespace lcsm::cli {

// Label and value, in display order.
using Rows = std::vector<std::pair<std::string, std::string>>;

Rows MemoryRows(const ModelMemory& memory);
// "cuda:0 (its name)", or the threads of the CPU.
std::string WhereText(const ModelMemory& memory, size_t threads);
std::string Table(const std::string& title, const Rows& rows);
// A table of that, titled `title` and where; one for each device of several.
std::string MemoryTables(const std::string& title, const ModelMemory& memory,
                         size_t threads);

// The same as "memory_bytes", "not_counted" and, of several devices, "devices".
void AddMemoryJson(const ModelMemory& memory, nlohmann::ordered_json& json);

}  // namespace lcsm::cli
