#include "conv/cost_tables.h"

#include <fmt/format.h>

#include <bit>
#include <charconv>
#include <sstream>
#include <system_error>
#include <utility>

#include "io/atomic_file.h"

namespace lcsm::conv {
namespace {

// A table has some eighty lines of forty characters.
constexpr size_t kMaxBytes = size_t{1} << 20;

// "filters 4 rows 1".
std::string PrintCounts(const CostFile& file,
                        const std::vector<size_t>& counts) {
  std::string line;
  for (size_t i = 0; i < counts.size(); ++i) {
    line +=
        fmt::format("{}{} {}", i == 0 ? "" : " ", file.counts[i], counts[i]);
  }
  return line;
}

// Empty if that is not what the line says, with nothing before, between or
// behind.
std::vector<size_t> ParseCounts(const CostFile& file, std::string_view line) {
  std::vector<size_t> counts;
  for (const std::string_view name : file.counts) {
    const std::string label =
        fmt::format("{}{} ", counts.empty() ? "" : " ", name);
    if (!line.starts_with(label)) return {};
    line.remove_prefix(label.size());
    size_t count = 0;
    const auto [rest, error] =
        std::from_chars(line.data(), line.data() + line.size(), count);
    if (error != std::errc() || count == 0 ||
        (file.powers_of_two && !std::has_single_bit(count))) {
      return {};
    }
    line.remove_prefix(static_cast<size_t>(rest - line.data()));
    counts.push_back(count);
  }
  return line.empty() ? counts : std::vector<size_t>();
}

}  // namespace

std::string PrintCostTables(const CostFile& file, const CostTables& tables) {
  std::string text = fmt::format("{}\n{}", file.kind, file.identity);
  for (const auto& [counts, costs] : tables) {
    text += fmt::format("{}\n{}", PrintCounts(file, counts), costs.Print());
  }
  return text + "end\n";
}

StatusOr<CostTables> ParseCostTables(const CostFile& file,
                                     std::string_view text,
                                     const std::string& name) {
  const std::string kind = fmt::format("{}\n", file.kind);
  if (!text.starts_with(kind)) {
    return InvalidInput(fmt::format("{} {}", name, file.other_kind));
  }
  text.remove_prefix(kind.size());
  if (!text.starts_with(file.identity)) {
    return InvalidInput(fmt::format("{} {}", name, file.other_identity));
  }
  text.remove_prefix(file.identity.size());
  const auto damaged = [&name] {
    return InvalidInput(fmt::format("{} is damaged", name));
  };
  std::istringstream lines{std::string(text)};
  CostTables tables;
  std::vector<size_t> counts;
  std::string line, table;
  const auto finish = [&] {
    if (counts.empty()) return table.empty();
    auto costs = TileCosts::Parse(table);
    if (!costs.ok()) return false;
    table.clear();
    // Twice the same table is nothing that we write.
    return tables.emplace(counts, std::move(costs).value()).second;
  };
  const std::string begins = fmt::format("{} ", file.counts.front());
  bool ended = false;
  while (std::getline(lines, line)) {
    if (ended) return damaged();
    if (line == "end") {
      ended = true;
    } else if (line.starts_with(begins)) {
      if (!finish()) return damaged();
      counts = ParseCounts(file, line);
      if (counts.empty()) return damaged();
    } else {
      table += line + "\n";
    }
  }
  if (!ended || !finish()) return damaged();
  return tables;
}

StatusOr<CostTables> LoadCostTables(const CostFile& file,
                                    const std::filesystem::path& path) {
  LCSM_ASSIGN_OR_RETURN(const std::string text, io::ReadFile(path, kMaxBytes));
  return ParseCostTables(file, text, path.string());
}

Status SaveCostTables(const CostFile& file, const CostTables& tables,
                      const std::filesystem::path& path) {
  std::error_code error;
  if (path.has_parent_path()) {
    std::filesystem::create_directories(path.parent_path(), error);
  }
  if (error) {
    return InvalidInput(fmt::format("{}: the folder cannot be made ({})",
                                    path.parent_path().string(),
                                    error.message()));
  }
  return io::WriteFileAtomically(path, PrintCostTables(file, tables));
}

}  // namespace lcsm::conv
