// Measured tile costs, kept between runs.
//
// One small text file, by default $XDG_CACHE_HOME/lcsm/tiles.txt (or
// ~/.cache/lcsm/tiles.txt). Safe to delete. It names the CPU, the SIMD target
// and the version that measured; anything else, and anything damaged, is not
// used. It holds a table for each number of groups, in powers of two, since
// costs depend on the cache that the data of all groups comes from.
#pragma once

#include <filesystem>
#include <string>

#include "conv/cost_tables.h"
#include "conv/problem.h"
#include "conv/tile_costs.h"
#include "lcsm/status.h"

namespace lcsm::conv {

// Immutable once shared.
class Tuning {
 public:
  // The table for a problem of that size; null if there is none.
  const TileCosts* For(const Problem& problem) const;
  void Set(const Problem& problem, TileCosts costs);
  bool empty() const { return tables_.empty(); }

  // Errors: missing (kNotFound), unreadable, of another machine, target or
  // version, damaged. The sentence says which.
  static StatusOr<Tuning> Load(const std::filesystem::path& path);
  // Makes the folders that are missing. The file appears whole or not at all.
  Status Save(const std::filesystem::path& path) const;

  // What Load and Save do, as text. `name` is what errors call it.
  static StatusOr<Tuning> Parse(const std::string& text,
                                const std::string& name);
  std::string Print() const;

 private:
  CostTables tables_;  // By groups, a power of two.
};

// Empty if neither XDG_CACHE_HOME nor HOME is set.
std::filesystem::path DefaultTuningPath();

}  // namespace lcsm::conv
