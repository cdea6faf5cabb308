#include "api/allowed_ids.h"

#include <algorithm>
#include <array>
#include <set>
#include <string>

namespace lcsm::api {
namespace {

// Length of the character that begins at `text`, 0 if it is no whole one. Only
// the shape is looked at: what counts is which bytes belong together.
size_t CharacterLength(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  const size_t length = first < 0x80   ? 1
                        : first < 0xc0 ? 0
                        : first < 0xe0 ? 2
                        : first < 0xf0 ? 3
                                       : 4;
  if (length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) return 0;
  }
  return length;
}

class Allowed {
 public:
  explicit Allowed(std::string_view characters) {
    for (const char c : characters)
      bytes_[static_cast<unsigned char>(c)] = true;
    while (!characters.empty()) {
      const size_t length = std::max<size_t>(CharacterLength(characters), 1);
      characters_.emplace(characters.substr(0, length));
      characters.remove_prefix(length);
    }
  }

  bool Permits(std::string_view token) const {
    bool whole = true;
    for (std::string_view rest = token; !rest.empty();) {
      const size_t length = CharacterLength(rest);
      if (length == 0) {
        whole = false;
        break;
      }
      if (characters_.count(std::string(rest.substr(0, length))) == 0) {
        return false;
      }
      rest.remove_prefix(length);
    }
    if (whole) return !token.empty();
    for (const char c : token) {
      if (!bytes_[static_cast<unsigned char>(c)]) return false;
    }
    return true;
  }

 private:
  std::array<bool, 256> bytes_ = {};
  std::set<std::string> characters_;
};

}  // namespace

StatusOr<std::vector<int32_t>> AllowedIds(const io::Tokenizer& tokenizer,
                                          std::string_view characters) {
  const Allowed allowed(characters);
  std::vector<int32_t> ids;
  const auto size = static_cast<int32_t>(tokenizer.vocab_size());
  for (int32_t id = 0; id < size; ++id) {
    if (!tokenizer.IsSpecial(id) && allowed.Permits(tokenizer.TokenBytes(id))) {
      ids.push_back(id);
    }
  }
  if (ids.empty()) {
    return InvalidInput("the model has no token made of the characters \"" +
                        std::string(characters) + "\"");
  }
  return ids;
}

}  // namespace lcsm::api
