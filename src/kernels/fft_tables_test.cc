#include "kernels/fft_tables.h"

#include <gtest/gtest.h>

#include <complex>
#include <numbers>

namespace lcsm {
namespace {

// r^4 of a block must be the c that its parent gave it, starting from c = i.
TEST(FftTablesTest, RootsAreFourthRootsOfTheParentsConstants) {
  using C = std::complex<double>;
  for (size_t block = FftTables::kMinBlock; block <= 4096; block *= 2) {
    const FftTables tables(block);
    const double h = FftTables::kHalf;
    std::vector<C> constants = {C(0, 1)};
    if (tables.starts_with_two()) constants = {C(h, h), C(-h, -h)};
    size_t points = block / constants.size();
    for (size_t depth = 0; depth < tables.depths(); ++depth, points /= 4) {
      std::vector<C> children;
      for (size_t b = 0; b < constants.size(); ++b) {
        const float* p = tables.Roots(depth) + 6 * b;
        const C r(p[0], p[1]), r2(p[2], p[3]), r3(p[4], p[5]);
        EXPECT_LT(std::abs(r * r - r2), 3e-7);
        EXPECT_LT(std::abs(r * r * r - r3), 3e-7);
        EXPECT_LT(std::abs(r * r * r * r - constants[b]), 5e-7)
            << block << " " << depth;
        for (const C& turn : {C(1, 0), C(0, 1), C(-1, 0), C(0, -1)})
          children.push_back(r * turn);
      }
      constants = children;
    }
    EXPECT_EQ(points, 1u);
    EXPECT_EQ(constants.size(), block);  // All U roots of x^U = i, each once:
    std::vector<bool> seen(block, false);
    for (const C& root : constants) {
      double k =
          (std::arg(root) * static_cast<double>(block) - std::numbers::pi / 2) /
          (2 * std::numbers::pi);
      const long index = std::lround(k) + 2 * static_cast<long>(block);
      EXPECT_FALSE(seen[index % block]);
      seen[index % block] = true;
    }
  }
}

}  // namespace
}  // namespace lcsm
