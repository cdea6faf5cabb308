// Which tokens may be generated when the user names characters.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "io/tokenizer.h"
#include "lcsm/status.h"

namespace lcsm::api {

// Ids of all tokens, special ones left out, whose text is made of nothing but
// characters of `characters` (UTF-8). A token that is a part of a character, as
// those of a byte-level model are, is allowed where each of its bytes occurs.
// Error: there is none.
StatusOr<std::vector<int32_t>> AllowedIds(const io::Tokenizer& tokenizer,
                                          std::string_view characters);

}  // namespace lcsm::api
