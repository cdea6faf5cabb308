#include "kernels/tile_kernels.h"

#include "base/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/tile_kernels.cc"
#include "hwy/foreach_target.h"  // Compiles this file once a target.
// After foreach_target.
#include "hwy/highway.h"
#include "kernels/cpu/direct-inl.h"
#include "kernels/cpu/fft_blocks-inl.h"
#include "kernels/cpu/fft_spectrum-inl.h"
#include "kernels/cpu/fft_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lcsm {
namespace HWY_NAMESPACE {

const TileKernels* Table() {
  static const TileKernels table = {
      hwy::TargetName(HWY_TARGET),
      hn::Lanes(LaneTag()),
      DirectTile,
      DirectBlockedTile,
      Scatter,
      Red,
      FftSpectrum,
      FftTile,
      FftBlocks,
      FftBlocksPart,
      FftBlocksTwo,
      FftTileTwo,
  };
  return &table;
}

}  // namespace HWY_NAMESPACE
}  // namespace lcsm
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lcsm {

HWY_EXPORT(Table);

const TileKernels& GetTileKernels() { return *HWY_DYNAMIC_DISPATCH(Table)(); }

}  // namespace lcsm
#endif  // HWY_ONCE
