// The mixers of a stack together: which of their work can wait for the end of a
// position, how that is shared, and one sequence's states.
//
// Long convolutions of like shape share one executor, so that the tiles that
// fall due after a position are those of all layers at once (the paper's
// Algorithm 3). That is possible because a tile wants inputs of earlier
// positions only, and after a position's last mixer all of these are there,
// whichever mixers read which others. Two kinds of links cost something, and
// MixerSchedule says which mixers pay:
//   - A mixer that reads another one *ahead* (what its inputs so far give to
//     the next position) wants its tiles before the position is over: that one
//     runs in order, with an executor of its own.
//   - A mixer that reads a later one's output of an earlier position: known
//     positions cannot go through layer by layer, but only `together` at a
//     time.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "conv/online_convolution.h"
#include "conv/plan.h"
#include "io/section_file.h"
#include "lcsm/status.h"
#include "mixers/mixer.h"

namespace lcsm {

class MixerStates;
class PreparedMixers;

// One mixer's input has something of another mixer in it. How it gets there is
// the stack's matter.
struct MixerRead {
  enum class What {
    kOutput,  // Its output, or anything made from that.
    kAhead,   // MixerState::Ahead.
  };
  size_t mixer = 0;
  size_t delay = 0;  // Positions ago; 0: the same one.
  What what = What::kOutput;
};

struct MixerEntry {
  std::shared_ptr<const Mixer> mixer;
  // Besides its own past, and besides whatever the mixers before it do to the
  // residual stream of the same position: that is always allowed.
  std::vector<MixerRead> reads = {};
};

struct MixerSetOptions {
  size_t horizon = 1;
  // Of the long convolutions, and of mixers that have an executor to
  // themselves. Its memory limit is for all mixers, their weights and one
  // sequence's states.
  conv::PlanOptions plan;
  // If not empty, what `plan.levels` is, for each executor: as
  // MixerSchedule::Levels of a set of the same mixers gives them.
  std::vector<std::vector<conv::Level>> levels = {};
  // Not 0: states may be given up to so many positions later
  // (MixerStates::Grown). Long convolutions then keep all inputs, and the set
  // keeps all their taps.
  size_t longest = 0;
  // Not null: a set of the same mixers and the same `longest`, for no more
  // positions, whose states are to grow onto this one. Its plans' small levels
  // stay, what is the same is shared, and taps that it has are not evaluated
  // again.
  const PreparedMixers* shorter = nullptr;
};

// When each mixer's work is done.
struct MixerSchedule {
  enum class Work {
    kAtOnce,        // Within its step: nothing of it can wait.
    kAcrossLayers,  // After the position, with the others of its group.
    kInOrder,       // Within its step, because somebody reads it ahead.
  };
  struct Entry {
    static constexpr size_t kNone = static_cast<size_t>(-1);
    Work work = Work::kAtOnce;
    size_t group = kNone;  // Of mixers that share executors.
    std::string describe, why;
    // As it was given, or as it was planned (Mixer::Planned).
    std::shared_ptr<const Mixer> mixer;
  };
  // One executor.
  struct Group {
    std::vector<size_t> mixers;
    size_t convolutions = 0;
    // As many executors as that (MixerConvolutions::phases), by one plan.
    size_t phases = 1;
    conv::Plan plan;
  };
  // Positions that may go through all mixers at a time.
  static constexpr size_t kAll = static_cast<size_t>(-1);

  std::vector<Entry> entries;
  std::vector<Group> groups;
  size_t together = kAll;

  // Of each plan: first those of mixers that have an executor to themselves,
  // then the groups'. Groups may differ by what their taps and channels are,
  // and what is read ahead has no deferred levels.
  std::vector<std::vector<conv::Level>> Levels() const;
  // A few lines for people.
  std::string Print() const;
};

// What falls due of one group when `known` inputs (of a phase) are known:
// `contributions` products of an input and a tap for each channel of each
// convolution.
struct MixerDue {
  size_t inputs = 0, outputs = 0;
  size_t contributions = 0;
};

struct MixerSetMemory {
  size_t weights = 0;
  conv::MemoryEstimate convolution;  // Sums over groups.
  size_t states = 0;                 // Of one sequence, beside that.
  size_t Total() const { return weights + convolution.Total() + states; }
};

class PreparedMixers : public std::enable_shared_from_this<PreparedMixers> {
 public:
  // `mixers` in the order in which a position goes through them; at least one.
  // Errors, naming the mixer by its number: one that reads itself, one that
  // does not exist, a later one of the same position (a cycle), or ahead one
  // that has nothing to read ahead; a horizon of 0 or beyond the longest; a
  // shorter set of other mixers; levels for other executors than there are; a
  // plan's, the memory limit among them; memory.
  static StatusOr<std::shared_ptr<const PreparedMixers>> Create(
      std::vector<MixerEntry> mixers, const MixerSetOptions& options,
      ThreadPool& pool);
  // The same without making anything.
  static StatusOr<MixerSchedule> Schedule(const std::vector<MixerEntry>& mixers,
                                          const MixerSetOptions& options);
  static StatusOr<MixerSetMemory> Foretell(
      const std::vector<MixerEntry>& mixers, const MixerSetOptions& options,
      size_t threads);

  size_t size() const { return mixers_.size(); }
  const Mixer& mixer(size_t m) const { return *mixers_[m].mixer; }
  size_t horizon() const { return horizon_; }
  const MixerSchedule& schedule() const { return schedule_; }
  // For 0 < known < horizon.
  MixerDue Due(size_t group, size_t known) const;

  // States at position 0. `pool` must outlive them. They keep this object
  // alive. Error: memory.
  StatusOr<std::unique_ptr<MixerStates>> NewStates(ThreadPool& pool) const;

 private:
  friend class MixerStates;
  struct Executor {
    size_t group = 0, phase = 0;
  };
  PreparedMixers() = default;
  // Why a set of so many mixers in these groups, for so many positions, is none
  // that states of this one can grow onto; or ok.
  Status CheckLonger(const std::vector<MixerSchedule::Group>& groups,
                     size_t mixers, size_t horizon) const;

  std::vector<MixerEntry> mixers_;
  size_t horizon_ = 0;
  MixerSchedule schedule_;
  std::vector<std::shared_ptr<const conv::PreparedConvolution>> groups_;
  // All taps of each group, where longer sets may be made of this one.
  std::vector<std::shared_ptr<const conv::FilterBank>> taps_;
  std::vector<size_t> first_convolution_;  // Of each mixer, in its group.
  std::vector<Executor> executors_;        // Of states.
};

// One sequence. For each position: Step each mixer once, in order, then
// Advance. For known ones: Prefill each mixer with the same count, in order,
// then Advance(count). Several sequences (Spread) take steps only.
class MixerStates {
 public:
  size_t size() const { return states_.size(); }
  MixerState& operator[](size_t m) { return *states_[m]; }
  const MixerState& operator[](size_t m) const { return *states_[m]; }
  // Ends the positions that all mixers have taken in since the last call: does
  // what was deferred and falls due now. Never allocates, never fails.
  void Advance(size_t count = 1) noexcept;

  // Positions ended.
  size_t position() const { return position_; }
  size_t horizon() const { return prepared_->horizon(); }
  void Reset() noexcept;
  // Between positions: other states with the same past, independent from now
  // on, for the same pool. Error: memory.
  StatusOr<std::unique_ptr<MixerStates>> Fork() const;
  // Between positions: `rows` sequences that go on by steps together, each with
  // the past of this one, for the same pool. Each has the bits of a fork.
  // Errors: no rows; sequences that are several already; memory.
  StatusOr<std::unique_ptr<MixerStates>> Spread(size_t rows) const;
  size_t rows() const { return rows_; }
  // Between positions: states of a longer set (MixerSetOptions::shorter) at the
  // same position, for the same pool. Every mixer goes on in the bits of one
  // that got all its inputs there. These ones stay. Errors: a set of other
  // mixers, or for fewer positions; a set that was made without `longest` and
  // has let go of inputs; memory.
  StatusOr<std::unique_ptr<MixerStates>> Grown(
      std::shared_ptr<const PreparedMixers> longer) const;
  // Between positions: everything that moves; comes back into states of the
  // same preparation on the same SIMD target. After an error Load leaves them
  // fit only for Reset. Errors: the file's.
  Status Save(io::SectionWriter& writer) const;
  Status Load(io::SectionReader& reader);
  // Of all states, without the executors.
  size_t bytes() const;

  // For benchmarks, which would otherwise take hours to reach a position: from
  // here on as if `position` positions had been taken in, whatever they were.
  // Steps and known positions cost what they cost there, the work that falls
  // due included; outputs mean nothing, but are finite where those of a real
  // past would be. Between positions; position <= horizon(). Error: memory.
  Status Pretend(size_t position);
  // For benchmarks: to another position, with the past left as it is (so after
  // Pretend of the furthest one). Costs nothing. position <= horizon().
  void MoveTo(size_t position) noexcept;
  // For benchmarks: the executors, group by group, those of a group's phases
  // side by side.
  size_t convolutions() const { return convolutions_.size(); }
  conv::OnlineConvolution& convolution(size_t i) { return *convolutions_[i]; }
  const conv::OnlineConvolution& convolution(size_t i) const {
    return *convolutions_[i];
  }

 private:
  friend class PreparedMixers;
  MixerStates() = default;
  Status MakeStates();
  // Of the first `position` positions, those that executor i takes.
  size_t Taken(size_t i, size_t position) const {
    const PreparedMixers::Executor& at = prepared_->executors_[i];
    return MixerConvolutions::OfPhase(
        position, at.phase, prepared_->schedule_.groups[at.group].phases);
  }

  std::shared_ptr<const PreparedMixers> prepared_;
  ThreadPool* pool_ = nullptr;
  std::vector<std::unique_ptr<conv::OnlineConvolution>> convolutions_;
  std::vector<std::unique_ptr<MixerState>> states_;
  size_t position_ = 0, rows_ = 1;
};

}  // namespace lcsm
