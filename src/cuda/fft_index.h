// The transform of design 4 for blocks of U positions on the device: which
// passes it has, which elements and roots each butterfly meets.
//
// The ring C[x]/(x^U - i) is split as in kernels/fft_tables.h: x^n - c into
// four factors x^(n/4) - i^k r with r^4 = c, and so on down to single points. A
// pass does up to two such splits (and, where log2 U is odd, first one in two)
// on 2 to 16 elements in registers. Elements stay where they are, so there is
// no permutation, and the order of a spectrum is that of the blocks.
//
// Pure functions; the roots are those of FftTables, brought to the device once.
#pragma once

#include "cuda/portable.h"

namespace lcsm::cuda {

struct FftPass {
  uint8_t two = 0;    // Begins with a split in two; only the first pass does.
  uint8_t fours = 0;  // Splits in four, at most 2.
  uint8_t depth = 0;  // Of the first split in four, as FftTables counts.
  uint8_t log_n = 0;  // Blocks that come in have this length.
  LCSM_HD int LogSize() const { return two + 2 * fours; }
};

struct FftPasses {
  static constexpr int kMax = 8;
  int count = 0;
  int log_u = 0;
  FftPass pass[kMax];
};

// 3 <= log_u <= 24.
LCSM_HD FftPasses MakeFftPasses(int log_u) {
  FftPasses passes;
  passes.log_u = log_u;
  const int odd = log_u % 2, depths = (log_u - odd) / 2;
  int depth = 0, log_n = log_u;
  while (depth < depths) {
    FftPass pass;
    pass.two = static_cast<uint8_t>(depth == 0 ? odd : 0);
    // With the split in two: 8 elements and not 32, which would not fit into
    // registers beside their roots.
    pass.fours =
        static_cast<uint8_t>(pass.two != 0 || depths - depth < 2 ? 1 : 2);
    pass.depth = static_cast<uint8_t>(depth);
    pass.log_n = static_cast<uint8_t>(log_n);
    depth += pass.fours;
    log_n -= pass.LogSize();
    passes.pass[passes.count++] = pass;
  }
  return passes;
}

// Passes that must come before blocks are at most 2^log_fit long.
LCSM_HD int PassesBefore(const FftPasses& passes, int log_fit) {
  int first = 0;
  while (first < passes.count && passes.pass[first].log_n > log_fit) ++first;
  return first;
}

// Blocks that come into the splits at `depth`, and floats of all roots before
// those: six for each block, re and im of r, r^2, r^3.
LCSM_HD uint64_t BlocksAt(int log_u, int depth) {
  return uint64_t{1} << (log_u % 2 + 2 * depth);
}
LCSM_HD uint64_t RootsBefore(int log_u, int depth) {
  const uint64_t top = uint64_t{1} << (log_u % 2);
  return 2 * top * ((uint64_t{1} << (2 * depth)) - 1);
}

// Butterfly `id` of a pass over blocks of 2^pass.log_n: element j is at
// First() + j * Stride(), counted from the first of the whole transform.
struct ButterflyPlace {
  uint64_t block = 0, first = 0, stride = 0;
};
LCSM_HD ButterflyPlace PlaceOf(const FftPass& pass, uint64_t id) {
  const int log_stride = pass.log_n - pass.LogSize();
  ButterflyPlace place;
  place.stride = uint64_t{1} << log_stride;
  place.block = id >> log_stride;
  place.first = (place.block << pass.log_n) + (id & (place.stride - 1));
  return place;
}

// At an even place among the roots.
LCSM_HD Complex LoadComplex(const float* p) {
#if defined(__CUDA_ARCH__)
  const float2 w = *reinterpret_cast<const float2*>(p);
  return {w.x, w.y};
#else
  return {p[0], p[1]};
#endif
}

// All splits of `kBlocks` blocks side by side in a[kSize] in four each.
template <int kSize, int kBlocks>
LCSM_HD void SplitInFour(const float* roots, Complex* a) {
  constexpr int kQuarter = kSize / kBlocks / 4;
  LCSM_UNROLL
  for (int b = 0; b < kBlocks; ++b) {
    const Complex r1 = LoadComplex(roots + 6 * b);
    const Complex r2 = LoadComplex(roots + 6 * b + 2);
    const Complex r3 = LoadComplex(roots + 6 * b + 4);
    LCSM_UNROLL
    for (int s = 0; s < kQuarter; ++s) {
      Complex* const q = a + b * (kSize / kBlocks) + s;
      const Complex b0 = q[0], b1 = r1 * q[kQuarter], b2 = r2 * q[2 * kQuarter],
                    b3 = r3 * q[3 * kQuarter];
      const Complex even = b0 + b2, odd = b1 + b3;
      const Complex even_i = b0 - b2, odd_i = TimesI(b1 - b3);
      q[0] = even + odd;
      q[kQuarter] = even_i + odd_i;
      q[2 * kQuarter] = even - odd;
      q[3 * kQuarter] = even_i - odd_i;
    }
  }
}

// The way back, times 4.
template <int kSize, int kBlocks>
LCSM_HD void JoinFour(const float* roots, Complex* a) {
  constexpr int kQuarter = kSize / kBlocks / 4;
  LCSM_UNROLL
  for (int b = 0; b < kBlocks; ++b) {
    const Complex r1 = Conjugate(LoadComplex(roots + 6 * b));
    const Complex r2 = Conjugate(LoadComplex(roots + 6 * b + 2));
    const Complex r3 = Conjugate(LoadComplex(roots + 6 * b + 4));
    LCSM_UNROLL
    for (int s = 0; s < kQuarter; ++s) {
      Complex* const q = a + b * (kSize / kBlocks) + s;
      const Complex even = q[0] + q[2 * kQuarter],
                    even_i = q[0] - q[2 * kQuarter];
      const Complex odd = q[kQuarter] + q[3 * kQuarter];
      const Complex odd_i = TimesI(q[kQuarter] - q[3 * kQuarter]);
      q[0] = even + odd;
      q[kQuarter] = r1 * (even_i - odd_i);
      q[2 * kQuarter] = r2 * (even - odd);
      q[3 * kQuarter] = r3 * (even_i + odd_i);
    }
  }
}

// x^U - i in two, r = exp(i pi / 4).
template <int kSize>
LCSM_HD void SplitInTwo(Complex* a) {
  constexpr float kHalf = 0.70710678118654752f;
  LCSM_UNROLL
  for (int s = 0; s < kSize / 2; ++s) {
    const Complex t = Complex{kHalf, kHalf} * a[s + kSize / 2];
    a[s + kSize / 2] = a[s] - t;
    a[s] = a[s] + t;
  }
}
template <int kSize>
LCSM_HD void JoinTwo(Complex* a) {
  constexpr float kHalf = 0.70710678118654752f;
  LCSM_UNROLL
  for (int s = 0; s < kSize / 2; ++s) {
    const Complex t = a[s] - a[s + kSize / 2];
    a[s] = a[s] + a[s + kSize / 2];
    a[s + kSize / 2] = Complex{kHalf, -kHalf} * t;
  }
}

// One butterfly of a pass with `kTwo` splits in two and `kFours` in four, on
// block `block` of those that come in.
template <int kTwo, int kFours>
struct Butterfly {
  static constexpr int kSize = (1 << kTwo) << (2 * kFours);

  LCSM_HD static const float* Roots(const float* roots, int log_u, int depth,
                                    uint64_t block) {
    return roots + RootsBefore(log_u, depth) + 6 * block;
  }
  LCSM_HD static void Forward(const float* roots, int log_u, int depth,
                              uint64_t block, Complex* a) {
    if constexpr (kTwo == 1) SplitInTwo<kSize>(a);
    const uint64_t first = block << kTwo;
    SplitInFour<kSize, 1 << kTwo>(Roots(roots, log_u, depth, first), a);
    if constexpr (kFours == 2) {
      SplitInFour<kSize, 4 << kTwo>(Roots(roots, log_u, depth + 1, 4 * first),
                                    a);
    }
  }
  LCSM_HD static void Inverse(const float* roots, int log_u, int depth,
                              uint64_t block, Complex* a) {
    const uint64_t first = block << kTwo;
    if constexpr (kFours == 2) {
      JoinFour<kSize, 4 << kTwo>(Roots(roots, log_u, depth + 1, 4 * first), a);
    }
    JoinFour<kSize, 1 << kTwo>(Roots(roots, log_u, depth, first), a);
    if constexpr (kTwo == 1) JoinTwo<kSize>(a);
  }
};

// Calls body(Butterfly<..>()) with the kind that `pass` is of.
template <typename Body>
LCSM_HD void WithButterfly(const FftPass& pass, Body&& body) {
  if (pass.two != 0) {
    body(Butterfly<1, 1>());
  } else if (pass.fours == 2) {
    body(Butterfly<0, 2>());
  } else {
    body(Butterfly<0, 1>());
  }
}

}  // namespace lcsm::cuda
