// How --help looks: CLI11's own form, less its clutter (types of C++, lists of
// excluded options), with lines that fit a terminal.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace lcsm::cli {

// "lcsm bench mixer".
std::string FullName(const CLI::App& app);

class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode mode) const override;
  std::string make_option(const CLI::Option* option,
                          bool is_positional) const override;
  std::string make_subcommand(const CLI::App* command) const override;
  std::string make_usage(const CLI::App* app, std::string name) const override;
};

}  // namespace lcsm::cli
