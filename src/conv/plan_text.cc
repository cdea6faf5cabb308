// Plans as text: written by Plan::Levels, read from files that people edit.
//
//   1x2 direct-blocked, 2x16 direct-blocked, 32 neighbours fft-fused,
//   32x8 distant fft-fused, 256 distant fft-fused
//
// A level is its block, x and the radix (none: to the end), whom it serves
// (siblings unless said), tau, and perhaps "remade" or "evaluated"; commas or
// line ends separate levels, # starts a comment.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "conv/plan.h"

namespace lcsm::conv {
namespace {

constexpr std::string_view kSpace = " \t\r";
// A plan of more levels than a 64-bit position has bits is none.
constexpr size_t kMaxLevels = 130;

const char* ServesName(Serves serves) {
  switch (serves) {
    case Serves::kSiblings:
      return "siblings";
    case Serves::kNeighbours:
      return "neighbours";
    case Serves::kDistant:
      return "distant";
  }
  return "?";
}

const char* SpectraName(Spectra spectra) {
  switch (spectra) {
    case Spectra::kKept:
      return "kept";
    case Spectra::kRemade:
      return "remade";
    case Spectra::kEvaluated:
      return "evaluated";
  }
  return "?";
}

// The next word of `text`, which loses it; empty at the end.
std::string_view NextWord(std::string_view& text) {
  const size_t begin = std::min(text.find_first_not_of(kSpace), text.size());
  const size_t end = std::min(text.find_first_of(kSpace, begin), text.size());
  const std::string_view word = text.substr(begin, end - begin);
  text.remove_prefix(end);
  return word;
}

bool ParseNumber(std::string_view text, size_t& value) {
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

// What a person sees of a word that may be anything.
std::string Quote(std::string_view word) {
  std::string quoted = "'";
  for (const char c : word.substr(0, 40)) {
    quoted += c >= ' ' && c <= '~' ? c : '?';
  }
  return quoted + "'";
}

StatusOr<Level> ParseLevel(std::string_view text, const std::string& where) {
  Level level;
  const std::string_view size = NextWord(text);
  const size_t x = size.find('x');
  level.radix = Level::kToTheEnd;
  if (!ParseNumber(size.substr(0, x), level.block) || level.block == 0 ||
      (x != std::string_view::npos &&
       (!ParseNumber(size.substr(x + 1), level.radix) || level.radix == 0))) {
    return InvalidInput(fmt::format(
        "{}: {} is no block size, expected one such as 32x8 (eight blocks of "
        "32) or 256 (to the end)",
        where, Quote(size)));
  }
  std::string_view word = NextWord(text);
  for (const Serves serves :
       {Serves::kSiblings, Serves::kNeighbours, Serves::kDistant}) {
    if (word == ServesName(serves)) {
      level.serves = serves;
      word = NextWord(text);
      break;
    }
  }
  const std::optional<Tau> tau = TauFromName(std::string(word));
  if (!tau.has_value() || *tau == Tau::kHybrid) {
    return InvalidInput(fmt::format(
        "{}: {} is no way to compute a tile, expected direct, direct-blocked, "
        "fft-library, fft-fused or fft-past",
        where, Quote(word)));
  }
  level.tau = *tau;
  word = NextWord(text);
  for (const Spectra spectra : {Spectra::kRemade, Spectra::kEvaluated}) {
    if (word == SpectraName(spectra)) {
      level.spectra = spectra;
      word = NextWord(text);
      break;
    }
  }
  if (!word.empty()) {
    return InvalidInput(
        fmt::format("{}: {} is not understood, expected "
                    "'remade', 'evaluated' or the end of the level",
                    where, Quote(word)));
  }
  return level;
}

}  // namespace

std::string Plan::Levels() const {
  std::string text;
  for (const Level& level : levels) {
    if (!text.empty()) text += ", ";
    text += std::to_string(level.block);
    if (level.radix != Level::kToTheEnd) {
      text += fmt::format("x{}", level.radix);
    }
    if (level.serves != Serves::kSiblings) {
      text += fmt::format(" {}", ServesName(level.serves));
    }
    text += fmt::format(" {}", Name(level.tau));
    if (level.spectra != Spectra::kKept) {
      text += fmt::format(" {}", SpectraName(level.spectra));
    }
  }
  return text;
}

StatusOr<std::vector<Level>> ParseLevels(std::string_view text,
                                         const std::string& name) {
  std::vector<Level> levels;
  size_t line_number = 0;
  while (!text.empty()) {
    ++line_number;
    const size_t line_end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, line_end);
    text.remove_prefix(std::min(line_end + 1, text.size()));
    line = line.substr(0, line.find('#'));
    while (!line.empty()) {
      const size_t end = std::min(line.find(','), line.size());
      const std::string_view piece = line.substr(0, end);
      line.remove_prefix(std::min(end + 1, line.size()));
      if (piece.find_first_not_of(kSpace) == std::string_view::npos) continue;
      if (levels.size() == kMaxLevels) {
        return InvalidInput(fmt::format(
            "{}: more than {} levels, expected a plan", name, kMaxLevels));
      }
      LCSM_ASSIGN_OR_RETURN(
          const Level level,
          ParseLevel(piece, fmt::format("{}, line {}", name, line_number)));
      levels.push_back(level);
    }
  }
  return levels;
}

}  // namespace lcsm::conv
