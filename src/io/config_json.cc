#include "io/config_json.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <system_error>

#include "io/atomic_file.h"
#include "io/errors.h"
#include "io/json.h"

namespace lcsm::io {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxBytes = size_t{16} << 20;

// Null if absent; a JSON null counts as absent.
const Json* Locate(const Json& root, std::string_view field) {
  const Json* at = &root;
  while (!field.empty()) {
    const size_t dot = field.find('.');
    const std::string_view name = field.substr(0, dot);
    field.remove_prefix(dot == std::string_view::npos ? field.size() : dot + 1);
    if (at->is_array()) {
      size_t index = 0;
      const auto [end, error] =
          std::from_chars(name.data(), name.data() + name.size(), index);
      if (error != std::errc() || end != name.data() + name.size() ||
          index >= at->size() || (*at)[index].is_null()) {
        return nullptr;
      }
      at = &(*at)[index];
      continue;
    }
    if (!at->is_object()) return nullptr;
    const auto it = at->find(std::string(name));
    if (it == at->end() || it->is_null()) return nullptr;
    at = &*it;
  }
  return at;
}

// A whole number, also when written 16.0 or 1e3. False if it is none or does
// not fit.
bool WholeNumber(const Json& value, int64_t* out) {
  if (value.is_number_unsigned()) {
    const uint64_t n = value.get<uint64_t>();
    if (n > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      return false;
    *out = static_cast<int64_t>(n);
    return true;
  }
  if (value.is_number_integer()) {
    *out = value.get<int64_t>();
    return true;
  }
  if (!value.is_number_float()) return false;
  const double x = value.get<double>();
  if (x != std::floor(x) || std::abs(x) > 9007199254740992.0) return false;
  *out = static_cast<int64_t>(x);
  return true;
}

// Most fields are names of ours, but some come from the file: whatever stands
// in them, a message stays one line.
std::string FieldName(std::string_view field) {
  std::string quoted = Quoted(field, 200);
  const std::string_view inside(quoted.data() + 1, quoted.size() - 2);
  return inside == field ? std::string(field) : quoted;
}

}  // namespace

struct ConfigJson::Rep {
  Json root;
};

StatusOr<ConfigJson> ConfigJson::Read(const std::filesystem::path& file) {
  LCSM_ASSIGN_OR_RETURN(const std::string text, ReadFile(file, kMaxBytes));
  return Parse(text, file.string());
}

StatusOr<ConfigJson> ConfigJson::Parse(std::string_view text,
                                       const std::string& file) {
  LCSM_ASSIGN_OR_RETURN(Json root, ParseJson(text, file));
  if (!root.is_object()) {
    return InvalidInput(fmt::format("{}: holds {}, expected a JSON object",
                                    file, DescribeJson(root)));
  }
  ConfigJson config;
  config.rep_ = std::make_shared<const Rep>(Rep{std::move(root)});
  config.file_ = file;
  return config;
}

bool ConfigJson::Has(std::string_view field) const {
  return Locate(rep_->root, field) != nullptr;
}

Status ConfigJson::Wrong(std::string_view field,
                         std::string_view expected) const {
  const Json* value = Locate(rep_->root, field);
  return InvalidInput(fmt::format(
      "{}: {} is {}, expected {}", file_, FieldName(field),
      value == nullptr ? "missing" : DescribeJson(*value), expected));
}

StatusOr<int64_t> ConfigJson::GetInt(std::string_view field, int64_t lo,
                                     int64_t hi) const {
  const Json* value = Locate(rep_->root, field);
  int64_t n = 0;
  if (value == nullptr || !WholeNumber(*value, &n) || n < lo || n > hi) {
    return Wrong(field,
                 hi == std::numeric_limits<int64_t>::max()
                     ? fmt::format("a whole number from {} on", lo)
                     : fmt::format("a whole number from {} to {}", lo, hi));
  }
  return n;
}

StatusOr<int64_t> ConfigJson::GetIntOr(std::string_view field, int64_t fallback,
                                       int64_t lo, int64_t hi) const {
  if (!Has(field)) return fallback;
  return GetInt(field, lo, hi);
}

StatusOr<double> ConfigJson::GetNumber(std::string_view field) const {
  const Json* value = Locate(rep_->root, field);
  if (value == nullptr || !value->is_number()) return Wrong(field, "a number");
  return value->get<double>();  // The parser refuses what overflows.
}

StatusOr<double> ConfigJson::GetNumberOr(std::string_view field,
                                         double fallback) const {
  if (!Has(field)) return fallback;
  return GetNumber(field);
}

StatusOr<bool> ConfigJson::GetBool(std::string_view field) const {
  const Json* value = Locate(rep_->root, field);
  if (value == nullptr || !value->is_boolean())
    return Wrong(field, "true or false");
  return value->get<bool>();
}

StatusOr<bool> ConfigJson::GetBoolOr(std::string_view field,
                                     bool fallback) const {
  if (!Has(field)) return fallback;
  return GetBool(field);
}

StatusOr<std::string> ConfigJson::GetString(std::string_view field) const {
  const Json* value = Locate(rep_->root, field);
  if (value == nullptr || !value->is_string()) return Wrong(field, "a string");
  return value->get<std::string>();
}

StatusOr<std::string> ConfigJson::GetStringOr(std::string_view field,
                                              std::string_view fallback) const {
  if (!Has(field)) return std::string(fallback);
  return GetString(field);
}

StatusOr<std::string> ConfigJson::GetChoiceOr(
    std::string_view field, std::string_view fallback,
    const std::vector<std::string_view>& allowed) const {
  const Json* value = Locate(rep_->root, field);
  if (value == nullptr) return std::string(fallback);
  if (value->is_string()) {
    for (std::string_view choice : allowed) {
      if (value->get_ref<const std::string&>() == choice) {
        return std::string(choice);
      }
    }
  }
  return Wrong(field, fmt::format("\"{}\"", fmt::join(allowed, "\" or \"")));
}

std::vector<std::string> ConfigJson::Keys(std::string_view field) const {
  std::vector<std::string> keys;
  const Json* value = Locate(rep_->root, field);
  if (value == nullptr || !value->is_object()) return keys;
  for (const auto& item : value->items()) keys.push_back(item.key());
  return keys;
}

bool ConfigJson::IsList(std::string_view field) const {
  const Json* value = Locate(rep_->root, field);
  return value != nullptr && value->is_array();
}

StatusOr<size_t> ConfigJson::ListSize(std::string_view field) const {
  const Json* value = Locate(rep_->root, field);
  if (value == nullptr || !value->is_array()) return Wrong(field, "a list");
  return value->size();
}

std::string ConfigJson::Dump() const { return rep_->root.dump(2); }

}  // namespace lcsm::io
