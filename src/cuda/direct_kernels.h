// Tiles by sums: small blocks, and the quadratic baselines.
//
// Sums run in blocks of kSumBlock products, as the CPU's do and for the same
// reason: a plain float32 running sum over 2^20 terms misses the error bound.
#pragma once

#include "cuda/portable.h"
#include "cuda/schedule.h"

namespace lcsm::cuda {

inline constexpr uint64_t kSumBlock = 256;

// What these kernels read and write.
struct DirectWork {
  const StepControl* control = nullptr;
  LevelShape level;
  float* lines = nullptr;  // Histories, [history][..][kLanes].
  uint64_t stride = 0;
  uint64_t histories = 0, batch = 1;
  const float* taps = nullptr;  // [filter][..][kLanes]
  uint64_t taps_stride = 0, num_taps = 0;
};

// acc[j] += sum of x[i] * taps[n_in + j - i], eight outputs of one channel a
// thread: a window of taps slides by in registers, so that eight inputs and
// fifteen taps serve 64 products.
struct DirectTileKernel : Elementwise<DirectTileKernel, 128> {
  using Args = DirectWork;
  static constexpr int kOutputs = 8;
  static constexpr int kBlocksAtLeast = 5;  // Of 128 threads.

  LCSM_HD static uint64_t Strips(const Args& work) {
    return CeilDiv(work.level.block, kOutputs);
  }
  LCSM_HD static bool IsDue(const Args& work) {
    return TileAt(work.level, work.control->known).terms != 0;
  }
  LCSM_HD static uint64_t Elements(const Args& work) {
    return work.histories * Strips(work) * kLanes;
  }
  LCSM_HD static void Element(const Args& work, uint64_t id) {
    const uint64_t lane = id % kLanes, rest = id / kLanes;
    const uint64_t strip = rest % Strips(work), history = rest / Strips(work);
    const TileSpan tile = TileAt(work.level, work.control->known);
    const uint64_t j0 = strip * kOutputs;
    if (j0 >= tile.outputs) return;
    const uint64_t n_in = tile.terms * work.level.block;
    float* const line = work.lines + history * work.stride + lane;
    const float* const x =
        line + ((tile.newest + 1) * work.level.block - n_in) * kLanes;
    const float* const taps =
        work.taps + history / work.batch * work.taps_stride + lane;
    float total[kOutputs] = {};
    // Tap n_in + j0 - i + 7 is the last one that input i meets here.
    const uint64_t last = n_in + j0 + kOutputs;
    uint64_t i = last > work.num_taps + kOutputs
                     ? Min(n_in, last - kOutputs - work.num_taps)
                     : 0;
    while (i < n_in) {
      const uint64_t end = Min(n_in, i + kSumBlock);
      float sum[kOutputs] = {};
      for (; i < end; i += kOutputs) {
        float xs[kOutputs], window[2 * kOutputs];
        // window[k] is tap n_in + j0 - i - 7 + k.
        if (i + kOutputs <= end && n_in + j0 + kOutputs - i <= work.num_taps) {
          // All are there, and nothing is asked about each of them.
          const float* const from = x + i * kLanes;
          const float* const first = taps + (n_in + j0 - i - 7) * kLanes;
          LCSM_UNROLL
          for (uint32_t e = 0; e < kOutputs; ++e) xs[e] = from[e * kLanes];
          LCSM_UNROLL
          for (uint32_t k = 0; k < 2 * kOutputs - 1; ++k) {
            window[k] = first[k * kLanes];
          }
        } else {
          LCSM_UNROLL
          for (int e = 0; e < kOutputs; ++e) {
            xs[e] = i + e < end ? x[(i + e) * kLanes] : 0.0f;
          }
          LCSM_UNROLL
          for (int k = 0; k < 2 * kOutputs - 1; ++k) {
            const uint64_t above = n_in + j0 + static_cast<uint64_t>(k);
            const bool there = above >= i + 7 && above - i - 7 < work.num_taps;
            window[k] = there ? taps[(above - i - 7) * kLanes] : 0.0f;
          }
        }
        LCSM_UNROLL
        for (int e = 0; e < kOutputs; ++e) {
          LCSM_UNROLL
          for (int j = 0; j < kOutputs; ++j) {
            sum[j] = Fma(xs[e], window[7 + j - e], sum[j]);
          }
        }
      }
      i = end;
      LCSM_UNROLL
      for (int j = 0; j < kOutputs; ++j) total[j] += sum[j];
    }
    float* const acc = line + (tile.target * work.level.block + j0) * kLanes;
    LCSM_UNROLL
    for (int j = 0; j < kOutputs; ++j) {
      if (j0 + static_cast<uint64_t>(j) < tile.outputs) {
        acc[static_cast<uint64_t>(j) * kLanes] += total[j];
      }
    }
  }
};

// Lazy: the next output's whole history, a history a block of threads.
struct GatherKernel {
  using Args = DirectWork;
  struct Thread {};
  static constexpr int kThreads = 512;
  static constexpr int kParts = kThreads / static_cast<int>(kLanes);

  static size_t SharedFloats(const Args&) { return kThreads; }
  static uint64_t Blocks(const Args& work) { return work.histories; }
  LCSM_HD static int Phases(const Args& work, uint32_t) {
    return work.control->known < work.level.length ? 2 : 0;
  }
  LCSM_HD static void Run(int phase, const Args& work, uint32_t block,
                          int thread, Thread&, float* shared) {
    const uint64_t known = work.control->known;
    const uint64_t lane = static_cast<uint64_t>(thread) % kLanes;
    float* const line = work.lines + block * work.stride + lane;
    if (phase == 1) {
      if (thread >= static_cast<int>(kLanes)) return;
      float total = 0;
      for (int part = 0; part < kParts; ++part) {
        total += shared[part * static_cast<int>(kLanes) + thread];
      }
      line[known * kLanes] += total;
      return;
    }
    const float* const taps =
        work.taps + block / work.batch * work.taps_stride + lane;
    const uint64_t first =
        known < work.num_taps ? 0 : known + 1 - work.num_taps;
    float total = 0, sum = 0;
    uint32_t terms = 0;
    for (uint64_t i = first + static_cast<uint64_t>(thread) / kLanes; i < known;
         i += kParts) {
      sum = Fma(line[i * kLanes], taps[(known - i) * kLanes], sum);
      if (++terms == kSumBlock) {
        total += sum;
        sum = 0;
        terms = 0;
      }
    }
    shared[thread] = total + sum;
  }
};

// Eager: the newest input to all outputs to come. `recent` takes the products
// of the last kSumBlock inputs before they join the sums, as on the CPU.
struct ScatterKernel {
  struct Args {
    DirectWork work;
    float* recent = nullptr;
  };
  struct Thread {};
  static constexpr int kThreads = 256;
  // A launch's threads walk over the positions to come in this many strides.
  static constexpr uint32_t kBlocksAHistory = 64;

  static size_t SharedFloats(const Args&) { return 0; }
  static uint64_t Blocks(const Args& args) {
    return args.work.histories * kBlocksAHistory;
  }
  LCSM_HD static int Phases(const Args& args, uint32_t) {
    return args.work.control->known < args.work.level.length ? 1 : 0;
  }
  LCSM_HD static void Run(int, const Args& args, uint32_t block, int thread,
                          Thread&, float*) {
    const DirectWork& work = args.work;
    const uint32_t history = block / kBlocksAHistory;
    const uint64_t known = work.control->known;
    const uint64_t coming = work.level.length - known;
    const uint64_t lane = static_cast<uint64_t>(thread) % kLanes;
    float* const line =
        work.lines + history * work.stride + known * kLanes + lane;
    float* const recent =
        args.recent + history * work.stride + known * kLanes + lane;
    const float* const taps =
        work.taps + history / work.batch * work.taps_stride + lane;
    const float x = *(line - kLanes);
    const bool joins = known % kSumBlock == 0;
    const uint64_t step = uint64_t{kBlocksAHistory} * kThreads / kLanes;
    for (uint64_t j = (uint64_t{block % kBlocksAHistory} * kThreads +
                       static_cast<uint64_t>(thread)) /
                      kLanes;
         j < coming; j += step) {
      float sum = recent[j * kLanes];
      if (j + 1 < work.num_taps) sum = Fma(x, taps[(j + 1) * kLanes], sum);
      if (joins || j == 0) {
        line[j * kLanes] += sum;
        sum = 0;
      }
      recent[j * kLanes] = sum;
    }
  }
};

// Adds what deferred levels have for the block of outputs that begins now.
struct AddDeferredKernel : Elementwise<AddDeferredKernel> {
  struct Args {
    const StepControl* control = nullptr;
    LevelShape level;             // Of the distant level.
    uint64_t base = 0;            // Outputs that begin now: the smallest block.
    const float* from = nullptr;  // [history][2][level.block][kLanes]
    float* lines = nullptr;
    uint64_t stride = 0, histories = 0;
  };

  LCSM_HD static bool IsDue(const Args& args) {
    const uint64_t target = args.control->known / args.level.block;
    return args.control->known < args.level.length && target >= 2 &&
           TileAt(args.level, (target - 1) * args.level.block).terms != 0;
  }
  LCSM_HD static uint64_t Elements(const Args& args) {
    return args.histories * args.base * kLanes;
  }
  LCSM_HD static void Element(const Args& args, uint64_t id) {
    const uint64_t known = args.control->known, u = args.level.block;
    const uint64_t history = id / (args.base * kLanes);
    const uint64_t at = id % (args.base * kLanes);
    if (known + at / kLanes >= args.level.length) return;
    const uint64_t row = known / u % 2 * u + known % u;
    args.lines[history * args.stride + known * kLanes + at] +=
        args.from[(history * 2 * u + row) * kLanes + at];
  }
};

// Red cells of all histories at once, of inputs that do not depend on each
// other: mixers alone, as benchmarks have them. CountKernel comes before.
struct RedCellsKernel : Elementwise<RedCellsKernel> {
  struct Args {
    const StepControl* control = nullptr;
    const float* x = nullptr;  // [num_rows][histories][kLanes], in turns.
    uint64_t num_rows = 1;
    float* y = nullptr;  // [num_kept][histories][kLanes], of the first ones.
    uint64_t num_kept = 0;
    float* lines = nullptr;
    uint64_t stride = 0, histories = 0, batch = 1, length = 0;
    const float* head = nullptr;
    uint32_t folds_tiny = 0;
  };

  LCSM_HD static uint64_t Elements(const Args& args) {
    return args.histories * kLanes;
  }
  LCSM_HD static void Element(const Args& args, uint64_t id) {
    const uint64_t history = id / kLanes, lane = id % kLanes;
    const uint64_t known = args.control->known, t = known - 1;
    const uint64_t row = args.histories * kLanes;
    const float y = RedCellOf(args, known, history, history / args.batch, lane,
                              args.x[t % args.num_rows * row + id]);
    if (t < args.num_kept) args.y[t * row + id] = y;
  }
};

// Takes the accumulators of the position after the last one as outputs and
// leaves zero there as its input: a session that is followed by zeros for as
// long as it could go on has then said all that its inputs contribute to the
// future (Session files, see state.h).
struct DrainKernel : Elementwise<DrainKernel> {
  struct Args {
    const StepControl* control = nullptr;
    float* lines = nullptr;
    uint64_t stride = 0, histories = 0;
    float* drained = nullptr;                // [history][drained_stride]
    uint64_t drained_stride = 0, first = 0;  // Line 0 is position `first`.
    const float* head = nullptr;             // [filter][kHeadTaps][kLanes]
    uint64_t batch = 1, length = 0;
    uint32_t folds_tiny = 0;
  };

  LCSM_HD static uint64_t Elements(const Args& args) {
    return args.histories * kLanes;
  }
  LCSM_HD static void Element(const Args& args, uint64_t id) {
    const uint64_t history = id / kLanes, lane = id % kLanes;
    const uint64_t known = args.control->known, t = known - 1;
    args.drained[history * args.drained_stride + (t - args.first) * kLanes +
                 lane] =
        RedCellOf(args, known, history, history / args.batch, lane, 0.0f);
  }
};

// known += 1, where no embedding does it.
struct CountKernel : Elementwise<CountKernel, 32> {
  static constexpr bool kLetsNextIn = true;
  struct Args {
    StepControl* control = nullptr;
  };

  LCSM_HD static uint64_t Elements(const Args&) { return 1; }
  LCSM_HD static void Element(const Args& args, uint64_t) {
    ++args.control->known;
  }
};

}  // namespace lcsm::cuda
