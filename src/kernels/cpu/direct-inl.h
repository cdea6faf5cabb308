// Direct tiles and red cells with Highway. Compiled once a target; see
// tile_kernels.h for contracts.

#include <algorithm>
#include <cstddef>

#include "kernels/lanes.h"
#include "kernels/tile_kernels.h"

// A per-target include guard: undefined on the way into each target.
#if defined(LCSM_KERNELS_CPU_DIRECT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LCSM_KERNELS_CPU_DIRECT_INL_H_
#undef LCSM_KERNELS_CPU_DIRECT_INL_H_
#else
#define LCSM_KERNELS_CPU_DIRECT_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace lcsm {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
// At most a group wide; narrower targets pass over a line kLanes / Lanes times.
using LaneTag = hn::CappedTag<float, kLanes>;

// First input that still meets a tap for output j.
HWY_INLINE size_t FirstInput(size_t num_taps, size_t n_in, size_t j) {
  const size_t reach =
      n_in + j + 1;  // taps[n_in + j - i] exists from i = reach - num_taps on.
  return reach > num_taps ? std::min(n_in, reach - num_taps) : 0;
}

HWY_NOINLINE void DirectTile(const float* HWY_RESTRICT x,
                             const float* HWY_RESTRICT taps, size_t num_taps,
                             size_t n_in, size_t n_out,
                             float* HWY_RESTRICT acc) {
  const LaneTag d;
  const size_t step = hn::Lanes(d);
  for (size_t lane = 0; lane < kLanes; lane += step) {
    for (size_t j = 0; j < n_out; ++j) {
      // x runs forward and the taps backward from here.
      const float* tap = taps + (n_in + j) * kLanes + lane;
      auto total = hn::Zero(d);
      for (size_t i = FirstInput(num_taps, n_in, j); i < n_in;) {
        const size_t end = std::min(n_in, i + kSumBlock);
        // Four chains hide the latency of the multiply-add.
        auto s0 = hn::Zero(d), s1 = hn::Zero(d), s2 = hn::Zero(d),
             s3 = hn::Zero(d);
        for (; i + 4 <= end; i += 4) {
          const float* xi = x + i * kLanes + lane;
          const float* ti = tap - i * kLanes;
          s0 = hn::MulAdd(hn::Load(d, xi), hn::Load(d, ti), s0);
          s1 = hn::MulAdd(hn::Load(d, xi + kLanes), hn::Load(d, ti - kLanes),
                          s1);
          s2 = hn::MulAdd(hn::Load(d, xi + 2 * kLanes),
                          hn::Load(d, ti - 2 * kLanes), s2);
          s3 = hn::MulAdd(hn::Load(d, xi + 3 * kLanes),
                          hn::Load(d, ti - 3 * kLanes), s3);
        }
        for (; i < end; ++i) {
          s0 = hn::MulAdd(hn::Load(d, x + i * kLanes + lane),
                          hn::Load(d, tap - i * kLanes), s0);
        }
        total = hn::Add(total, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)));
      }
      float* out = acc + j * kLanes + lane;
      hn::Store(hn::Add(hn::Load(d, out), total), d, out);
    }
  }
}

// One register block: kRows outputs from j0 on, all inputs from `i` on. Within
// a row the products are added in the order of i, in blocks of kSumBlock,
// whatever kRows is: the bits of an output do not depend on how many neighbours
// share its block.
template <size_t kRows>
HWY_INLINE void DirectRows(LaneTag d, const float* HWY_RESTRICT x,
                           const float* HWY_RESTRICT taps, size_t n_in,
                           size_t j0, size_t i, float* HWY_RESTRICT acc) {
  using V = hn::Vec<LaneTag>;
  V total[kRows];
  for (size_t r = 0; r < kRows; ++r)
    total[r] = hn::Load(d, acc + (j0 + r) * kLanes);
  while (i < n_in) {
    const size_t end = std::min(n_in, i + kSumBlock);
    V sum[kRows];
    for (size_t r = 0; r < kRows; ++r) sum[r] = hn::Zero(d);
    // Four inputs at a time: kRows * 4 products from 4 + kRows + 3 loads.
    for (; i + 4 <= end; i += 4) {
      const V x0 = hn::Load(d, x + i * kLanes);
      const V x1 = hn::Load(d, x + (i + 1) * kLanes);
      const V x2 = hn::Load(d, x + (i + 2) * kLanes);
      const V x3 = hn::Load(d, x + (i + 3) * kLanes);
      const float* t =
          taps + (n_in + j0 - i) * kLanes;  // The tap of row 0 and input i.
      V t3 = hn::Load(d, t - 3 * kLanes), t2 = hn::Load(d, t - 2 * kLanes),
        t1 = hn::Load(d, t - kLanes);
      for (size_t r = 0; r < kRows; ++r) {
        const V t0 = hn::Load(d, t + r * kLanes);
        sum[r] = hn::MulAdd(x0, t0, sum[r]);
        sum[r] = hn::MulAdd(x1, t1, sum[r]);
        sum[r] = hn::MulAdd(x2, t2, sum[r]);
        sum[r] = hn::MulAdd(x3, t3, sum[r]);
        t3 = t2;
        t2 = t1;
        t1 = t0;
      }
    }
    for (; i < end; ++i) {
      const V xi = hn::Load(d, x + i * kLanes);
      const float* t = taps + (n_in + j0 - i) * kLanes;
      for (size_t r = 0; r < kRows; ++r) {
        sum[r] = hn::MulAdd(xi, hn::Load(d, t + r * kLanes), sum[r]);
      }
    }
    for (size_t r = 0; r < kRows; ++r) total[r] = hn::Add(total[r], sum[r]);
  }
  for (size_t r = 0; r < kRows; ++r)
    hn::Store(total[r], d, acc + (j0 + r) * kLanes);
}

HWY_NOINLINE void DirectBlockedTile(const float* HWY_RESTRICT x,
                                    const float* HWY_RESTRICT taps,
                                    size_t num_taps, size_t n_in, size_t n_out,
                                    float* HWY_RESTRICT acc) {
  if (n_in == 0 || n_out == 0) return;  // Their pointers may be null.
  const LaneTag d;
  const size_t step = hn::Lanes(d);
  // Eight rows: 8 sums, 4 inputs and 4 taps are 16 registers, all that AVX2
  // has; the sums' chains of 4 multiply-adds each (latency 4, two a cycle) keep
  // both units busy.
  constexpr size_t kRows = 8;
  static_assert(kRows <= kTapSlack);
  for (size_t lane = 0; lane < kLanes; lane += step) {
    const float* xl = x + lane;
    const float* tl = taps + lane;
    float* al = acc + lane;
    size_t j = 0;
    // The first input is that of the block's first row: rows after it read
    // zeros past the taps. It must be the same for a row in a whole block and
    // in the remainder, so it is found per block.
    for (; j + kRows <= n_out; j += kRows) {
      DirectRows<kRows>(d, xl, tl, n_in, j, FirstInput(num_taps, n_in, j), al);
    }
    const size_t i = FirstInput(num_taps, n_in, j);
    if (j + 4 <= n_out) {
      DirectRows<4>(d, xl, tl, n_in, j, i, al);
      j += 4;
    }
    if (j + 2 <= n_out) {
      DirectRows<2>(d, xl, tl, n_in, j, i, al);
      j += 2;
    }
    if (j < n_out) DirectRows<1>(d, xl, tl, n_in, j, i, al);
  }
}

HWY_NOINLINE void Scatter(const float* HWY_RESTRICT x,
                          const float* HWY_RESTRICT taps, size_t num_taps,
                          size_t n_out, float* HWY_RESTRICT acc) {
  const LaneTag d;
  const size_t step = hn::Lanes(d);
  const size_t end = num_taps > 1 ? std::min(n_out, num_taps - 1) : 0;
  for (size_t lane = 0; lane < kLanes; lane += step) {
    const auto xv = hn::Load(d, x + lane);
    const float* tap = taps + kLanes + lane;
    float* out = acc + lane;
    for (size_t j = 0; j < end; ++j) {
      hn::Store(hn::MulAdd(xv, hn::Load(d, tap + j * kLanes),
                           hn::Load(d, out + j * kLanes)),
                d, out + j * kLanes);
    }
  }
}

HWY_NOINLINE void Red(const float* x, const float* HWY_RESTRICT head,
                      size_t groups, size_t stride, TileKernels::Follow follow,
                      float* HWY_RESTRICT line, float* y) {
  using Follow = TileKernels::Follow;
  const LaneTag d;
  const size_t step = hn::Lanes(d);
  for (size_t g = 0; g < groups; ++g) {
    for (size_t lane = 0; lane < kLanes; lane += step) {
      const size_t c = g * kLanes + lane;
      const float* taps = head + g * kHeadTaps * kLanes + lane;
      float* cell = line + g * stride + lane;
      const auto xv = hn::LoadU(d, x + c);
      hn::StoreU(hn::MulAdd(xv, hn::LoadU(d, taps), hn::Load(d, cell)), d,
                 y + c);
      hn::Store(xv, d, cell);
      if (follow == Follow::kNone) continue;
      const auto tap1 = hn::LoadU(d, taps + kLanes);
      auto next = hn::MulAdd(xv, tap1, hn::Load(d, cell + kLanes));
      if (follow != Follow::kOne) {
        const auto before = hn::Load(d, cell - kLanes);
        const auto tap2 = hn::LoadU(d, taps + 2 * kLanes);
        next = hn::MulAdd(before, tap2, next);
        if (follow == Follow::kTwo) {
          const auto tap3 = hn::LoadU(d, taps + 3 * kLanes);
          auto after = hn::MulAdd(xv, tap2, hn::Load(d, cell + 2 * kLanes));
          hn::Store(hn::MulAdd(before, tap3, after), d, cell + 2 * kLanes);
        }
      }
      hn::Store(next, d, cell + kLanes);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lcsm
HWY_AFTER_NAMESPACE();

#endif  // LCSM_KERNELS_CPU_DIRECT_INL_H_
