// A config.json: one JSON object, read field by field with checks.
//
// Every getter's error is a sentence with the file, the field, what was found
// and what was expected. A field may be a path into nested objects and lists,
// such as "layer.l_max" or "blocks.0.norm". A null counts as absent.
//
// Thread safety: immutable; copies share their contents.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lcsm/status.h"

namespace lcsm::io {

class ConfigJson {
 public:
  // Errors: unreadable, larger than 16 MiB, not JSON (with line and column), a
  // key given twice, nested deeper than 64, not an object.
  static StatusOr<ConfigJson> Read(const std::filesystem::path& file);
  // `file` is for messages only.
  static StatusOr<ConfigJson> Parse(std::string_view text,
                                    const std::string& file);

  bool Has(std::string_view field) const;

  // Must be there, be a whole number (16.0 counts) and lie in [lo, hi].
  StatusOr<int64_t> GetInt(std::string_view field, int64_t lo,
                           int64_t hi) const;
  // `fallback` if absent; wrong if there and wrong.
  StatusOr<int64_t> GetIntOr(std::string_view field, int64_t fallback,
                             int64_t lo, int64_t hi) const;
  // Finite numbers only.
  StatusOr<double> GetNumber(std::string_view field) const;
  StatusOr<double> GetNumberOr(std::string_view field, double fallback) const;
  StatusOr<bool> GetBool(std::string_view field) const;
  StatusOr<bool> GetBoolOr(std::string_view field, bool fallback) const;
  StatusOr<std::string> GetString(std::string_view field) const;
  StatusOr<std::string> GetStringOr(std::string_view field,
                                    std::string_view fallback) const;
  // One of `allowed`.
  StatusOr<std::string> GetChoiceOr(
      std::string_view field, std::string_view fallback,
      const std::vector<std::string_view>& allowed) const;
  // Keys of the object at `field` ("" for the whole), sorted; none if it is not
  // an object.
  std::vector<std::string> Keys(std::string_view field) const;

  bool IsList(std::string_view field) const;
  // Its elements' number; they are "FIELD.0", "FIELD.1", ... Must be a list.
  StatusOr<size_t> ListSize(std::string_view field) const;

  // An InvalidInput sentence about a field in the getters' form: "FILE: FIELD
  // is FOUND, expected EXPECTED", for checks that span fields.
  Status Wrong(std::string_view field, std::string_view expected) const;

  const std::string& file() const { return file_; }
  // Canonical text (sorted keys, two spaces), e.g. to show or to hash.
  std::string Dump() const;

 private:
  ConfigJson() = default;

  struct Rep;
  std::shared_ptr<const Rep> rep_;
  std::string file_;
};

}  // namespace lcsm::io
