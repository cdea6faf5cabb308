#include "help_formatter.h"

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace lcsm::cli {
namespace {

constexpr size_t kColumns = 79;
constexpr size_t kIndent = 26;  // Of the descriptions.

// What to write after the option's name: the values where they are a list, else
// what the value is called. CLI11 puts checks after a colon.
std::string ValueName(const CLI::Option& option) {
  if (option.get_type_size() == 0) return "";  // A flag.
  const std::string type = option.get_type_name();
  const size_t brace = type.find(":{");
  if (brace != std::string::npos) {
    std::string values = type.substr(brace + 2);
    if (!values.empty() && values.back() == '}') values.pop_back();
    for (char& c : values) {
      if (c == ',') c = '|';
    }
    return values;
  }
  std::string name = type.substr(0, type.find(':'));
  if (name == "UINT" || name == "INT") return "N";
  if (name == "FLOAT") return "X";
  return name;
}

// Words of `text` from column kIndent on, broken before kColumns. The first
// line continues `out` at `column`.
void AppendWrapped(std::string_view text, size_t column, std::string* out) {
  const auto new_line = [&] {
    *out += "\n" + std::string(kIndent, ' ');
    column = kIndent;
  };
  if (column >= kIndent) {
    new_line();
  } else {
    out->append(kIndent - column, ' ');
    column = kIndent;
  }
  while (!text.empty()) {
    const size_t space = text.find(' ');
    const std::string_view word = text.substr(0, space);
    if (column > kIndent && column + 1 + word.size() > kColumns) new_line();
    if (column > kIndent) {
      *out += ' ';
      ++column;
    }
    *out += word;
    column += word.size();
    text.remove_prefix(space == std::string_view::npos ? text.size()
                                                       : space + 1);
  }
  *out += '\n';
}

}  // namespace

std::string FullName(const CLI::App& app) {
  const CLI::App* const parent = app.get_parent();
  return parent == nullptr ? app.get_name()
                           : FullName(*parent) + " " + app.get_name();
}

std::string HelpFormatter::make_help(const CLI::App* app, std::string name,
                                     CLI::AppFormatMode mode) const {
  std::string help = CLI::Formatter::make_help(app, std::move(name), mode);
  // One empty line between groups is enough.
  for (size_t at; (at = help.find("\n\n\n")) != std::string::npos;) {
    help.erase(at, 1);
  }
  return help;
}

std::string HelpFormatter::make_option(const CLI::Option* option,
                                       bool is_positional) const {
  const std::string value = ValueName(*option);
  std::string line = "  ";
  if (is_positional) {
    line += value.empty() ? option->get_name(true) : value;
  } else {
    line += option->get_name();
    if (!value.empty()) line += " " + value;
  }
  std::string description = option->get_description();
  std::string standard = option->get_default_str();
  // A list, which is written without the brackets.
  if (option->get_items_expected_max() > 1 && standard.size() >= 2 &&
      standard.front() == '[' && standard.back() == ']') {
    standard = standard.substr(1, standard.size() - 2);
  }
  if (!standard.empty()) {
    description += fmt::format(" (default: {})", standard);
  } else if (option->get_required() && !is_positional) {
    description += " (required)";
  }
  AppendWrapped(description, line.size(), &line);
  return line;
}

std::string HelpFormatter::make_subcommand(const CLI::App* command) const {
  std::string line = "  " + command->get_name();
  AppendWrapped(command->get_description(), line.size(), &line);
  return line;
}

std::string HelpFormatter::make_usage(const CLI::App* app,
                                      std::string name) const {
  std::string usage = "\nUsage: " + FullName(*app);
  const bool commands = !app->get_subcommands({}).empty();
  for (const CLI::Option* option : app->get_options(
           [](const CLI::Option* o) { return o->get_positional(); })) {
    usage += " " + ValueName(*option);
  }
  return usage + (commands ? " COMMAND [OPTIONS]\n" : " [OPTIONS]\n");
}

}  // namespace lcsm::cli
