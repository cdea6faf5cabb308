#include "conv/tuning.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <bit>
#include <sstream>
#include <system_error>

#include "base/cpu_info.h"
#include "conv/layout.h"
#include "io/atomic_file.h"
#include "lcsm/version.h"

namespace lcsm::conv {
namespace {

constexpr const char* kMagic = "lcsm tile costs 1";
// A table has some fifty lines of forty characters.
constexpr size_t kMaxBytes = size_t{1} << 20;

std::string Identity() {
  return fmt::format("cpu {}\ntarget {}\nversion {}\n", GetCpuInfo().model,
                     SimdTarget(), LCSM_VERSION);
}

size_t Bucket(const Problem& problem) {
  return std::bit_ceil(HistoryGroups(problem));
}

}  // namespace

const TileCosts* Tuning::For(const Problem& problem) const {
  const auto entry = tables_.find(Bucket(problem));
  return entry == tables_.end() ? nullptr : &entry->second;
}

void Tuning::Set(const Problem& problem, TileCosts costs) {
  tables_[Bucket(problem)] = std::move(costs);
}

std::string Tuning::Print() const {
  std::string text = fmt::format("{}\n{}", kMagic, Identity());
  for (const auto& [groups, costs] : tables_) {
    text += fmt::format("groups {}\n{}", groups, costs.Print());
  }
  // A file that was cut short lacks it.
  return text + "end\n";
}

StatusOr<Tuning> Tuning::Parse(const std::string& text,
                               const std::string& name) {
  const std::string head = fmt::format("{}\n", kMagic);
  if (text.rfind(head, 0) != 0) {
    return InvalidInput(
        fmt::format("{} is no table of tile costs of this version", name));
  }
  if (text.rfind(head + Identity(), 0) != 0) {
    return InvalidInput(fmt::format(
        "{} was measured by another CPU, SIMD target or version", name));
  }
  std::istringstream lines(text.substr((head + Identity()).size()));
  Tuning tuning;
  std::string line, table;
  size_t groups = 0;
  bool ended = false;
  const auto damaged = [&] {
    return InvalidInput(fmt::format("{} is damaged", name));
  };
  const auto finish = [&]() -> Status {
    if (groups == 0) return table.empty() ? OkStatus() : damaged();
    LCSM_ASSIGN_OR_RETURN(TileCosts costs, TileCosts::Parse(table));
    tuning.tables_[groups] = std::move(costs);
    table.clear();
    return OkStatus();
  };
  while (std::getline(lines, line)) {
    if (ended) return damaged();
    if (line == "end") {
      ended = true;
    } else if (line.rfind("groups ", 0) == 0) {
      if (!finish().ok()) return damaged();
      std::istringstream number(line.substr(7));
      if (!(number >> groups) || !std::has_single_bit(groups)) return damaged();
    } else {
      table += line + "\n";
    }
  }
  if (!ended || !finish().ok()) return damaged();
  return tuning;
}

StatusOr<Tuning> Tuning::Load(const std::filesystem::path& path) {
  LCSM_ASSIGN_OR_RETURN(const std::string text, io::ReadFile(path, kMaxBytes));
  return Parse(text, path.string());
}

Status Tuning::Save(const std::filesystem::path& path) const {
  std::error_code error;
  if (path.has_parent_path()) {
    std::filesystem::create_directories(path.parent_path(), error);
  }
  if (error) {
    return InvalidInput(fmt::format("{}: the folder cannot be made ({})",
                                    path.parent_path().string(),
                                    error.message()));
  }
  return io::WriteFileAtomically(path, Print());
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
