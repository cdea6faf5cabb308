// Levels computed by our own transform (Tau::kFftFused and kFftPast), behind
// level_op.h.
#pragma once

#include <cstddef>
#include <memory>

#include "base/thread_pool.h"
#include "conv/filter_bank.h"
#include "conv/level_op.h"
#include "kernels/fft_tables.h"
#include "kernels/tile_kernels.h"
#include "lcsm/status.h"

namespace lcsm::conv {

// Floats from one spectrum to the next, of slices and of input blocks alike: an
// odd number of lines more than a spectrum, so that the streams that a sum of
// products reads at a time do not fall into the same set of every cache.
size_t SliceStride(size_t block);

// Spectrum of the slice at a distance of at least 1 of one filter group: the
// taps from (distance - 1) U on.
void MakeFilterSlice(const TileKernels& kernels, const FftTables& tables,
                     const FilterBank& filters, size_t filter_group,
                     size_t distance, float* spectrum);

// Of one thread; of all slices of one filter group.
size_t FusedScratchFloats(const Problem& problem, const Level& level);
size_t FusedSpectraFloats(const Problem& problem, const Level& level);

StatusOr<std::unique_ptr<const LevelOp>> MakeFusedOp(const Problem& problem,
                                                     const Level& level,
                                                     const FilterBank& filters,
                                                     ThreadPool& pool);

}  // namespace lcsm::conv
