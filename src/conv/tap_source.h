// Taps that are evaluated when a tile wants them, instead of being held: for
// filters that come from a network, when memory is short.
//
// TapSource is whoever knows the filters, shared by sessions. EvaluatedTaps is
// a session's room for the taps of one mixer: what a tile reads, put there by
// all threads together, in a bank of its own that level ops then read as they
// would any other. Who owns what: PreparedConvolution shares the source, a
// session owns the room and each thread's scratch, made with it.
//
// What must never happen: a tap with other bits than the bank would have held,
// whatever the range, thread or SIMD target; an allocation or failure in a
// step; a tile that reads one mixer's taps for another.
#pragma once

#include <cstddef>
#include <memory>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "conv/filter_bank.h"
#include "conv/plan.h"
#include "kernels/dense.h"
#include "lcsm/status.h"

namespace lcsm::conv {

// Lags that a thread evaluates at a time: a millisecond's work for a network of
// 64 units and 256 channels, beside which its reading the network does not
// show. As many panels (kernels/dense.h) as that, so that none is half full.
inline constexpr size_t kLagsAtATime = 8 * kPanel;

// Immutable; called by many threads at once. Whoever makes one has seen to it
// that no tap in reach fails to be finite.
class TapSource {
 public:
  virtual ~TapSource() = default;

  // Sets taps [first, first + count) of the only mixer of `out` to those of
  // `mixer`: the bits that the bank of all taps would hold, however lags are
  // cut. `scratch` is Problem::evaluation.scratch_floats, 64-byte aligned, this
  // thread's for the time of the call and of any content.
  virtual void Evaluate(size_t mixer, size_t first, size_t count,
                        float* scratch, FilterBank& out) const noexcept = 0;

  // Nobody here will want the first `count` taps of `mixer` again for a while.
  virtual void Rest(size_t /*mixer*/, size_t /*count*/) const noexcept {}
};

// One thread at a time.
class EvaluatedTaps {
 public:
  // Room for any level of the plan, which evaluates some. Error: memory.
  static StatusOr<std::unique_ptr<EvaluatedTaps>> Create(
      const Plan& plan, std::shared_ptr<const TapSource> source,
      size_t threads);
  // 0 for plans that evaluate nothing.
  static size_t BytesFor(const Plan& plan, size_t threads);

  // Evaluates what tiles of `level` read of one mixer, on a pool of no more
  // threads than this was made for.
  void Evaluate(size_t mixer, const Level& level, ThreadPool& pool) noexcept;
  // Of the mixer that was evaluated last, as its only one.
  const FilterBank& bank() const { return *bank_; }

 private:
  EvaluatedTaps() = default;

  Problem problem_;
  std::shared_ptr<const TapSource> source_;
  std::unique_ptr<FilterBank> bank_;
  FloatBuffer scratch_;
};

// Taps that a tile of a level of one slice reads.
size_t TapsOfTile(const Problem& problem, const Level& level);

}  // namespace lcsm::conv
