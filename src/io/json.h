// JSON from untrusted bytes. For the .cc files of io: keeps nlohmann's headers
// out of everybody else's compile.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "lcsm/status.h"

namespace lcsm::io {

// Stricter than the library: a key given twice in an object is an error, and so
// is nesting deeper than `max_depth` (copying and printing a document recurse).
// `file` is for messages only. Throws nothing but std::bad_alloc.
StatusOr<nlohmann::json> ParseJson(std::string_view text,
                                   const std::string& file,
                                   size_t max_depth = 64);

// A value for a message: `"text"`, `12`, `an object`.
std::string DescribeJson(const nlohmann::json& value);

}  // namespace lcsm::io
