// Finds the first of several texts in a growing one, and says how much of its
// end may still become one.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace lcsm {

// Immutable; may be shared by threads.
class StopMatcher {
 public:
  static constexpr size_t kNone = static_cast<size_t>(-1);

  // No text may be empty.
  explicit StopMatcher(std::vector<std::string> stops);

  // `text` had no match before its bytes from `grown_from` on came. Offset of
  // the match that begins first, kNone if there is none.
  size_t Find(std::string_view text, size_t grown_from) const;

  // Length of the longest end of `text` (without a match) that is a proper
  // beginning of a stop text: the bytes to hold back.
  size_t HoldBack(std::string_view text) const;

  bool empty() const { return stops_.empty(); }

 private:
  std::vector<std::string> stops_;
  size_t longest_ = 0;
};

}  // namespace lcsm
