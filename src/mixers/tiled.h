// The tiling for any mixer that satisfies P1 and P2 (the paper's Algorithm 4):
//   y[t] = read(x[t], aggregate_{i <= t} cont(i, x[i], t)).
//
// When r inputs are known, with U the largest power of two that divides r, what
// inputs [r-U, r) contribute to positions [r, r+U) is aggregated there. So
// every pair i < t is met once, contributions reach each position in the order
// of i (aggregate need not be commutative), and with a range routine that takes
// a tile of U x U pairs in O(U log U) all of it is O(L log^2 L). Tiles begin
// with U = 16; what is nearer, a position aggregates itself from its own block
// of 16, in one call instead of five.
//
// A mixer is a class M with
//   Input, Partial, Output    types that can be copied as bytes; Partial is
//   what
//                             contributions aggregate to
//   size_t units() const      independent columns, e.g. channels; each has its
//                             own inputs, partials and outputs
//   Partial None() const      what is aggregated when nothing is yet
//   void Aggregate(const Partial& later, Partial* earlier) const
//   void Cont(size_t unit, size_t first_in, std::span<const Input> in,
//             size_t first_out, std::span<Partial> out) const
//                             aggregates into out[j], the partial of position
//                             first_out + j, what the inputs at first_in ..
//                             contribute to it. No input is behind any output;
//                             a single one may meet its own position.
//   Output Read(size_t unit, const Input& x, const Partial& partial) const
// all const and noexcept. Cont is handed inputs and places and no query: that
// is P2.
//
// TiledDriver runs one sequence of it, TiledAsMixer puts it under the contract
// of mixer.h. Slow twin: the same driver with Tiling::kLazy.
// Thread safety: as in mixer.h; Cont is called for several units at a time.
#pragma once

#include <algorithm>
#include <cassert>
#include <concepts>
#include <cstddef>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include "base/thread_pool.h"
#include "lcsm/status.h"
#include "mixers/mixer.h"

namespace lcsm {

namespace tiled_internal {

template <typename M>
concept HasTypes = requires {
  typename M::Input;
  typename M::Partial;
  typename M::Output;
};
template <typename T>
concept Plain =
    std::is_trivially_copyable_v<T> && std::is_default_constructible_v<T>;
template <typename M>
concept HasPlainTypes = HasTypes<M> && Plain<typename M::Input> &&
    Plain<typename M::Partial> && Plain<typename M::Output>;
template <typename M>
concept HasUnits = requires(const M& m) {
  { m.units() }
  noexcept->std::convertible_to<size_t>;
};
template <typename M>
concept HasNone = HasTypes<M> && requires(const M& m) {
  { m.None() }
  noexcept->std::convertible_to<typename M::Partial>;
};
template <typename M>
concept HasAggregate = HasTypes<M> &&
    requires(const M& m, const typename M::Partial& later,
             typename M::Partial* earlier) {
  { m.Aggregate(later, earlier) }
  noexcept;
};
template <typename M>
concept HasCont = HasTypes<M> &&
    requires(const M& m, size_t n, std::span<const typename M::Input> in,
             std::span<typename M::Partial> out) {
  { m.Cont(n, n, in, n, out) }
  noexcept;
};
template <typename M>
concept HasRead = HasTypes<M> &&
    requires(const M& m, size_t n, const typename M::Input& x,
             const typename M::Partial& partial) {
  { m.Read(n, x, partial) }
  noexcept->std::convertible_to<typename M::Output>;
};

}  // namespace tiled_internal

template <typename M>
concept TiledMixer =
    tiled_internal::HasPlainTypes<M> && tiled_internal::HasUnits<M> &&
    tiled_internal::HasNone<M> && tiled_internal::HasAggregate<M> &&
    tiled_internal::HasCont<M> && tiled_internal::HasRead<M>;

// The same, but the compiler's message says what is missing.
template <typename M>
constexpr bool CheckTiledMixer() {
  static_assert(tiled_internal::HasTypes<M>,
                "a tiled mixer names its types: Input, Partial (what "
                "contributions aggregate to) and Output");
  static_assert(
      !tiled_internal::HasTypes<M> || tiled_internal::HasPlainTypes<M>,
      "a tiled mixer's Input, Partial and Output are copied and "
      "saved as bytes: they must be trivially copyable and have a "
      "default");
  static_assert(tiled_internal::HasUnits<M>,
                "a tiled mixer has `size_t units() const noexcept`: how many "
                "independent columns it has");
  static_assert(tiled_internal::HasNone<M>,
                "a tiled mixer has `Partial None() const noexcept`: what is "
                "aggregated when there are no contributions yet");
  static_assert(tiled_internal::HasAggregate<M>,
                "a tiled mixer has `void Aggregate(const Partial& later, "
                "Partial* earlier) const noexcept`, which must be associative "
                "(P1)");
  static_assert(tiled_internal::HasCont<M>,
                "a tiled mixer has `void Cont(size_t unit, size_t first_in, "
                "std::span<const Input> in, size_t first_out, "
                "std::span<Partial> out) const noexcept`: contributions of an "
                "input range to an output range, made without the query (P2)");
  static_assert(tiled_internal::HasRead<M>,
                "a tiled mixer has `Output Read(size_t unit, const Input& x, "
                "const Partial& partial) const noexcept`");
  return TiledMixer<M>;
}

enum class Tiling {
  kBinary,
  kLazy,  // Every position aggregates its whole past: the slow twin.
};

template <typename M>
class TiledDriver {
  static_assert(CheckTiledMixer<M>());

 public:
  using Input = typename M::Input;
  using Partial = typename M::Partial;
  using Output = typename M::Output;

  // `pool` must outlive this. Error: memory.
  static StatusOr<std::unique_ptr<TiledDriver>> Create(
      std::shared_ptr<const M> mixer, size_t length, Tiling tiling,
      ThreadPool& pool) {
    const size_t cells = mixer->units() * length;
    std::unique_ptr<TiledDriver> driver(new (std::nothrow) TiledDriver);
    if (driver != nullptr) {
      driver->inputs_.reset(new (std::nothrow) Input[cells]());
      driver->partials_.reset(new (std::nothrow) Partial[cells]());
    }
    if (driver == nullptr || driver->inputs_ == nullptr ||
        driver->partials_ == nullptr) {
      return ResourceExhausted(
          "no memory for a tiled mixer's inputs and partial aggregates of " +
          std::to_string(Bytes(*mixer, length)) + " bytes");
    }
    driver->mixer_ = std::move(mixer);
    driver->length_ = length;
    driver->tiling_ = tiling;
    driver->pool_ = &pool;
    driver->Reset();
    return driver;
  }
  static size_t Bytes(const M& mixer, size_t length) {
    return mixer.units() * length * (sizeof(Input) + sizeof(Partial));
  }

  // One position: x and y are [units] and may be the same. Requires position()
  // < length.
  void Step(const Input* x, Output* y) noexcept {
    for (size_t unit = 0; unit < mixer_->units(); ++unit) {
      RedCell(unit, position_, x[unit], &y[unit]);
    }
  }
  // Ends the position: does the tile that is now due, units on the pool.
  void Advance() noexcept {
    ++position_;
    if (tiling_ == Tiling::kBinary && position_ % kBlock != 0) return;
    const size_t work =
        tiling_ == Tiling::kLazy ? position_ : position_ & -position_;
    pool_->ParallelFor(mixer_->units(), kGrainInputs / work + 1,
                       [&](size_t begin, size_t end, size_t) {
                         for (size_t unit = begin; unit < end; ++unit) {
                           DueWork(unit, position_);
                         }
                       });
  }
  // Known positions: x and y are [count][units]. The same bits as by steps.
  void TakeMany(size_t count, const Input* x, Output* y) noexcept {
    const size_t units = mixer_->units();
    pool_->ParallelFor(units, 1, [&](size_t begin, size_t end, size_t) {
      for (size_t unit = begin; unit < end; ++unit) {
        for (size_t k = 0; k < count; ++k) {
          const size_t at = k * units + unit;
          RedCell(unit, position_ + k, x[at], &y[at]);
          DueWork(unit, position_ + k + 1);
        }
      }
    });
    position_ += count;
  }

  size_t position() const { return position_; }
  void Reset() noexcept {
    position_ = 0;
    std::fill_n(partials_.get(), mixer_->units() * length_, mixer_->None());
  }
  // Of the same mixer and length.
  void CopyFrom(const TiledDriver& other) noexcept {
    const size_t cells = mixer_->units() * length_;
    std::copy_n(other.inputs_.get(), cells, inputs_.get());
    std::copy_n(other.partials_.get(), cells, partials_.get());
    position_ = other.position_;
  }
  // Of the same mixer and no greater length: takes all its inputs in once more.
  void GrowFrom(const TiledDriver& shorter) noexcept {
    const size_t known = shorter.position_;
    pool_->ParallelFor(
        mixer_->units(), 1, [&](size_t begin, size_t end, size_t) {
          for (size_t unit = begin; unit < end; ++unit) {
            for (size_t k = 0; k < known; ++k) {
              Output given;
              RedCell(unit, k, shorter.inputs_[unit * shorter.length_ + k],
                      &given);
              DueWork(unit, k + 1);
            }
          }
        });
    position_ = known;
  }
  std::span<Input> inputs() {
    return {inputs_.get(), mixer_->units() * length_};
  }
  std::span<Partial> partials() {
    return {partials_.get(), mixer_->units() * length_};
  }
  void SetPosition(size_t position) noexcept { position_ = position; }

 private:
  // The smallest tile.
  static constexpr size_t kBlock = 16;
  // Inputs of tiles worth handing to another thread.
  static constexpr size_t kGrainInputs = 1024;
  // Lazy aggregates blocks by themselves, which in sums keeps errors small.
  static constexpr size_t kLazyBlock = 4096;

  TiledDriver() = default;

  void RedCell(size_t unit, size_t t, const Input& x, Output* y) noexcept {
    Input* const inputs = &inputs_[unit * length_];
    Partial* const partial = &partials_[unit * length_ + t];
    const Input now = x;
    inputs[t] = now;
    const size_t near = tiling_ == Tiling::kLazy ? 0 : t % kBlock;
    mixer_->Cont(unit, t - near, {inputs + t - near, near + 1}, t,
                 {partial, 1});
    *y = mixer_->Read(unit, now, *partial);
  }
  void DueWork(size_t unit, size_t r) noexcept {
    if (r >= length_ || (tiling_ == Tiling::kBinary && r % kBlock != 0)) return;
    Input* const inputs = &inputs_[unit * length_];
    Partial* const partials = &partials_[unit * length_];
    if (tiling_ == Tiling::kLazy) {
      for (size_t i = 0; i < r; i += kLazyBlock) {
        Partial block = mixer_->None();
        mixer_->Cont(unit, i, {inputs + i, std::min(kLazyBlock, r - i)}, r,
                     {&block, 1});
        mixer_->Aggregate(block, &partials[r]);
      }
      return;
    }
    const size_t block = r & -r;
    mixer_->Cont(unit, r - block, {inputs + r - block, block}, r,
                 {partials + r, std::min(block, length_ - r)});
  }

  std::shared_ptr<const M> mixer_;
  size_t length_ = 0, position_ = 0;
  Tiling tiling_ = Tiling::kBinary;
  ThreadPool* pool_ = nullptr;
  std::unique_ptr<Input[]> inputs_;      // [units][length]
  std::unique_ptr<Partial[]> partials_;  // [units][length]
};

// A tiled mixer of float streams, one a unit, under the contract. Its tiles are
// deferrable: MixerStates::Advance does them.
template <typename M>
class TiledAsMixer : public Mixer {
  static_assert(CheckTiledMixer<M>());
  static_assert(std::is_same_v<typename M::Input, float> &&
                    std::is_same_v<typename M::Output, float>,
                "a tiled mixer under the contract takes and gives floats");

 public:
  // `describe` is one line for people.
  TiledAsMixer(std::shared_ptr<const M> mixer, std::string describe,
               size_t weight_bytes, Tiling tiling = Tiling::kBinary)
      : mixer_(std::move(mixer)),
        describe_(std::move(describe)),
        weight_bytes_(weight_bytes),
        tiling_(tiling) {}

  std::string Describe() const override { return describe_; }
  size_t in_width() const override { return mixer_->units(); }
  size_t out_width() const override { return mixer_->units(); }
  MixerTraits traits() const override { return {true, true, false}; }
  bool defers() const override { return true; }
  MixerMemory Memory(size_t horizon, size_t) const override {
    return {weight_bytes_, TiledDriver<M>::Bytes(*mixer_, horizon)};
  }
  StatusOr<std::unique_ptr<MixerState>> NewState(
      const Resources& resources) const override {
    LCSM_ASSIGN_OR_RETURN(std::unique_ptr<TiledDriver<M>> driver,
                          TiledDriver<M>::Create(mixer_, resources.horizon,
                                                 tiling_, *resources.pool));
    const size_t bytes = TiledDriver<M>::Bytes(*mixer_, resources.horizon);
    return std::unique_ptr<MixerState>(new State(std::move(driver), bytes));
  }

 private:
  class State final : public MixerState {
   public:
    State(std::unique_ptr<TiledDriver<M>> driver, size_t bytes)
        : driver_(std::move(driver)), bytes_(bytes) {}
    size_t bytes() const override { return bytes_; }
    void Advance(size_t count) noexcept override {
      if (count == 1) driver_->Advance();
    }
    Status Save(io::SectionWriter& writer) const override {
      LCSM_RETURN_IF_ERROR(writer.PutArray(
          "tiled inputs", std::span<const float>(driver_->inputs())));
      return writer.PutArray(
          "tiled partials",
          std::span<const typename M::Partial>(driver_->partials()));
    }

   private:
    void DoStep(const float* x, float* y) noexcept override {
      driver_->Step(x, y);
    }
    Status DoPrefill(size_t count, const float* x, float* y) override {
      // One position is ended like a step (MixerStates::Advance).
      if (count == 1) {
        driver_->Step(x, y);
      } else {
        driver_->TakeMany(count, x, y);
      }
      return OkStatus();
    }
    Status DoPretend(size_t) override {
      driver_->Reset();
      // Those to come are not looked at.
      FillPast(driver_->inputs().data(), driver_->inputs().size());
      return OkStatus();
    }
    void DoMoveTo(size_t position) noexcept override {
      driver_->SetPosition(position);
    }
    void DoReset() noexcept override { driver_->Reset(); }
    Status DoCopyFrom(const MixerState& other) override {
      driver_->CopyFrom(*static_cast<const State&>(other).driver_);
      return OkStatus();
    }
    Status DoGrowFrom(const MixerState& shorter) override {
      driver_->GrowFrom(*static_cast<const State&>(shorter).driver_);
      return OkStatus();
    }
    Status DoLoad(io::SectionReader& reader, size_t position) override {
      driver_->SetPosition(position);
      LCSM_RETURN_IF_ERROR(reader.GetArray("tiled inputs", driver_->inputs()));
      return reader.GetArray("tiled partials", driver_->partials());
    }
    std::unique_ptr<TiledDriver<M>> driver_;
    const size_t bytes_;
  };

  std::shared_ptr<const M> mixer_;
  std::string describe_;
  size_t weight_bytes_;
  Tiling tiling_;
};

}  // namespace lcsm
