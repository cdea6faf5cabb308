// Online convolution on a device: the plan's levels as they are, one launch (or
// a few) for the tile that falls due, of all histories of all layers.
//
// PreparedTiles is immutable and shared: taps, spectra, roots. Tiles is one
// session's: histories in the CPU's layout, whole (L lines each, never a ring:
// device memory is for that, and sessions then move between devices), spectra
// of input blocks, a captured graph of launches for each level.
//
// The red cells are the blocks' business (block_kernels.h): a step's launches
// count StepControl::known up and take inputs in, then Advance enqueues what
// falls due. Distant levels have a queue each that gives way to the steps: a
// tile begins when its inputs are there, and the step that is due to add its
// outputs, a whole block later, waits for that queue.
//
// What must never happen: a distant tile's outputs added before its queue was
// waited for, or written over before they were added. An allocation or a
// failure in Advance. A library's first call, which may load and allocate,
// while a level is captured.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "conv/filter_bank.h"
#include "conv/plan.h"
#include "cuda/device.h"
#include "cuda/fft_launch.h"
#include "cuda/replayed.h"
#include "lcsm/status.h"

namespace lcsm::cuda {

class PreparedTiles {
 public:
  struct OneLevel {
    conv::Level level;
    LevelShape shape;
    // Transforms:
    FftPasses passes;
    size_t slices = 0, slots = 0;
    Array<Complex> spectra;  // [filter][slice][U][kLanes], or of the library.
    // A library's convolution, where it is one: [history][kLanes][2 U - 1].
    Array<float> weights;
  };

  // The bank must have been made for plan.problem, and is not needed
  // afterwards. Errors: memory; a way to compute tiles that is not there on
  // devices (fft-past).
  static StatusOr<std::shared_ptr<const PreparedTiles>> Create(
      std::shared_ptr<Device> device, conv::Plan plan,
      const conv::FilterBank& filters);
  // Of taps that are on the device already, [filter][taps][kLanes] for as many
  // taps as the problem and its length have. They become this one's.
  static StatusOr<std::shared_ptr<const PreparedTiles>> Create(
      std::shared_ptr<Device> device, conv::Plan plan, Array<float> taps);
  // Bytes of device memory that Create and one Tiles take, each counted, but
  // for what driver and libraries take for themselves. `making` is on top of
  // taps and spectra (roots among them) while Create runs. Libraries are asked
  // for their scratch memory if the plan has tiles of theirs. Errors: a
  // library's; a way to compute tiles as above.
  static StatusOr<conv::MemoryEstimate> BytesFor(Device& device,
                                                 const conv::Plan& plan);

  const conv::Plan& plan() const { return plan_; }
  Device& device() const { return *device_; }
  const std::shared_ptr<Device>& shared_device() const { return device_; }
  const std::vector<OneLevel>& levels() const { return levels_; }
  const FftRoots& roots() const { return roots_; }
  const float* head() const { return head_.data(); }
  const float* taps() const { return taps_.data(); }
  size_t num_taps() const { return num_taps_; }
  size_t spectra_bytes() const;

 private:
  PreparedTiles() = default;
  Status MakeHead(Queue& queue);
  Status MakeLevel(const conv::Level& level, Queue& queue);
  // tiles_library.cc
  Status MakeLibraryFilters(Queue& queue, OneLevel* one);
  Status MakeDepthwiseFilters(Queue& queue, OneLevel* one);

  std::shared_ptr<Device> device_;
  conv::Plan plan_;
  FftRoots roots_;
  std::vector<OneLevel> levels_;
  Array<float> head_;  // [filter][kHeadTaps][kLanes]
  Array<float> taps_;  // [filter][num_taps][kLanes]
  size_t num_taps_ = 0;
};

// A copy of the first `count` taps of all filters, which have as many each, on
// the device. Waits.
StatusOr<Array<float>> FirstTaps(Device& device, const Array<float>& taps,
                                 size_t filters, size_t count, Queue& queue);

class Tiles {
 public:
  // `queue` is where steps are enqueued; it must outlive this. `rows`
  // sequences, each with as many rows as the problem has, go side by side:
  // [mixer][group][row] are then their histories. Requires MayHaveRows if there
  // is more than one.
  static StatusOr<std::unique_ptr<Tiles>> Create(
      std::shared_ptr<const PreparedTiles> prepared, Queue& queue,
      size_t rows = 1);
  // Libraries' tiles are prepared for as many histories as there are of one
  // sequence, and promise no bits for more.
  static bool MayHaveRows(const PreparedTiles& prepared);
  ~Tiles();

  // Behind a step's launches, which made one more input known: enqueues what
  // falls due.
  void Advance() noexcept;

  // For benchmarks: as if `known` inputs were known, whatever the histories
  // hold. Waits.
  Status PretendKnown(size_t known);
  // For benchmarks: the tile that is due where the session stands, again.
  void RepeatDue() noexcept;

  // What red cells need; see MixWork.
  StepControl* control() const { return control_.data(); }
  float* lines() const { return histories_.data(); }
  size_t stride() const { return stride_; }  // Floats.
  size_t histories() const;
  bool folds_tiny() const { return folds_tiny_; }
  size_t known() const { return known_; }  // Inputs, as enqueued.
  size_t length() const { return prepared_->plan().problem.length; }

  // Takes over another session of the same preparation, waiting for both.
  Status CopyFrom(Tiles& other);
  // The same for each row of this from one of a single row.
  Status SpreadFrom(Tiles& other);
  // Forgets everything. `origin` goes into the control.
  Status Reset(size_t origin, bool skip_mixers);
  // For benchmarks: from here on steps without red cells, and nothing falls
  // due; or with them again. Waits.
  Status SkipMixers(bool skip);
  // What the inputs so far contribute to the positions to come, [history] rows
  // of `to_stride` floats, length() - known() lines each. Takes the session to
  // its end: for copies.
  Status Drain(float* to, size_t to_stride);

 private:
  Tiles() = default;
  struct Distant {
    size_t level = 0;
    std::unique_ptr<Queue> queue;
    Array<Complex> scratch;
    Array<float> outputs;  // [history][2][U][kLanes]
  };
  Status Allocate();
  Status Capture();
  size_t Batch() const;  // Histories that share a filter.
  void EnqueueLevel(size_t level) noexcept;
  // tiles_library.cc
  Status AllocateForLibraries(size_t times, size_t points);
  LibraryWork LibraryWorkOf(size_t level) const;
  void EnqueueLibrary(size_t level) noexcept;
  void EnqueueDepthwise(size_t level) noexcept;
  void BeginDistant(Distant& distant) noexcept;
  FftWork WorkOf(size_t level) const;
  DirectWork DirectWorkOf(const LevelShape& shape) const;

  std::shared_ptr<const PreparedTiles> prepared_;
  Queue* queue_ = nullptr;
  size_t known_ = 0, stride_ = 0, rows_ = 1;
  bool folds_tiny_ = false, skip_mixers_ = false;
  Array<StepControl> control_;
  Array<float> histories_;
  Array<float> recent_;               // Eager only.
  std::vector<Array<Complex>> kept_;  // Of each level.
  Array<Complex> scratch_;
  std::vector<Distant> distant_;
  std::vector<Replayed> graphs_;  // Of each level; lazy, eager: 1.
  // Of libraries: shared by all its levels, which never run at once.
  Array<float> time_;
  Array<Complex> points_;
  std::vector<std::unique_ptr<BatchedFft>> library_;
  std::vector<std::unique_ptr<DepthwiseConvolution>> depthwise_;
  Memory library_work_;  // Scratch of theirs.
};

}  // namespace lcsm::cuda
