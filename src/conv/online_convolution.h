// Online causal convolution of M mixers by a plan: y[t] = sum_{i<=t} x[i] *
// rho[t-i], each y[t] wanted before x[t+1] is known.
//
// Two objects. PreparedConvolution is immutable: the plan, the taps and the
// tiles' spectra, shared by any number of sessions. OnlineConvolution is one
// session's state: for each channel one buffer that holds inputs at positions
// <= t and accumulators of coming outputs at positions > t ("half storage", the
// paper's section 3.3), of L floats or, where all levels keep spectra of their
// inputs, a ring of a top block or two; and those spectra.
//
// Use, for each position: Step(0, ..), Step(1, ..), ..., Step(M-1, ..),
// Advance(). Known tokens may be taken in many at a time: StepMany(0, n, ..),
// ..., StepMany(M-1, n, ..), AdvanceMany(n). The two ways give the same bits.
//
// What must never happen: an output that depends on a later input, an
// allocation or failure in a step, bits that depend on the number of threads or
// on batch mates.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "conv/deferred.h"
#include "conv/filter_bank.h"
#include "conv/level_op.h"
#include "conv/plan.h"
#include "conv/problem.h"
#include "conv/tap_source.h"
#include "kernels/library_fft.h"
#include "kernels/tile_kernels.h"
#include "lcsm/status.h"

namespace lcsm::conv {

class PreparedConvolution {
 public:
  // Makes the spectra that the plan's levels want. The bank must have been made
  // for plan.problem, or hold TapsMade(plan) taps or more of its filters; of
  // those only TapsKept(plan) are kept, so that a caller who lets go of it gets
  // the memory back. `source` may be null unless the plan evaluates taps.
  //
  // `shorter`, if not null, is of the same mixers and channels and of filters
  // that begin with the same taps: levels that are the same there and here are
  // shared, not made.
  static StatusOr<std::shared_ptr<const PreparedConvolution>> Create(
      Plan plan, std::shared_ptr<const FilterBank> filters, ThreadPool& pool,
      const PreparedConvolution* shorter = nullptr,
      std::shared_ptr<const TapSource> source = nullptr);

  // The same for `rows` rows of a batch: shares everything with this one.
  // Error: a problem larger than any memory, or of no rows.
  StatusOr<std::shared_ptr<const PreparedConvolution>> ForBatch(
      size_t rows) const;

  const Plan& plan() const { return plan_; }
  const FilterBank& filters() const { return *filters_; }
  const std::shared_ptr<const TapSource>& source() const { return source_; }
  // One for each of the plan's levels.
  const std::vector<std::shared_ptr<const LevelOp>>& ops() const {
    return ops_;
  }

 private:
  PreparedConvolution() = default;
  // An op of this one that does for `level` of `problem`, or null.
  std::shared_ptr<const LevelOp> Find(const Problem& problem,
                                      const Level& level) const;

  Plan plan_;
  std::shared_ptr<const FilterBank> filters_;
  std::shared_ptr<const TapSource> source_;
  std::vector<std::shared_ptr<const LevelOp>> ops_;
};

// One session. Not thread safe; uses the pool it was given, which must outlive
// it and must not be in use by another thread during a call.
class OnlineConvolution {
 public:
  static StatusOr<std::unique_ptr<OnlineConvolution>> Create(
      std::shared_ptr<const PreparedConvolution> prepared, ThreadPool& pool);

  // One position of one mixer. x and y are [B][D] and may be the same. Requires
  // position() < L, and that mixers are stepped in order, each once between two
  // calls of Advance.
  void Step(size_t mixer, const float* x, float* y) noexcept;
  // Ends the position: with the across-layers schedule, does the tiles that are
  // now due, and this step's share of the deferred ones.
  void Advance() noexcept;

  // With Schedule::kPerLayer, between Step(mixer, ..) and Advance: what the
  // inputs so far contribute to the next position, [B][D]; zeros at the end.
  void Ahead(size_t mixer, float* y) const noexcept;

  // With Problem::primed, at position 0: where contributions of earlier inputs
  // to the positions of one history are to be stored, [length()][kLanes].
  // Histories are numbered as in layout.h.
  float* Accumulators(size_t history) noexcept { return view_.At(history, 0); }
  // Floats from one history to the next.
  size_t AccumulatorStride() const noexcept { return view_.stride; }

  // Another session at the same position with the same past, independent from
  // now on. For the same pool. Error: memory.
  StatusOr<std::unique_ptr<OnlineConvolution>> Fork() const;

  // A session of `rows` rows, each with the past of this one, which has one. A
  // row's outputs have the bits that this session would give. Tiles of distant
  // levels that are open are first run to their end, here and at once. Errors:
  // more rows than one, no rows; memory.
  StatusOr<std::unique_ptr<OnlineConvolution>> Spread(size_t rows) const;

  // Saves everything that moves, and brings it back into a session of the same
  // plan on the same SIMD target, from where it goes on in the same bits. After
  // an error Load leaves it fit only for Reset. Errors: the file's.
  Status Save(io::SectionWriter& writer) const;
  Status Load(io::SectionReader& reader);

  // Goes on by a longer plan of the same filters, between two positions: from
  // here on every output has the bits that a session of that plan would have
  // given had it taken in all inputs. While this runs both sessions' memory is
  // taken, and about the time of the work that the plan's levels have in hand
  // (for lazy and eager: that they would have spent on outputs to come). Errors
  // leave the session as it was: a problem of other mixers, channels or rows,
  // or of fewer positions; a plan that evaluates taps; inputs that are
  // forgotten (Problem::growable keeps them) or were never here
  // (Problem::primed); memory.
  Status Reserve(std::shared_ptr<const PreparedConvolution> longer);
  // The same as a session of its own, for the same pool; this one stays.
  StatusOr<std::unique_ptr<OnlineConvolution>> Grown(
      std::shared_ptr<const PreparedConvolution> longer) const;

  // `count` positions of one mixer; x and y are [count][B][D] and may be the
  // same. Requires position() + count <= L. Threads split the channels.
  void StepMany(size_t mixer, size_t count, const float* x, float* y) noexcept;
  void AdvanceMany(size_t count) noexcept;

  // The number of positions taken in.
  size_t position() const { return position_; }
  size_t length() const { return plan().problem.length; }
  const Plan& plan() const { return prepared_->plan(); }
  // Back to position 0, all histories forgotten.
  void Reset() noexcept;

  // For benchmarks, which would otherwise take hours to reach a position:
  // pretends that the first `position` inputs were rows[t % num_rows]
  // ([num_rows][B][D], the same for all mixers). The accumulators are left as
  // they are and spectra of earlier blocks are zeros, so outputs are wrong from
  // then on; their cost is right.
  void PretendHistory(size_t position, const float* rows,
                      size_t num_rows) noexcept;
  // For benchmarks: moves without doing anything. position <= L.
  void PretendPosition(size_t position) noexcept;
  // For benchmarks: the work that falls due when r inputs are known, of all
  // mixers, on the pool. Adds to the accumulators each time it is called.
  void RunDueWork(size_t r) noexcept;

 private:
  OnlineConvolution() = default;
  OnlineConvolution& operator=(OnlineConvolution&&) = default;

  // Brings a session that was just made to where it stands when the first
  // `position` inputs in `inputs`, which has all of them, were taken in. Error:
  // memory.
  Status Rebuild(const HistoryView& inputs, size_t position);
  // One history of it. `room` is lines for the largest tile, of this thread.
  void RebuildHistory(size_t h, const HistoryView& inputs, float* room,
                      size_t worker) noexcept;
  void RebuildEager(size_t h, const HistoryView& inputs) noexcept;
  void RebuildLevel(size_t k, size_t h, const HistoryView& inputs, float* room,
                    size_t worker) noexcept;
  void RebuildTiny(size_t r, size_t h, const HistoryView& inputs,
                   float* room) noexcept;

  // Histories are numbered as in layout.h.
  size_t HistoryGroup(size_t mixer, size_t row, size_t group) const noexcept;
  // The tile due when r inputs are known, if it is one that the red cells'
  // pass before does on the way: see tiny_levels.h.
  TileKernels::Follow TinyTile(size_t r) const noexcept;
  // Red cells of all groups of one mixer and row at position t: x and y are D
  // floats.
  void RedCells(size_t mixer, size_t row, size_t t, const float* x,
                float* y) noexcept;
  // Inputs [0, r) are known: does the deferrable work that falls due now, for
  // the histories [begin, end).
  void DueWork(size_t begin, size_t end, size_t r, size_t worker) noexcept;
  // The level whose tiles fall due when r inputs are known, if their taps are
  // to be evaluated first; else null.
  const Level* EvaluatedAt(size_t r) const noexcept;
  // Its tiles of one mixer, taps and all, on the pool.
  void EvaluatedWork(size_t mixer, const Level& level, size_t r) noexcept;
  // Of StepMany: positions [begin, end) of the call, of which the last one may
  // be followed by tiles with evaluated taps, which are not done here.
  void StepPiece(size_t mixer, size_t begin, size_t end, const float* x,
                 float* y) noexcept;
  // The same for lazy and eager.
  void Gather(size_t begin, size_t end, size_t r) noexcept;
  void Scatter(size_t begin, size_t end, size_t r) noexcept;
  // Groups that make a chunk worth handing to another thread at position r.
  size_t Grain(size_t r) const noexcept;

  std::shared_ptr<const PreparedConvolution> prepared_;
  ThreadPool* pool_ = nullptr;
  const TileKernels* kernels_ = nullptr;
  size_t position_ = 0;
  size_t groups_ = 0;  // Of one mixer and row.
  FloatBuffer histories_;
  HistoryView view_;               // Of the same.
  std::vector<FloatBuffer> kept_;  // Of each level, [history][KeptFloats].
  std::unique_ptr<DeferredWork> deferred_;    // Null without distant levels.
  std::unique_ptr<EvaluatedTaps> evaluated_;  // Null where all taps are kept.
  bool folds_tiny_ = false;
  // Lines that outputs of the top level's tiles find full of inputs, a ring
  // ago. 0 where histories are whole.
  size_t cleared_ = 0;

  // Eager only: a second set of accumulators, in the histories' layout, that
  // takes the scattered products of the last kSumBlock inputs before they join
  // the first. Without it each output would be one running sum of up to L
  // terms, which misses the error bound at 2^20.
  FloatBuffer recent_;

  // Per thread: one stretch of floats for whichever level runs, and a library
  // transform per level.
  FloatBuffer scratch_floats_;
  std::vector<std::unique_ptr<LibraryFft>> scratch_ffts_;
  std::vector<LevelScratch> scratch_;  // [worker][level]
};

}  // namespace lcsm::conv
