// Products of a PanelMatrix with many vectors. Compiled once a target; contract
// in dense.h.
//
// A register tile is kTokens vectors by kVecs registers of rows: its sums stay
// in registers while kPanelDepth columns pass by, each of which costs kVecs
// loads of weights and one broadcast a token. A panel's columns stay in L1
// while all tokens pass; the tokens' inputs come from L2. Of a large matrix the
// next panel lies in L3, so the last tile of tokens asks for it.
//
// Tried: asking for the next tile's inputs, and copying a tile's inputs so that
// they lie side by side, as libraries do. Neither showed (2 % at most in eight
// turns against each other), so inputs are read where they lie.

#include <algorithm>
#include <cstddef>

#include "kernels/dense.h"

#if defined(LCSM_KERNELS_CPU_DENSE_PANELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LCSM_KERNELS_CPU_DENSE_PANELS_INL_H_
#undef LCSM_KERNELS_CPU_DENSE_PANELS_INL_H_
#else
#define LCSM_KERNELS_CPU_DENSE_PANELS_INL_H_
#endif

#include "hwy/cache_control.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace lcsm {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// At most 16 lanes, so that one or two panels make a tile.
using PanelTag = hn::CappedTag<float, kPanelRows>;
using PanelVec = hn::Vec<PanelTag>;

constexpr size_t kPanelLanes = hn::MaxLanes(PanelTag());
// Registers of rows in a tile: two where they are wide, else a panel's worth.
constexpr size_t kVecs = kPanelLanes == 16 ? 2 : kPanelRows / kPanelLanes;
constexpr size_t kTileWidth = kVecs * kPanelLanes;
// Tokens of a tile. With 16 registers (AVX2, SSE4): 6 x 2 or 3 x 4 sums, the
// weights and a broadcast; with 32 (AVX-512) 12 x 2, (NEON) 6 x 4.
constexpr size_t kPanelTokens = kPanelLanes == 16                    ? 12
                                : (kPanelLanes == 8 || HWY_ARCH_ARM) ? 6
                                                                     : 3;

// y[t][.] = start + sum_k x[t][k] panel[k][.] for kTokens tokens and kTileWidth
// rows; start is `bias`, or y as it stands, added at the end, where bias is
// null.
// With kFetch, `next` will be wanted as `panel` is now.
template <size_t kTokens, bool kFetch = false>
HWY_INLINE void PanelTile(const float* HWY_RESTRICT panel, size_t panel_stride,
                          size_t depth, const float* HWY_RESTRICT x,
                          size_t x_stride, const float* bias,
                          float* HWY_RESTRICT y, size_t y_stride,
                          const float* next = nullptr) {
  const PanelTag d;
  PanelVec sum[kTokens][kVecs];
#pragma GCC unroll 16
  for (size_t t = 0; t < kTokens; ++t) {
#pragma GCC unroll 16
    for (size_t v = 0; v < kVecs; ++v) {
      sum[t][v] =
          bias != nullptr ? hn::LoadU(d, bias + v * kPanelLanes) : hn::Zero(d);
    }
  }
  for (size_t k = 0; k < depth; ++k) {
    if constexpr (kFetch) {
#pragma GCC unroll 2
      for (size_t p = 0; p < kTileWidth / kPanelRows; ++p) {
        hwy::Prefetch(next + p * panel_stride + k * kPanelRows);
      }
    }
    PanelVec w[kVecs];
#pragma GCC unroll 16
    for (size_t v = 0; v < kVecs; ++v) {
      const size_t row = v * kPanelLanes;
      w[v] = hn::Load(d, panel + row / kPanelRows * panel_stride +
                             k * kPanelRows + row % kPanelRows);
    }
#pragma GCC unroll 16
    for (size_t t = 0; t < kTokens; ++t) {
      const PanelVec xk = hn::Set(d, x[t * x_stride + k]);
#pragma GCC unroll 16
      for (size_t v = 0; v < kVecs; ++v) {
        sum[t][v] = hn::MulAdd(w[v], xk, sum[t][v]);
      }
    }
  }
#pragma GCC unroll 16
  for (size_t t = 0; t < kTokens; ++t) {
#pragma GCC unroll 16
    for (size_t v = 0; v < kVecs; ++v) {
      float* const out = y + t * y_stride + v * kPanelLanes;
      if (bias == nullptr) sum[t][v] = hn::Add(sum[t][v], hn::LoadU(d, out));
      hn::StoreU(sum[t][v], d, out);
    }
  }
}

// The last tokens, fewer than kTokens + 1: a tile that is as high as they are
// many. (Tiles of one token each wait for their two sums.)
template <size_t kTokens>
HWY_INLINE void PanelRest(size_t tokens, const float* panel,
                          size_t panel_stride, size_t depth, const float* x,
                          size_t x_stride, const float* bias, float* y,
                          size_t y_stride, const float* next) {
  if (tokens == kTokens) {
    PanelTile<kTokens, true>(panel, panel_stride, depth, x, x_stride, bias, y,
                             y_stride, next);
  } else if constexpr (kTokens > 1) {
    PanelRest<kTokens - 1>(tokens, panel, panel_stride, depth, x, x_stride,
                           bias, y, y_stride, next);
  }
}

HWY_INLINE void PanelTiles(size_t tokens, const float* panel,
                           size_t panel_stride, size_t depth, const float* x,
                           size_t x_stride, const float* bias, float* y,
                           size_t y_stride, const float* next) {
  size_t t = 0;
  for (; t + kPanelTokens < tokens; t += kPanelTokens) {
    PanelTile<kPanelTokens>(panel, panel_stride, depth, x + t * x_stride,
                            x_stride, bias, y + t * y_stride, y_stride);
  }
  PanelRest<kPanelTokens>(tokens - t, panel, panel_stride, depth,
                          x + t * x_stride, x_stride, bias, y + t * y_stride,
                          y_stride, next);
}

// y is set, or added to.
HWY_NOINLINE void Panels(const PanelView& w, const float* bias, bool add,
                         const float* HWY_RESTRICT x, size_t x_stride,
                         size_t tokens, float* HWY_RESTRICT y,
                         size_t y_stride) {
  const size_t in = w.in, rows = w.rows, panel_stride = w.stride;
  for (size_t k = 0; k < in || k == 0; k += kPanelDepth) {
    const size_t depth = std::min(kPanelDepth, in - k);
    for (size_t r = 0; r < rows; r += kTileWidth) {
      const float* const panel =
          w.panels + r / kPanelRows * panel_stride + k * kPanelRows;
      const size_t width = std::min(kTileWidth, rows - r);
      float start[kTileWidth] = {};
      if (bias != nullptr) std::copy_n(bias + r, width, start);
      const float* const from = k == 0 && !add ? start : nullptr;
      if (width == kTileWidth) {
        // The one after the last is read by nobody: then this one again.
        const float* const next =
            r + 2 * kTileWidth <= rows
                ? panel + kTileWidth / kPanelRows * panel_stride
                : panel;
        PanelTiles(tokens, panel, panel_stride, depth, x + k, x_stride, from,
                   y + r, y_stride, next);
        continue;
      }
      // The last rows, which are no whole tile: by way of a row that is.
      for (size_t t = 0; t < tokens; ++t) {
        float whole[kTileWidth] = {};
        if (from == nullptr) std::copy_n(y + t * y_stride + r, width, whole);
        PanelTile<1>(panel, panel_stride, depth, x + t * x_stride + k, x_stride,
                     from, whole, kTileWidth);
        std::copy_n(whole, width, y + t * y_stride + r);
      }
    }
  }
}

void DensePanels(const PanelView& w, const float* bias, const float* x,
                 size_t x_stride, size_t tokens, float* y, size_t y_stride) {
  Panels(w, bias, /*add=*/false, x, x_stride, tokens, y, y_stride);
}

void AddPanels(const PanelView& w, const float* x, size_t x_stride,
               size_t tokens, float* y, size_t y_stride) {
  Panels(w, nullptr, /*add=*/true, x, x_stride, tokens, y, y_stride);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace lcsm
HWY_AFTER_NAMESPACE();

#endif  // include guard
