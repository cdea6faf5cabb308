// The contract of pieces that mix along time: all that a stack of layers has to
// know of them.
//
// At each position a mixer takes one row of floats in (streams side by side,
// e.g. q | k | v) and gives one row out, which depends on the rows up to this
// one and on no later one. Projections, norms and MLPs are not its business.
//
// Three stages, each checked when it is made so that the next cannot fail:
//   Mixer           immutable weights.
//   PreparedMixers  all mixers of a stack for a horizon: plans, taps, spectra
//                   (mixer_set.h). Immutable.
//   MixerStates     one sequence: a MixerState for each mixer, and the work
//                   that was deferred (mixer_set.h).
// A stack with one mixer is made in the same way.
//
// Thread safety: the first two may be shared by threads. States belong to one
// thread at a time, and so does the pool that they were made with. What must
// never happen: an output that depends on a later input or, in any bit, on the
// number of threads; an allocation or a failure in a step.
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

namespace lcsm {

// What a mixer satisfies, of y[t] = read(x[t], aggregate_{i<=t} cont(i, t)).
struct MixerTraits {
  // P1: aggregate is associative (it need not be commutative: contributions
  // come in the order of their positions).
  bool associative = true;
  // P2: cont(i, t) looks at the inputs up to i and at the number t, not at the
  // input at t. Then it can be computed before that one is known.
  bool query_blind = true;
  // The aggregate of all inputs so far takes the same memory at any position,
  // and no later one needs more.
  bool finite_state = false;
};

// Bytes, foretold. What a mixer wants of shared convolutions is not in it:
// PreparedMixers::Foretell has that.
struct MixerMemory {
  size_t weights = 0;
  size_t state = 0;  // Of one sequence.
};

// Long convolutions that a mixer has done by an executor that it shares with
// others of like shape (the paper's Algorithm 3).
struct MixerConvolutions {
  size_t count = 0;
  size_t channels = 0;
  size_t taps = 0;  // kEndless: as many as there are positions.
  // Positions are dealt out to so many sequences in turns, each convolved by
  // itself with the same taps: filters with a tap at every so many lags only.
  size_t phases = 1;

  // The first `positions` ones of which are so many of a phase's.
  static size_t OfPhase(size_t positions, size_t phase, size_t phases) {
    return (positions + phases - 1 - phase) / phases;
  }

  static constexpr size_t kEndless = static_cast<size_t>(-1);
};

// One sequence's state of one mixer, or that of several which go on by steps
// together (Mixer::NewRows). Made by MixerStates.
class MixerState {
 public:
  virtual ~MixerState() = default;
  MixerState(const MixerState&) = delete;
  MixerState& operator=(const MixerState&) = delete;

  // One position: x is [in_width], y [out_width]; the same where the widths
  // are, or not overlapping. Finishes the output; contributions to later
  // positions may be left to MixerStates::Advance, which must follow before the
  // next step. Requires position() < horizon. Never allocates, never fails.
  // Of several sequences x is [rows][in_width], y [rows][out_width].
  void Step(const float* x, float* y) noexcept {
    DoStep(x, y);
    ++position_;
  }

  // `count` known positions: x is [count][in_width], y [count][out_width], as
  // above. MixerStates::Advance(count) must follow. Requires position() + count
  // <= horizon; 0 is nothing. However known positions are cut into calls, and
  // whether they come by steps, changes rounding at most. Error: memory (then
  // the state is fit only for Reset).
  Status Prefill(size_t count, const float* x, float* y) {
    if (count == 0) return OkStatus();
    LCSM_RETURN_IF_ERROR(DoPrefill(count, x, y));
    position_ += count;
    return OkStatus();
  }

  // Between Step and Advance: what the inputs so far contribute to the next
  // position's output, [out_width] of each sequence, whether or not the horizon
  // has that one. Only for a mixer that another one was declared to read ahead
  // (MixerRead), which is why its work is not deferred.
  virtual void Ahead(float* /*y*/) noexcept {}

  // MixerStates::Advance calls this for a mixer that defers work of its own
  // (Mixer::defers): the positions that Step or Prefill took in last have
  // ended. A call with 1 does what Step deferred and falls due now; Prefill of
  // more defers nothing. Never allocates, never fails.
  virtual void Advance(size_t /*count*/) noexcept {}

  // Positions taken in.
  size_t position() const { return position_; }
  // Of memory that is this state's own.
  virtual size_t bytes() const = 0;

  // For whoever holds the state: MixerStates, or a mixer with others inside.
  // They leave shared executors alone.
  //
  // For benchmarks: MixerStates::Pretend and MoveTo, of this state.
  Status Pretend(size_t position) {
    LCSM_RETURN_IF_ERROR(DoPretend(position));
    MoveTo(position);
    return OkStatus();
  }
  void MoveTo(size_t position) noexcept {
    DoMoveTo(position);
    position_ = position;
  }
  // Back to position 0.
  void Reset() noexcept {
    DoReset();
    position_ = 0;
  }
  // `other` is a state of the same mixer, made with equal resources. Error:
  // memory (then it is fit only for Reset).
  Status CopyFrom(const MixerState& other) {
    LCSM_RETURN_IF_ERROR(DoCopyFrom(other));
    position_ = other.position_;
    return OkStatus();
  }
  // This state was just made, and `shorter` is one of the same mixer for no
  // more positions: goes on from where that one stands, in the bits of a state
  // that took in all itself. Error: memory (then it is fit only for Reset).
  Status GrowFrom(const MixerState& shorter) {
    LCSM_RETURN_IF_ERROR(DoGrowFrom(shorter));
    position_ = shorter.position_;
    return OkStatus();
  }
  // This state was just made by NewRows, and `one` is one of the same mixer and
  // horizon: each row goes on from where that one stands, in its bits. Error:
  // memory.
  Status SpreadFrom(const MixerState& one) {
    LCSM_RETURN_IF_ERROR(DoSpreadFrom(one));
    position_ = one.position_;
    return OkStatus();
  }
  // All that moves but the position. Errors: the file's.
  virtual Status Save(io::SectionWriter& writer) const = 0;
  // After an error it is fit only for Reset.
  Status Load(io::SectionReader& reader, size_t position) {
    position_ = position;
    return DoLoad(reader, position);
  }

 protected:
  MixerState() = default;
  virtual void DoStep(const float* x, float* y) noexcept = 0;
  virtual Status DoPrefill(size_t count, const float* x, float* y) = 0;
  // Fills what `position` positions would have left behind with made-up
  // numbers (FillPast).
  virtual Status DoPretend(size_t position) = 0;
  // For states that hold a position of their own besides position().
  virtual void DoMoveTo(size_t /*position*/) noexcept {}
  virtual void DoReset() noexcept = 0;
  virtual Status DoCopyFrom(const MixerState& other) = 0;
  // DoCopyFrom where nothing of the state depends on the horizon. No default:
  // whose does, and forgets, would read behind the end.
  virtual Status DoGrowFrom(const MixerState& shorter) = 0;
  // Only of states that NewRows makes; the same where all of the past is an
  // executor's.
  virtual Status DoSpreadFrom(const MixerState& one) { return DoCopyFrom(one); }
  virtual Status DoLoad(io::SectionReader& reader, size_t position) = 0;

 private:
  size_t position_ = 0;
};

// A state that takes known positions as it takes steps, any number at a time.
class RowMixerState : public MixerState {
 protected:
  // `count` positions; x and y as for Prefill.
  virtual void Take(size_t count, const float* x, float* y) noexcept = 0;

 private:
  void DoStep(const float* x, float* y) noexcept final { Take(1, x, y); }
  Status DoPrefill(size_t count, const float* x, float* y) final {
    Take(count, x, y);
    return OkStatus();
  }
};

// `n` numbers of a past that never was, the same ones in every call: spread
// evenly over [0.5, 1.5], so that sums of them show how many there are and no
// normaliser of positive terms vanishes.
void FillPast(float* values, size_t n) noexcept;

class Mixer {
 public:
  virtual ~Mixer() = default;
  Mixer(const Mixer&) = delete;
  Mixer& operator=(const Mixer&) = delete;

  // One line for people, e.g. "softmax attention, 8 heads of 64".
  virtual std::string Describe() const = 0;
  virtual size_t in_width() const = 0;
  virtual size_t out_width() const = 0;
  virtual MixerTraits traits() const = 0;
  // Exactly what weights and a state for `horizon` positions take, the latter
  // on a pool of so many threads.
  virtual MixerMemory Memory(size_t horizon, size_t threads) const = 0;

  // Long convolutions, if it has any, and taps [first, first + count) of one of
  // them for all its channels, [count][channels]. May be asked by several
  // threads at a time.
  virtual MixerConvolutions convolutions() const { return {}; }
  virtual void Taps(size_t /*which*/, size_t /*first*/, size_t /*count*/,
                    float* /*values*/) const noexcept {}

  // Of a mixer that has an executor to itself instead of a share in one: the
  // same mixer with that executor planned for a horizon. Null: it has none.
  // Errors: methods, levels and schedules that it does not know, a memory limit
  // below what it takes.
  virtual StatusOr<std::shared_ptr<const Mixer>> Planned(
      size_t /*horizon*/, const conv::PlanOptions& /*options*/) const {
    return std::shared_ptr<const Mixer>();
  }
  // Of one that Planned made: what its executor follows. Null: no such mixer.
  virtual const conv::Plan* plan() const { return nullptr; }

  // Whether its states defer work of their own, beside shared convolutions'.
  virtual bool defers() const { return false; }
  // Whether its states have something to read ahead, MixerState::Ahead.
  virtual bool CanBeReadAhead() const { return false; }

  // What a state is made with. Everything outlives it.
  struct Resources {
    size_t horizon = 1;
    ThreadPool* pool = nullptr;
    // Its convolution `o` is mixer first_convolution + o of these executors,
    // one for each phase, which MixerStates moves on.
    std::vector<conv::OnlineConvolution*> convolutions = {};
    size_t first_convolution = 0;
  };
  // Error: memory.
  virtual StatusOr<std::unique_ptr<MixerState>> NewState(
      const Resources& resources) const = 0;
  // A state of `rows` sequences that go on by steps, with executors of as many
  // rows: MixerState::SpreadFrom, and no Prefill. Unless a mixer knows better,
  // states of their own that take their steps in turn. Error: memory.
  virtual StatusOr<std::unique_ptr<MixerState>> NewRows(
      const Resources& resources, size_t rows) const;

 protected:
  Mixer() = default;
};

}  // namespace lcsm
