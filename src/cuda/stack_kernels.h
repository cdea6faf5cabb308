// What the paper's synthetic stack has beside its products, for benchmarks
// (bench/gpu_stack.h): red cells of one mixer, and noise.
//
// Red cells are local to a channel, so they ride with the product that made
// their inputs: a layer is two launches, not three, and the step with mixers
// has one more than the step without.
#pragma once

#include "cuda/linear_kernel.h"

namespace lcsm::cuda {

// Red cells of one mixer, of batch rows at one position.
struct CellsWork {
  const StepControl* control = nullptr;  // Null: there is no mixer.
  float* lines = nullptr;                // Histories, see conv/layout.h.
  uint64_t stride = 0;
  const float* head = nullptr;  // [mixer][group][kHeadTaps][kLanes]
  uint64_t mixer = 0, groups = 0, batch = 1, length = 0;
  uint32_t folds_tiny = 0;
};

LCSM_HD float CellOf(const CellsWork& cells, const StepControl& control,
                     uint64_t row, uint64_t channel, float x) {
  if (cells.control == nullptr || control.skip_mixers != 0) return x;
  const uint64_t filter = cells.mixer * cells.groups + channel / kLanes;
  return RedCellOf(cells, control.known, filter * cells.batch + row, filter,
                   channel % kLanes, x);
}

// x[row] becomes what the mixer makes of it: those of the first layer, behind
// which no product comes. CountKernel comes before.
struct StackCellsKernel : Elementwise<StackCellsKernel> {
  static constexpr bool kLetsNextIn = true;
  struct Args {
    CellsWork cells;
    float* x = nullptr;  // [rows][width]
    uint64_t rows = 1, width = 0;
  };

  LCSM_HD static uint64_t Elements(const Args& args) {
    return args.rows * args.width;
  }
  LCSM_HD static void Element(const Args& args, uint64_t id) {
    if (args.cells.control == nullptr) return;
    args.x[id] = CellOf(args.cells, *args.cells.control, id / args.width,
                        id % args.width, args.x[id]);
  }
};

// A layer's last product (kStore), and behind it, of the same block's outputs,
// the next layer's red cells; or, behind the last layer, the next step's input:
// its output plus noise.
template <typename Weight, int kRows>
struct StackDownKernel {
  using Linear = LinearKernel<Weight, kRows>;
  struct Args {
    LinearWork linear;
    CellsWork cells;  // As all cells of the step, of the same control.
    const StepControl* control = nullptr;
    const float* noise = nullptr;  // [noise_rows][rows][out], in turns.
    uint64_t noise_rows = 1;
    float* next = nullptr;  // [rows][out]; null: a layer follows.
  };
  struct Thread {
    typename Linear::Thread linear;
    StepControl control;
  };
  static constexpr int kThreads = Linear::kThreads;
  static constexpr int kBlocksAtLeast = Linear::kBlocksAtLeast;
  static constexpr bool kLetsNextIn = true;

  static size_t SharedFloats(const Args& args) {
    return Linear::SharedFloats(args.linear);
  }
  static uint64_t Blocks(const Args& args) {
    return Linear::Blocks(args.linear);
  }
  // The last phase of products is kMix's alone, and serves here for what
  // follows.
  static constexpr int kPhases = Linear::kPhases;
  LCSM_HD static int FirstPhase(const Args& args) {
    return Linear::FirstPhase(args.linear);
  }
  LCSM_HD static void Fetch(const Args& args, uint32_t block, int thread,
                            Thread& state) {
    Linear::Fetch(args.linear, block, thread, state.linear);
  }
  LCSM_HD static void Run(int phase, const Args& args, uint32_t block,
                          int thread, Thread& state, float* shared) {
    // Asked for long before it is wanted.
    if (phase == FirstPhase(args)) state.control = *args.control;
    if (phase + 1 < kPhases) {
      Linear::Run(phase, args.linear, block, thread, state.linear, shared);
    } else {
      Follow(args, block, thread, state.control);
    }
  }

 private:
  LCSM_HD static void Follow(const Args& args, uint32_t block, int thread,
                             const StepControl& control) {
    const LinearWork& work = args.linear;
    const uint32_t units = Linear::UnitsABlock(work);
    const uint32_t all = work.rounds * work.rows * units;
    LCSM_NO_UNROLL
    for (auto id = static_cast<uint32_t>(thread); id < all; id += kThreads) {
      const uint32_t row = id / units % work.rows;
      const uint32_t channel =
          Linear::RowOf(work, block, id % units, id / units / work.rows);
      if (channel >= work.out) continue;
      const uint64_t at = uint64_t{row} * work.out + channel;
      const float y = CellOf(args.cells, control, row, channel, work.y[at]);
      work.y[at] = y;
      if (args.next == nullptr) continue;
      const uint64_t turn = control.known % args.noise_rows;
      args.next[at] = y + args.noise[turn * work.rows * work.out + at];
    }
  }
};

}  // namespace lcsm::cuda
