// One way (tau) to compute the gray tiles of one block size, bound to a bank of
// filters.
//
// A TileOp is immutable after it is made and shared by all sessions and
// threads; what a thread needs to scribble on is a TileScratch of its own.
#pragma once

#include <cstddef>
#include <memory>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "conv/filter_bank.h"
#include "conv/problem.h"
#include "kernels/library_fft.h"
#include "lcsm/status.h"

namespace lcsm::conv {

struct TileScratch {
  float* floats = nullptr;    // ScratchFloats(level) of them, 64-byte aligned.
  LibraryFft* fft = nullptr;  // For Tau::kFftLibrary: a transform of length 2U
                              // of this thread's.
};

class TileOp {
 public:
  virtual ~TileOp() = default;

  // Adds the contributions of the U inputs from `x` on to the n_out <= U
  // accumulators from `acc` on; both are lines of one group's history and x + U
  // lines == acc. `filter_group` counts mixers' groups through: mixer * groups
  // + group.
  virtual void Apply(size_t filter_group, const float* x, size_t n_out,
                     float* acc, const TileScratch& scratch) const noexcept = 0;
};

// What a level wants, without making it.
size_t SmallestBlock(Tau tau);              // 1 for the direct ones.
size_t SpectrumFloats(const Level& level);  // Per filter group.
size_t ScratchFloats(const Level& level);   // Per thread.

// Tables and library state: of the op itself, and of each thread that runs it.
size_t SharedTableBytes(const Level& level);
size_t ThreadTableBytes(const Level& level);

// Makes the op and, on the pool, the spectra of all filter groups. level.tau
// must be one of the four actual ways. `filters` must outlive the op.
StatusOr<std::unique_ptr<const TileOp>> MakeTileOp(const Level& level,
                                                   const FilterBank& filters,
                                                   ThreadPool& pool);

}  // namespace lcsm::conv
