#include "runtime/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace lcsm {

StopMatcher::StopMatcher(std::vector<std::string> stops)
    : stops_(std::move(stops)) {
  for (const std::string& stop : stops_) {
    longest_ = std::max(longest_, stop.size());
  }
}

size_t StopMatcher::Find(std::string_view text, size_t grown_from) const {
  size_t first = kNone;
  for (const std::string& stop : stops_) {
    // A new match ends in the new bytes.
    const size_t from =
        grown_from >= stop.size() ? grown_from - stop.size() + 1 : 0;
    first = std::min(first, text.find(stop, from));
  }
  return first;
}

size_t StopMatcher::HoldBack(std::string_view text) const {
  if (stops_.empty()) return 0;
  for (size_t n = std::min(text.size(), longest_ - 1); n > 0; --n) {
    const std::string_view end = text.substr(text.size() - n);
    for (const std::string& stop : stops_) {
      if (stop.size() > n && stop.compare(0, n, end) == 0) return n;
    }
  }
  return 0;
}

}  // namespace lcsm
