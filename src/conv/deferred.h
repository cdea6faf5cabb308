// The distant levels of one session: tiles that may begin when an input block
// is complete and are due a whole block later, run a few pieces a step.
//
// Each thread has histories of its own, and for each level a cursor over their
// tiles' pieces. What a step does is a function of the position alone, and
// outputs go into buffers of their own that are added block by block at fixed
// positions, in the order of levels: so bits depend neither on the number of
// threads nor on how far anybody got.
//
// Not thread safe; calls into the pool it was given. What must never happen: a
// piece that reads inputs which are not there yet or no longer there, an output
// read before its last piece ran, an allocation or failure after Create.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "conv/filter_bank.h"
#include "conv/level_op.h"
#include "conv/plan.h"
#include "io/section_file.h"
#include "lcsm/status.h"

namespace lcsm::conv {

// The lines of a session's histories, see OnlineConvolution.
struct HistoryView {
  float* lines = nullptr;
  size_t stride = 0;  // Floats from one history to the next.
  size_t ring = 1;    // Lines of a history; position t is line t % ring.
  float* At(size_t history, size_t position) const {
    return lines + history * stride + position % ring * kLanes;
  }
};

class DeferredWork {
 public:
  // `kept` is the session's memory of each level, [history][KeptFloats].
  // Everything handed in must outlive this.
  static StatusOr<std::unique_ptr<DeferredWork>> Create(
      const Plan& plan, const std::vector<std::shared_ptr<const LevelOp>>& ops,
      const FilterBank& filters, const HistoryView& histories,
      const std::vector<float*>& kept, ThreadPool& pool);

  // The step that made `known` inputs known: begins tiles, runs this step's
  // share of all that are open.
  void Step(size_t known) noexcept;

  // Known tokens, a history at a time: the whole tile of every level that can
  // begin at `known`, for one history, on thread `worker`. Finish() must have
  // run since the last Step, and Took(known) must follow the last one.
  void StepWhole(size_t history, size_t known, size_t worker) noexcept;
  // For a session that takes over from another one: brings one history's part
  // to where it stands when the `position` inputs in `inputs`, which has all of
  // them, were taken in. Took(position) must follow the last one.
  void Rebuild(size_t history, const HistoryView& inputs, size_t position,
               size_t worker) noexcept;
  // Runs all open tiles to their end.
  void Finish() noexcept;
  // Tells that all tiles up to `known` were run by StepWhole.
  void Took(size_t known) noexcept;

  // Outputs join the accumulators this many positions at a time, when the first
  // of them is the next one. (Where they did a base block at a time, that was
  // half of the slowest step: 0.13 ms of 0.99, at 64 positions, 8 x 256.)
  // Divides every distant block.
  static constexpr size_t kLines = 4;
  // Adds what all levels have for the `count` positions from `position` on, all
  // in one run of kLines, to the lines from `acc` on.
  void AddOutputs(size_t history, size_t position, size_t count,
                  float* acc) const noexcept;

  // Goes on where another one stands, made of the same arguments but for
  // memory of its own and a pool of as many threads.
  void CopyFrom(const DeferredWork& other) noexcept;
  // Goes on where `one` stands, all of whose open tiles have run to their end:
  // work of the same levels, for more rows. Their outputs, in the levels' kept
  // memory, are the caller's to bring over.
  void SpreadFrom(const DeferredWork& one) noexcept;
  // The name of a level's section in a session's file. (Another one, "deferred
  // level", was that of builds whose outputs joined a base block at a time.)
  static constexpr char kSection[] = "deferred tiles";
  // Saves and restores where the work stands; the outputs so far are in the
  // levels' kept memory. Save runs all open tiles to their end first, which
  // changes no bit of any output. Errors: the file's.
  Status Save(io::SectionWriter& writer) noexcept;
  Status Load(io::SectionReader& reader) noexcept;

  void Reset() noexcept;
  // For benchmarks: as if Step(position) had just run, without its work.
  void PretendPosition(size_t position) noexcept;

 private:
  struct OneLevel {
    Level level;
    const SlicedOp* op = nullptr;
    float* kept = nullptr;
    size_t kept_stride = 0;  // Floats a history.
    size_t begun = 0;        // The open tile began when this many were known.
    Tile tile;               // The open one; terms = 0: none.
  };
  // One thread's part of the work.
  struct Part {
    size_t first_history = 0, last_history = 0;
    std::vector<float*> scratch;  // Of each level: an open tile's.
    std::vector<size_t> done;     // Pieces of each level's open tiles.
  };

  explicit DeferredWork(const Problem& problem) : problem_(problem) {}
  LevelJob Job(const OneLevel& one, const Tile& tile,
               size_t history) const noexcept;
  // All pieces of one tile.
  void RunWhole(size_t l, const LevelJob& job, size_t worker) noexcept;
  // Pieces of level `l` that are done when `share` of `of` is.
  size_t Goal(size_t l, size_t share, size_t of,
              const Part& part) const noexcept;
  // Runs pieces of level `l` until `share` of `of` is done.
  void Run(size_t l, size_t share, size_t of, Part& part) noexcept;
  void RunAll(size_t known, bool to_the_end) noexcept;

  const Problem problem_;
  HistoryView histories_;
  const FilterBank* filters_ = nullptr;
  ThreadPool* pool_ = nullptr;
  std::vector<OneLevel> levels_;
  std::vector<Part> parts_;  // One a thread.
  FloatBuffer scratch_;
};

}  // namespace lcsm::conv
