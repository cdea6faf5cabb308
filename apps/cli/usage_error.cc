#include "usage_error.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace lcsm::cli {
namespace {

// Letters to add, drop or change to make one of the other (Levenshtein).
size_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, change});
    }
  }
  return row.back();
}

// " (did you mean X?)" for the nearest of `known` if it is near, or "".
std::string Meant(const std::string& wrong,
                  const std::vector<std::string>& known) {
  std::string best;
  size_t distance = 3;  // Two slips; more is another word.
  for (const std::string& name : known) {
    const size_t d = EditDistance(wrong, name);
    if (d < distance) {
      distance = d;
      best = name;
    }
  }
  return best.empty() ? "" : fmt::format(" (did you mean {}?)", best);
}

std::string WrongCommand(const std::vector<std::string>& extra,
                         const std::vector<std::string>& commands) {
  std::string expected =
      fmt::format("expected a command: {}", fmt::join(commands, ", "));
  if (extra.empty()) return expected;
  if (extra[0].rfind('-', 0) == 0) {
    return fmt::format("there is no option {} here, {}", extra[0], expected);
  }
  const std::string meant = Meant(extra[0], commands);
  return fmt::format("there is no command {}{}", extra[0],
                     meant.empty() ? ", " + expected : meant);
}

}  // namespace

std::string UsageSentence(const CLI::App& app, const CLI::Error& error) {
  const std::vector<std::string> extra = app.remaining();
  std::vector<std::string> commands;
  for (const CLI::App* command : app.get_subcommands({})) {
    commands.push_back(command->get_name());
  }
  if (!commands.empty()) return WrongCommand(extra, commands);
  if (dynamic_cast<const CLI::ExtrasError*>(&error) == nullptr ||
      extra.empty()) {
    return error.what();
  }
  if (extra[0].rfind('-', 0) != 0) {
    return fmt::format("{} belongs to no option", extra[0]);
  }
  std::vector<std::string> options;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      options.push_back("--" + name);
    }
  }
  const std::string wrong = extra[0].substr(0, extra[0].find('='));
  return fmt::format("there is no option {}{}", wrong, Meant(wrong, options));
}

}  // namespace lcsm::cli
