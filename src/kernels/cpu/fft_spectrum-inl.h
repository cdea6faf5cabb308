// Spectra of taps with Highway: the way down of a tile by itself. Compiled once
// a target; contracts in tile_kernels.h, the mathematics in fft_tables.h.

#include <cstddef>

#include "kernels/fft_tables.h"
#include "kernels/lanes.h"

#if defined(LCSM_KERNELS_CPU_FFT_SPECTRUM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LCSM_KERNELS_CPU_FFT_SPECTRUM_INL_H_
#undef LCSM_KERNELS_CPU_FFT_SPECTRUM_INL_H_
#else
#define LCSM_KERNELS_CPU_FFT_SPECTRUM_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/cpu/fft_passes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lcsm {
namespace HWY_NAMESPACE {

// Points that the nearest cache holds whatever the target's registers.
constexpr size_t kNearPoints = 256;

// All passes that are left of block number `index` of `depth`, depth first: a
// spectrum for known tokens has tens of megabytes, and would come from memory
// for every pass.
void SplitDeep(const FftTables& tables, size_t depth, size_t index, size_t n,
               float* HWY_RESTRICT work) {
  const LaneTag d;
  if (n <= kNearPoints) {
    SplitChunk(d, tables, depth, index, n, work);
    return;
  }
  SplitBlock(d, n, tables.Roots(depth) + 6 * index, work);
  for (size_t k = 0; k < 4; ++k) {
    SplitDeep(tables, depth + 1, 4 * index + k, n / 4,
              work + k * (n / 4) * 2 * hn::Lanes(d));
  }
}

HWY_NOINLINE void FftSpectrum(const FftTables& tables,
                              const float* HWY_RESTRICT taps, size_t num_taps,
                              float* HWY_RESTRICT spectrum) {
  const LaneTag d;
  const size_t step = hn::Lanes(d);
  const size_t point = 2 * step;
  const size_t block = tables.block();
  const auto scale = hn::Set(d, 1.0f / static_cast<float>(block));
  for (size_t lane = 0; lane < kLanes; lane += step) {
    const auto tap = [&](size_t n) HWY_ATTR {
      return n < num_taps
                 ? hn::Mul(scale, hn::Load(d, taps + n * kLanes + lane))
                 : hn::Zero(d);
    };
    const auto folded = [&](size_t n) HWY_ATTR {
      return Complex{tap(n), tap(n + block)};
    };
    float* h = spectrum + lane * 2 * block;
    // The first pass takes the taps as they come.
    if (tables.starts_with_two()) {
      const size_t half = block / 2;
      const Complex r = {hn::Set(d, FftTables::kHalf),
                         hn::Set(d, FftTables::kHalf)};
      for (size_t k = 0; k < half; ++k) {
        const Complex a = folded(k);
        const Complex b = MulC(folded(k + half), r);
        StoreC(d, AddC(a, b), h + k * point);
        StoreC(d, SubC(a, b), h + (k + half) * point);
      }
      for (size_t k = 0; k < 2; ++k) {
        SplitDeep(tables, 0, k, half, h + k * half * point);
      }
    } else {
      const size_t quarter = block / 4;
      const Roots r = LoadRoots(d, tables.Roots(0));
      for (size_t k = 0; k < quarter; ++k) {
        Complex b0, b1, b2, b3;
        SplitFour(d, folded(k), folded(k + quarter), folded(k + 2 * quarter),
                  folded(k + 3 * quarter), r, b0, b1, b2, b3);
        StoreC(d, b0, h + k * point);
        StoreC(d, b1, h + (k + quarter) * point);
        StoreC(d, b2, h + (k + 2 * quarter) * point);
        StoreC(d, b3, h + (k + 3 * quarter) * point);
      }
      for (size_t k = 0; k < 4; ++k) {
        SplitDeep(tables, 1, k, quarter, h + k * quarter * point);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lcsm
HWY_AFTER_NAMESPACE();

#endif  // LCSM_KERNELS_CPU_FFT_SPECTRUM_INL_H_
