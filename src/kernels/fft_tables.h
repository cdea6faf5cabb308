// Roots of unity for the tile transform (design 4): products modulo x^(2U) + 1
// as complex transforms of length U.
//
// Over the reals, R[x]/(x^(2U) + 1) is C[x]/(x^U - i): a real sequence h of
// length 2U becomes the complex h[n] + i h[n+U], a real x of length U is
// itself, and the upper half of the product is the imaginary part. We do not
// twist by powers of zeta and then take an ordinary transform; we split the
// ring directly, x^n - c = prod_k (x^(n/4) - i^k r) with r^4 = c, from c = i
// down. Each polynomial's coefficients are then multiplied by powers of one r
// that belongs to the *block*, not to the position, so that the roots of a
// block stay in registers while its coefficients stream by, and the twist is
// not a pass of its own but part of the roots. (The same idea serves the
// negacyclic number-theoretic transforms of lattice cryptography: Seiler, IACR
// ePrint 2018/039.)
#pragma once

#include <bit>
#include <cstddef>
#include <vector>

namespace lcsm {

// Immutable after construction; shared by threads.
class FftTables {
 public:
  // Smallest and largest supported transform; below kMinBlock there is nothing
  // to split.
  static constexpr size_t kMinBlock = 8;
  static constexpr size_t kMaxBlock = size_t{1} << 24;

  // block = U: a power of two in [kMinBlock, kMaxBlock].
  explicit FftTables(size_t block);

  size_t block() const { return block_; }
  // Odd log2(U): the first pass splits in two, all others in four.
  bool starts_with_two() const { return std::countr_zero(block_) % 2 == 1; }
  // r = exp(i pi/4), for the pass that splits in two.
  static constexpr float kHalf = 0.70710678118654752f;

  // Number of radix-4 passes, the last of which works on blocks of 4.
  size_t depths() const { return roots_.size(); }
  // At each depth, for each block in order: re and im of r, r^2, r^3 (6
  // floats).
  const float* Roots(size_t depth) const { return roots_[depth].data(); }

  // Floats of one group's spectrum. (A tile's scratch is
  // TileKernels::FftScratchFloats.)
  size_t SpectrumFloats() const { return 2 * block_ * 16; }

 private:
  size_t block_;
  std::vector<std::vector<float>> roots_;
};

}  // namespace lcsm
