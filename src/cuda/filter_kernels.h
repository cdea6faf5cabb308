// Implicit filters: the network of a layer evaluated at many lags, straight
// into taps. The CPU's arithmetic (models/hyena_filter.cc,
// kernels/pointwise.cc) operation by operation, in float64 and rounded once, so
// that taps are those of the CPU's targets with fused multiply-adds, bit for
// bit; the tests compare.
//
// Lags lie side by side, [row][lag], a panel of them at a time: what a row of
// the network does is the same at every lag, and neighbouring threads read
// neighbouring addresses. A panel stays in L2 on its way through the layers.
//
// Whether anything was not finite is a flag that any thread may set, to the
// same value.
#pragma once

#include <cmath>

#include "cuda/portable.h"
#include "cuda/schedule.h"

namespace lcsm::cuda {

LCSM_HD uint64_t BitsOf(double value) {
  union {
    double value;
    uint64_t bits;
  } u = {value};
  return u.bits;
}
LCSM_HD double DoubleOf(uint64_t bits) {
  union {
    uint64_t bits;
    double value;
  } u = {bits};
  return u.value;
}

// Beyond it the library's sine is taken; no model we know of comes there.
inline constexpr double kMaxFilterSine = 1.0e6;

// sin(x) for |x| <= kMaxFilterSine, error below 3e-16: SinF64 of
// kernels/pointwise.cc, which derives it.
LCSM_HD double FilterSine(double x) {
  constexpr double kMagic = 6755399441055744.0;  // 1.5 * 2^52
  const double shifted = Fma(x, 0.63661977236758134, kMagic);
  const double n = shifted - kMagic;
  double r = Fma(-n, 0x1.921fb544p+0, x);
  r = Fma(-n, 0x1.0b4611a6p-34, r);
  r = Fma(-n, 0x1.3198a2e037073p-69, r);
  const double z = r * r;
  double s = 1.0 / 355687428096000.0;
  s = Fma(s, z, -1.0 / 1307674368000.0);
  s = Fma(s, z, 1.0 / 6227020800.0);
  s = Fma(s, z, -1.0 / 39916800);
  s = Fma(s, z, 1.0 / 362880);
  s = Fma(s, z, -1.0 / 5040);
  s = Fma(s, z, 1.0 / 120);
  s = Fma(s, z, -1.0 / 6);
  s = Fma(s * z, r, r);
  double c = -1.0 / 6402373705728000.0;
  c = Fma(c, z, 1.0 / 20922789888000.0);
  c = Fma(c, z, -1.0 / 87178291200.0);
  c = Fma(c, z, 1.0 / 479001600);
  c = Fma(c, z, -1.0 / 3628800);
  c = Fma(c, z, 1.0 / 40320);
  c = Fma(c, z, -1.0 / 720);
  c = Fma(c, z, 1.0 / 24);
  c = Fma(c, z, -0.5);
  c = Fma(c, z, 1.0);
  const uint64_t quadrant = BitsOf(shifted);
  return DoubleOf(BitsOf((quadrant & 1) != 0 ? c : s) ^ (quadrant & 2) << 62);
}

// exp(x), clamped to |x| <= 700, relative error below 4e-16: ExpF64 there.
LCSM_HD double FilterExp(double x) {
  constexpr double kMagic = 6755399441055744.0;
  x = Max(Min(x, 700.0), -700.0);
  const double shifted = Fma(x, 1.4426950408889634, kMagic);
  const double n = shifted - kMagic;
  double r = Fma(-n, 0x1.62e42feep-1, x);
  r = Fma(-n, 0x1.a39ef35793c76p-33, r);
  double p = 1.0 / 6227020800.0;
  p = Fma(p, r, 1.0 / 479001600);
  p = Fma(p, r, 1.0 / 39916800);
  p = Fma(p, r, 1.0 / 3628800);
  p = Fma(p, r, 1.0 / 362880);
  p = Fma(p, r, 1.0 / 40320);
  p = Fma(p, r, 1.0 / 5040);
  p = Fma(p, r, 1.0 / 720);
  p = Fma(p, r, 1.0 / 120);
  p = Fma(p, r, 1.0 / 24);
  p = Fma(p, r, 1.0 / 6);
  p = Fma(p, r, 0.5);
  p = Fma(p, r, 1.0);
  p = Fma(p, r, 1.0);
  return DoubleOf(BitsOf(p) + (BitsOf(shifted) << 52));
}

// What a layer's launches found.
struct FilterFlags {
  uint32_t positions_not_finite = 0, taps_not_finite = 0;
};

// Positional features into the first panel.
struct FilterPositionsKernel : Elementwise<FilterPositionsKernel> {
  struct Args {
    const float* z = nullptr;  // [count][features]
    const float* t = nullptr;  // [count]
    double* x = nullptr;       // [features][stride]
    uint32_t features = 0, stride = 0, count = 0;
    FilterFlags* flags = nullptr;
  };

  LCSM_HD static uint64_t Elements(const Args& args) {
    return uint64_t{args.features} * args.count;
  }
  LCSM_HD static bool Finite(float value) {
    return fabsf(value) <= 0x1.fffffep+127f;  // The largest there is.
  }
  LCSM_HD static void Element(const Args& args, uint64_t id) {
    const uint64_t e = id / args.count, lag = id % args.count;
    const float z = args.z[lag * args.features + e];
    if (!Finite(z) || !Finite(args.t[lag])) {
      args.flags->positions_not_finite = 1;
    }
    args.x[e * args.stride + lag] = static_cast<double>(z);
  }
};

// Rows of the network that a thread computes at a time, side by side in memory
// for each input.
inline constexpr uint32_t kFilterRows = 8;
struct alignas(64) FilterWeights {
  double of[kFilterRows] = {};
};

// A layer of the network: y = W x + b, then sin(f y), or y (exp(-t d) + shift).
//
// A thread has 8 rows at 4 lags: 32 sums in registers, for which an input costs
// it 64 bytes of weights, the same for all threads of a warp, and 4 lags.
struct FilterLinearKernel : Elementwise<FilterLinearKernel> {
  static constexpr uint32_t kSide = 32;  // Neighbours, a warp.
  static constexpr uint32_t kLags = 4;
  struct Args {
    const double* x = nullptr;  // [inputs][stride]
    double* y = nullptr;        // [rows][stride]
    // [ceil(rows / kFilterRows)][inputs], zero in rows past the last. What
    // follows is as many, and null for none.
    const FilterWeights* weights = nullptr;
    const double* bias = nullptr;
    const double* frequencies = nullptr;
    const double* decays = nullptr;
    const float* t = nullptr;  // [count]
    double shift = 0;
    uint32_t rows = 0, inputs = 0, stride = 0, count = 0;
  };

  LCSM_HD static uint64_t Elements(const Args& args) {
    return CeilDiv(args.count, kSide * kLags) *
           CeilDiv(args.rows, kFilterRows) * kSide;
  }
  LCSM_HD static void Element(const Args& args, uint64_t id) {
    // Rows of the same lags are neighbours: they read the same inputs.
    const auto blocks = static_cast<uint32_t>(CeilDiv(args.rows, kFilterRows));
    const auto warp = static_cast<uint32_t>(id / kSide);
    const uint32_t first =
        warp / blocks * kSide * kLags + static_cast<uint32_t>(id % kSide);
    const uint32_t row = warp % blocks * kFilterRows;
    uint32_t lags[kLags];
    LCSM_UNROLL
    for (uint32_t j = 0; j < kLags; ++j) {
      // Past the end the last lag again.
      lags[j] = Min(first + j * kSide, args.count - 1);
    }
    double sums[kFilterRows][kLags];
    LCSM_UNROLL
    for (uint32_t r = 0; r < kFilterRows; ++r) {
      const double bias = args.bias != nullptr ? args.bias[row + r] : 0.0;
      LCSM_UNROLL
      for (uint32_t j = 0; j < kLags; ++j) sums[r][j] = bias;
    }
    const FilterWeights* weights =
        args.weights + uint64_t{row / kFilterRows} * args.inputs;
    const double* x = args.x;
    for (uint32_t k = 0; k < args.inputs; ++k, ++weights, x += args.stride) {
      const FilterWeights w = *weights;
      LCSM_UNROLL
      for (uint32_t j = 0; j < kLags; ++j) {
        const double at = x[lags[j]];
        LCSM_UNROLL
        for (uint32_t r = 0; r < kFilterRows; ++r) {
          sums[r][j] = Fma(w.of[r], at, sums[r][j]);
        }
      }
    }
    double t[kLags] = {};
    if (args.decays != nullptr) {
      LCSM_UNROLL
      for (uint32_t j = 0; j < kLags; ++j) t[j] = args.t[lags[j]];
    }
    // Rows one after the other: more sines at a time are more registers, and
    // fewer threads.
    uint32_t far = 0;  // Rows with angles that are too far out, a bit each.
    LCSM_UNROLL
    for (uint32_t r = 0; r < kFilterRows; ++r) {
      if (row + r >= args.rows) break;
      if (args.frequencies != nullptr) {
        if (!Turn(args.frequencies[row + r], sums[r])) far |= 1u << r;
      } else if (args.decays != nullptr) {
        const double rate = -args.decays[row + r];
        LCSM_UNROLL
        for (uint32_t j = 0; j < kLags; ++j) {
          sums[r][j] *= FilterExp(t[j] * rate) + args.shift;
        }
      }
      double* const y = args.y + uint64_t{row + r} * args.stride;
      LCSM_UNROLL
      for (uint32_t j = 0; j < kLags; ++j) {
        if (first + j * kSide < args.count) y[lags[j]] = sums[r][j];
      }
    }
    if (far != 0) FarSines(args, row, first, far);
  }

 private:
  // y = sin(f y), or where one of them is too far out y = f y and false.
  LCSM_HD static bool Turn(double frequency, double (&y)[kLags]) {
    bool near = true;
    LCSM_UNROLL
    for (uint32_t j = 0; j < kLags; ++j) {
      y[j] *= frequency;
      near &= fabs(y[j]) <= kMaxFilterSine;
    }
    if (!near) return false;
    LCSM_UNROLL
    for (uint32_t j = 0; j < kLags; ++j) y[j] = FilterSine(y[j]);
    return true;
  }
  // Of angles that were stored. The library's sine is long, and so stands in
  // the code once.
  LCSM_HD static void FarSines(const Args& args, uint32_t first_row,
                               uint32_t first, uint32_t rows) {
    LCSM_NO_UNROLL
    for (uint32_t row = first_row; rows != 0; ++row, rows >>= 1) {
      if ((rows & 1) == 0) continue;
      double* const y = args.y + uint64_t{row} * args.stride;
      LCSM_NO_UNROLL
      for (uint32_t j = 0; j < kLags && first + j * kSide < args.count; ++j) {
        double& angle = y[first + j * kSide];
        angle = fabs(angle) <= kMaxFilterSine ? FilterSine(angle) : sin(angle);
      }
    }
  }
};

// Of each lag the sum of magnitudes over all channels, in the CPU's order.
struct FilterNormKernel : Elementwise<FilterNormKernel> {
  struct Args {
    const double* g = nullptr;  // [rows][stride]
    double* norms = nullptr;    // [count]
    uint32_t rows = 0, stride = 0, count = 0;
  };

  LCSM_HD static uint64_t Elements(const Args& args) { return args.count; }
  LCSM_HD static void Element(const Args& args, uint64_t id) {
    const double* g = args.g + id;
    double norm = 0;
    for (uint32_t c = 0; c < args.rows; ++c, g += args.stride) {
      norm += fabs(*g);
    }
    args.norms[id] = norm;
  }
};

// A panel of the last layer into taps, skips folded into tap 0.
struct FilterTapsKernel : Elementwise<FilterTapsKernel> {
  struct Args {
    const double* g = nullptr;  // [row][stride]
    // Convolution o of channel c is row first_row + o * rows_a_convolution + c
    // * rows_a_channel.
    uint32_t first_row = 0, rows_a_convolution = 0, rows_a_channel = 0;
    uint32_t stride = 0;
    const double* norms = nullptr;  // Null: none.
    const double* skips = nullptr;  // Of each row.
    uint64_t first = 0;             // Lag.
    uint32_t count = 0;
    uint32_t convolutions = 0, channels = 0, groups = 0;
    float* taps = nullptr;  // [convolution][group][num_taps][kLanes]
    uint64_t num_taps = 0;
    FilterFlags* flags = nullptr;
  };

  LCSM_HD static uint64_t Elements(const Args& args) {
    return uint64_t{args.convolutions} * args.groups * args.count * kLanes;
  }
  LCSM_HD static void Element(const Args& args, uint64_t id) {
    const uint32_t lane = static_cast<uint32_t>(id) % kLanes;
    const auto line = static_cast<uint32_t>(id / kLanes);
    const uint32_t lag = line % args.count, filter = line / args.count;
    const uint32_t channel = filter % args.groups * kLanes + lane;
    float* const tap =
        args.taps + (filter * args.num_taps + args.first + lag) * kLanes + lane;
    if (channel >= args.channels) {
      *tap = 0;
      return;
    }
    const uint32_t row = args.first_row +
                         filter / args.groups * args.rows_a_convolution +
                         channel * args.rows_a_channel;
    double g = args.g[uint64_t{row} * args.stride + lag];
    if (args.norms != nullptr) g /= args.norms[lag];
    if (args.first + lag == 0) g += args.skips[row];
    // What is below rounds to something finite. Subnormal taps are zero, as
    // those of the CPU's banks.
    const bool finite = fabs(g) < 0x1.ffffffp+127;
    if (!finite) args.flags->taps_not_finite = 1;
    const float rounded = finite ? static_cast<float>(g) : 0.0f;
    *tap = fabsf(rounded) < 0x1p-126f ? 0.0f : rounded;
  }
};

}  // namespace lcsm::cuda
