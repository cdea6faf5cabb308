#include "base/byte_text.h"

#include <fmt/format.h>

#include <iterator>

namespace lcsm {

std::string ByteText(size_t bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(units)) {
    value /= 1024;
    ++unit;
  }
  if (unit == 0) return fmt::format("{} B", bytes);
  // A tenth of a GiB is too much to call the same.
  return fmt::format("{:.{}f} {}", value, unit < 3 ? 1 : 2, units[unit]);
}

}  // namespace lcsm
