#include "kernels/fft_tables.h"

#include <cassert>
#include <cmath>
#include <numbers>

namespace lcsm {

FftTables::FftTables(size_t block) : block_(block) {
  assert(std::has_single_bit(block) && block >= kMinBlock &&
         block <= kMaxBlock);
  // Angles of c for the blocks of the present depth, in units of 2 pi. Kept in
  // [0, 1): r is the fourth root with angle / 4, its siblings follow by quarter
  // turns. Exact: dyadic fractions.
  std::vector<double> angles = {0.25};  // c = i.
  size_t n = block;
  if (starts_with_two()) {
    angles = {0.125, 0.625};
    n /= 2;
  }
  for (; n >= 4; n /= 4) {
    std::vector<float> roots;
    std::vector<double> children;
    roots.reserve(6 * angles.size());
    children.reserve(4 * angles.size());
    for (const double angle : angles) {
      const double r = angle / 4;
      for (int power = 1; power <= 3; ++power) {
        const double phase = 2 * std::numbers::pi * (r * power);
        roots.push_back(static_cast<float>(std::cos(phase)));
        roots.push_back(static_cast<float>(std::sin(phase)));
      }
      for (int k = 0; k < 4; ++k) children.push_back(r + 0.25 * k);
    }
    roots_.push_back(std::move(roots));
    angles = std::move(children);
  }
}

}  // namespace lcsm
