#include "conv/tuning.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <bit>
#include <utility>
#include <vector>

#include "base/cpu_info.h"
#include "conv/layout.h"
#include "lcsm/version.h"

namespace lcsm::conv {
namespace {

CostFile File() {
  return {
      .kind = "lcsm tile costs 1",
      .identity = fmt::format("cpu {}\ntarget {}\nversion {}\n",
                              GetCpuInfo().model, SimdTarget(), LCSM_VERSION),
      .counts = {"groups"},
      .powers_of_two = true,
      .other_kind = "is no table of tile costs of this version",
      .other_identity = "was measured by another CPU, SIMD target or version"};
}

std::vector<size_t> Bucket(const Problem& problem) {
  return {std::bit_ceil(HistoryGroups(problem))};
}

}  // namespace

const TileCosts* Tuning::For(const Problem& problem) const {
  const auto entry = tables_.find(Bucket(problem));
  return entry == tables_.end() ? nullptr : &entry->second;
}

void Tuning::Set(const Problem& problem, TileCosts costs) {
  tables_[Bucket(problem)] = std::move(costs);
}

std::string Tuning::Print() const { return PrintCostTables(File(), tables_); }

StatusOr<Tuning> Tuning::Parse(const std::string& text,
                               const std::string& name) {
  Tuning tuning;
  LCSM_ASSIGN_OR_RETURN(tuning.tables_, ParseCostTables(File(), text, name));
  return tuning;
}

StatusOr<Tuning> Tuning::Load(const std::filesystem::path& path) {
  Tuning tuning;
  LCSM_ASSIGN_OR_RETURN(tuning.tables_, LoadCostTables(File(), path));
  return tuning;
}

Status Tuning::Save(const std::filesystem::path& path) const {
  return SaveCostTables(File(), tables_, path);
}

std::filesystem::path DefaultTuningPath() {
  const char* const cache = getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache != '\0') {
    return std::filesystem::path(cache) / "lcsm" / "tiles.txt";
  }
  const char* const home = getenv("HOME");
  if (home == nullptr || *home == '\0') return {};
  return std::filesystem::path(home) / ".cache" / "lcsm" / "tiles.txt";
}

}  // namespace lcsm::conv
