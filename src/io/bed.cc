#include "io/bed.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>
#include <utility>

#include "io/errors.h"

namespace lcsm::io {
namespace {

constexpr size_t kMaxLineBytes = size_t{1} << 20;
constexpr size_t kColumns = 4;  // Those that are read.

struct Columns {
  std::array<std::string_view, kColumns> text;
  size_t count = 0;  // At most kColumns.
};

Columns Split(std::string_view line) {
  Columns columns;
  const bool tabs = line.find('\t') != std::string_view::npos;
  while (columns.count < kColumns) {
    if (!tabs) {
      line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
      if (line.empty()) break;
    }
    const size_t end = line.find(tabs ? '\t' : ' ');
    columns.text[columns.count++] = line.substr(0, end);
    if (end == std::string_view::npos) break;
    line.remove_prefix(end + 1);
  }
  return columns;
}

bool IsRemark(std::string_view line) {
  const std::string_view word = line.substr(0, line.find_first_of(" \t"));
  return line.starts_with('#') || word == "track" || word == "browser";
}

bool ParseWhole(std::string_view text, uint64_t* value) {
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, *value);
  return error == std::errc() && rest == end;
}

StatusOr<BedRegion> ParseLine(std::string_view line, const std::string& where) {
  const Columns columns = Split(line);
  if (columns.count < 3) {
    return InvalidInput(
        fmt::format("{} has {} column{}, expected a sequence's name, a begin "
                    "and an end",
                    where, columns.count, columns.count == 1 ? "" : "s"));
  }
  BedRegion region;
  region.chrom = columns.text[0];
  if (region.chrom.empty()) {
    return InvalidInput(where +
                        " has an empty first column, expected the name "
                        "of a sequence");
  }
  for (const size_t column : {size_t{1}, size_t{2}}) {
    uint64_t& value = column == 1 ? region.begin : region.end;
    if (!ParseWhole(columns.text[column], &value)) {
      return InvalidInput(
          fmt::format("{} has {} in column {}, expected a "
                      "position (a whole number from 0 up)",
                      where, Quoted(columns.text[column]), column + 1));
    }
  }
  if (region.begin >= region.end) {
    return InvalidInput(
        fmt::format("{} goes from {} to {}, expected an end after the begin",
                    where, region.begin, region.end));
  }
  const std::string_view name =
      columns.count > 3 ? columns.text[3] : std::string_view();
  region.name =
      name.empty() || name == "."
          ? fmt::format("{}:{}-{}", region.chrom, region.begin, region.end)
          : std::string(name);
  return region;
}

StatusOr<std::vector<BedRegion>> ReadLines(TextSource& text) {
  std::vector<BedRegion> regions;
  std::string_view line;
  for (;;) {
    LCSM_ASSIGN_OR_RETURN(const bool more, text.Next(&line, kMaxLineBytes));
    if (!more) break;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos ||
        IsRemark(line)) {
      continue;
    }
    LCSM_ASSIGN_OR_RETURN(BedRegion region, ParseLine(line, text.At()));
    region.line = text.line();
    regions.push_back(std::move(region));
  }
  if (regions.empty()) {
    return InvalidInput(text.name() +
                        ": holds no regions, expected lines of a sequence's "
                        "name, a begin and an end");
  }
  return regions;
}

}  // namespace

StatusOr<std::vector<BedRegion>> ReadBed(TextSource& text) {
  return CatchAll(text.name(), [&] { return ReadLines(text); });
}

}  // namespace lcsm::io
