// Files of measured tile costs: what those of CPUs (tuning.h) and of devices
// (cuda/device_tuning.h) have in common.
//
// A line says what kind of file it is, the next ones who measured; then come
// tables, each after a line of the counts that it was measured for
// ("filters 4 rows 1"), and "end", which a file that was cut short lacks.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "conv/tile_costs.h"
#include "lcsm/status.h"

namespace lcsm::conv {

// By as many counts as the file's kind has names for.
using CostTables = std::map<std::vector<size_t>, TileCosts>;

struct CostFile {
  std::string_view kind;  // The first line.
  std::string identity;   // Whole lines: whose measurements are believed.
  std::vector<std::string_view> counts;  // Names of a table's counts.
  bool powers_of_two = false;            // Whether all counts must be.
  // What errors say of a file of another kind and of another identity; they
  // begin with its name.
  std::string_view other_kind;
  std::string_view other_identity;
};

std::string PrintCostTables(const CostFile& file, const CostTables& tables);
// `name` is what errors call the text. What is accepted, PrintCostTables may
// have written.
StatusOr<CostTables> ParseCostTables(const CostFile& file,
                                     std::string_view text,
                                     const std::string& name);

// The same from and to disk. Saving makes the folders that are missing; the
// file appears whole or not at all.
StatusOr<CostTables> LoadCostTables(const CostFile& file,
                                    const std::filesystem::path& path);
Status SaveCostTables(const CostFile& file, const CostTables& tables,
                      const std::filesystem::path& path);

}  // namespace lcsm::conv
