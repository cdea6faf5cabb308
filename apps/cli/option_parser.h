// The option parser as subcommands see it: CLI11 behind plain functions.
//
// Only option_parser.cc and what shapes help and errors include CLI11's own
// header, which takes ten seconds to compile wherever options are declared
// through it. The functions are CLI11's, by their names there.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
class Validator;
}  // namespace CLI

namespace lcsm::cli {

// Looks at a value before it is stored.
class Check {
 public:
  // `body` may rewrite the text, and answers what is wrong with it, or nothing.
  explicit Check(std::function<std::string(std::string& text)> body);

 private:
  friend class Option;
  friend Check OneOf(const std::vector<std::string>& values);
  friend Check SizeInBytes();
  explicit Check(std::shared_ptr<const CLI::Validator> validator);
  std::shared_ptr<const CLI::Validator> validator_;
};
Check OneOf(const std::vector<std::string>& values);
// "500M", "20GiB": becomes a number of bytes.
Check SizeInBytes();

// One option of a subcommand, which owns it. A handle, to be copied.
class Option {
 public:
  Option* operator->() { return this; }

  Option type_name(const std::string& name);
  Option description(const std::string& text);
  Option group(const std::string& name);
  Option required();
  Option capture_default_str();
  Option delimiter(char between);
  Option allow_extra_args(bool allow);
  Option check(const Check& check);
  Option transform(const Check& check);
  Option excludes(const Option& other);
  Option needs(const Option& other);

 private:
  friend class App;
  explicit Option(CLI::Option* option) : option_(option) {}
  CLI::Option* option_;
};

// A command with its options and subcommands. A handle, to be copied.
class App {
 public:
  explicit App(CLI::App* app) : app_(app) {}
  App* operator->() { return this; }
  const App* operator->() const { return this; }
  App& operator*() { return *this; }
  CLI::App& parser() const { return *app_; }

  App add_subcommand(const std::string& name, const std::string& description);
  void require_subcommand();
  void footer(const std::string& text);

  // `value` is set while the line is parsed and must outlive that.
  Option add_option(const std::string& name, std::string& value,
                    const std::string& description);
  Option add_option(const std::string& name, size_t& value,
                    const std::string& description);
  Option add_option(const std::string& name, double& value,
                    const std::string& description);
  Option add_option(const std::string& name, std::optional<std::string>& value,
                    const std::string& description);
  Option add_option(const std::string& name, std::optional<size_t>& value,
                    const std::string& description);
  Option add_option(const std::string& name, std::optional<double>& value,
                    const std::string& description);
  Option add_option(const std::string& name, std::vector<std::string>& value,
                    const std::string& description);
  Option add_option(const std::string& name, std::vector<size_t>& value,
                    const std::string& description);
  Option add_flag(const std::string& name, bool& value,
                  const std::string& description);

  Option get_option(const std::string& name) const;
  // How often it was given.
  size_t count(const std::string& name) const;
  // Names of the options that were given.
  std::vector<std::string> given() const;
  bool parsed() const;

 private:
  CLI::App* app_;
};

}  // namespace lcsm::cli
