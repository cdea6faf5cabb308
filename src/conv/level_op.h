// The tiles of one level, bound to a bank of filters.
//
// A LevelOp is immutable after it is made and shared by all sessions and
// threads; what a thread needs to scribble on is a LevelScratch of its own, and
// what a history keeps for the level (spectra of input blocks) is the
// session's. It does not hold the taps: callers hand them in, so that a session
// that grows can replace its bank.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "conv/filter_bank.h"
#include "conv/plan.h"
#include "conv/problem.h"
#include "kernels/library_fft.h"
#include "kernels/tile_kernels.h"
#include "lcsm/status.h"

namespace lcsm::conv {

struct LevelScratch {
  float* floats = nullptr;    // ScratchFloats() of them, 64-byte aligned.
  LibraryFft* fft = nullptr;  // For Tau::kFftLibrary: a transform of length 2U
                              // of this thread's.
  // Whose slices stand in `floats`, where they are remade: a batch's rows come
  // one after another and share them. Reset it when others may have written
  // there.
  size_t remade_for = SIZE_MAX;
};

// One history's tile.
struct LevelJob {
  size_t filter_group = 0;        // mixer * groups + group, of the bank's.
  Tile tile;                      // terms > 0.
  const float* newest = nullptr;  // First line of input block tile.newest;
                                  // older blocks lie before it.
  float* kept = nullptr;          // KeptFloats() of this history and level.
  float* out = nullptr;           // First line of output block tile.target.
  // kFresh with Tau::kFftFused only, whose `out` may then be `newest`.
  Accumulators accumulators = Accumulators::kOpen;
};

class LevelOp {
 public:
  virtual ~LevelOp() = default;

  // Adds the tile's contributions to the tile.outputs lines from job.out on.
  // Tiles of one history must come in the order of their targets, none left
  // out: spectra and sums are handed from one to the next.
  virtual void Apply(const FilterBank& filters, const LevelJob& job,
                     LevelScratch& scratch) const noexcept = 0;
};

// Tiles of a distant level: the same work, in pieces. See DeferredWork.
class SlicedOp : public LevelOp {
 public:
  // Pieces of one history's tile, numbered in the order in which they must run.
  virtual size_t NumPieces() const = 0;
  // What all of them take for a tile of `terms` blocks, in units of its own,
  // and how many the first `work` units hold: for equal shares of the time,
  // since pieces with products take as many times longer as there are terms.
  virtual uint64_t Work(size_t terms) const = 0;
  virtual size_t PiecesIn(uint64_t work, size_t terms) const = 0;
  // Runs one piece. All pieces of a tile are given the same job and scratch.
  // job.out lines are stored to, not added to.
  virtual void Piece(size_t piece, const LevelJob& job,
                     float* scratch) const noexcept = 0;
};

// What a level wants, without making it.
size_t SmallestBlock(Tau tau);  // 1 for the direct ones.
// Of the slices, per filter group.
size_t SpectraFloats(const Problem& problem, const Level& level);
// Of the spectra of input blocks and of deferred outputs, per history.
size_t KeptFloats(const Problem& problem, const Level& level);
// Where the deferred outputs for block `target` stand among those: U lines.
size_t OutputOffset(const Problem& problem, const Level& level, size_t target);
size_t ScratchFloats(const Problem& problem, const Level& level);
// Tables and library state: of the op itself, and of each thread that runs it.
size_t SharedTableBytes(const Level& level);
size_t ThreadTableBytes(const Level& level);

// Makes the op and, on the pool, the spectra of all filter groups. The plan of
// which `level` is part must have been checked. The op of a distant level is a
// SlicedOp.
StatusOr<std::unique_ptr<const LevelOp>> MakeLevelOp(const Problem& problem,
                                                     const Level& level,
                                                     const FilterBank& filters,
                                                     ThreadPool& pool);

}  // namespace lcsm::conv
