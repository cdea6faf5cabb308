#include "option_parser.h"

#include <CLI/CLI.hpp>
#include <utility>

namespace lcsm::cli {

Check::Check(std::function<std::string(std::string&)> body)
    : validator_(std::make_shared<const CLI::Validator>(std::move(body), "")) {}
Check::Check(std::shared_ptr<const CLI::Validator> validator)
    : validator_(std::move(validator)) {}

Check OneOf(const std::vector<std::string>& values) {
  return Check(std::make_shared<const CLI::Validator>(CLI::IsMember(values)));
}

Check SizeInBytes() {
  return Check(std::make_shared<const CLI::Validator>(CLI::AsSizeValue(false)));
}

Option Option::type_name(const std::string& name) {
  return Option(option_->type_name(name));
}
Option Option::description(const std::string& text) {
  return Option(option_->description(text));
}
Option Option::group(const std::string& name) {
  return Option(option_->group(name));
}
Option Option::required() { return Option(option_->required()); }
Option Option::capture_default_str() {
  return Option(option_->capture_default_str());
}
Option Option::delimiter(char between) {
  return Option(option_->delimiter(between));
}
Option Option::allow_extra_args(bool allow) {
  return Option(option_->allow_extra_args(allow));
}
Option Option::check(const Check& check) {
  return Option(option_->check(*check.validator_));
}
Option Option::transform(const Check& check) {
  return Option(option_->transform(*check.validator_));
}
Option Option::excludes(const Option& other) {
  return Option(option_->excludes(other.option_));
}
Option Option::needs(const Option& other) {
  return Option(option_->needs(other.option_));
}

App App::add_subcommand(const std::string& name,
                        const std::string& description) {
  return App(app_->add_subcommand(name, description));
}
void App::require_subcommand() { app_->require_subcommand(1); }
void App::footer(const std::string& text) { app_->footer(text); }

Option App::add_option(const std::string& name, std::string& value,
                       const std::string& description) {
  return Option(app_->add_option(name, value, description));
}
Option App::add_option(const std::string& name, size_t& value,
                       const std::string& description) {
  return Option(app_->add_option(name, value, description));
}
Option App::add_option(const std::string& name, double& value,
                       const std::string& description) {
  return Option(app_->add_option(name, value, description));
}
Option App::add_option(const std::string& name,
                       std::optional<std::string>& value,
                       const std::string& description) {
  return Option(app_->add_option(name, value, description));
}
Option App::add_option(const std::string& name, std::optional<size_t>& value,
                       const std::string& description) {
  return Option(app_->add_option(name, value, description));
}
Option App::add_option(const std::string& name, std::optional<double>& value,
                       const std::string& description) {
  return Option(app_->add_option(name, value, description));
}
Option App::add_option(const std::string& name, std::vector<std::string>& value,
                       const std::string& description) {
  return Option(app_->add_option(name, value, description));
}
Option App::add_option(const std::string& name, std::vector<size_t>& value,
                       const std::string& description) {
  return Option(app_->add_option(name, value, description));
}
Option App::add_flag(const std::string& name, bool& value,
                     const std::string& description) {
  return Option(app_->add_flag(name, value, description));
}

Option App::get_option(const std::string& name) const {
  return Option(app_->get_option(name));
}
size_t App::count(const std::string& name) const { return app_->count(name); }
std::vector<std::string> App::given() const {
  std::vector<std::string> names;
  for (const CLI::Option* option : app_->get_options()) {
    if (option->count() != 0) names.push_back(option->get_name());
  }
  return names;
}
bool App::parsed() const { return app_->parsed(); }

}  // namespace lcsm::cli
