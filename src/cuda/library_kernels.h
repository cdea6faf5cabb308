// Around what libraries do (--tau fft-library, and direct where there is a
// library for it): channels lie side by side in our histories and apart in
// their sequences.
#pragma once

#include "cuda/portable.h"
#include "cuda/schedule.h"

namespace lcsm::cuda {

// Common to those around a tile.
struct LibraryWork {
  const StepControl* control = nullptr;
  LevelShape level;
  uint64_t histories = 0, batch = 1;
  float* lines = nullptr;  // [history][..][kLanes]
  uint64_t stride = 0;
  float* time = nullptr;  // [history][kLanes][time_length]
  // 2 U around transforms, of which the second halves are the outputs; U around
  // convolutions.
  uint64_t time_length = 0;
  Complex* spectrum = nullptr;       // [history][kLanes][U + 1]
  const Complex* filters = nullptr;  // [filter][kLanes][U + 1], over 2 U
};

// Filters' taps as libraries want them, a channel after the other: taps from
// `first` on, scaled, zeros behind the last.
struct SpreadTapsKernel : Elementwise<SpreadTapsKernel> {
  struct Args {
    const float* taps = nullptr;  // [filter][num_taps][kLanes]
    uint64_t num_taps = 0;
    float* to = nullptr;  // [histories][kLanes][length]
    uint64_t histories = 0, batch = 1, length = 0;
    uint64_t first = 0;
    float scale = 1;
  };

  LCSM_HD static uint64_t Elements(const Args& args) {
    return args.histories * kLanes * args.length;
  }
  LCSM_HD static void Element(const Args& args, uint64_t id) {
    const uint64_t column = id / args.length;
    const uint64_t tap = id % args.length + args.first;
    const uint64_t filter = column / kLanes / args.batch;
    args.to[id] =
        tap < args.num_taps
            ? args.scale * args.taps[(filter * args.num_taps + tap) * kLanes +
                                     column % kLanes]
            : 0.0f;
  }
};

// The newest block, and zeros behind it if there is room.
struct PackKernel : Elementwise<PackKernel> {
  using Args = LibraryWork;

  LCSM_HD static uint64_t Elements(const Args& work) {
    return work.histories * kLanes * work.time_length;
  }
  LCSM_HD static bool IsDue(const Args& work) {
    return TileAt(work.level, work.control->known).terms != 0;
  }
  LCSM_HD static void Element(const Args& work, uint64_t id) {
    const uint64_t u = work.level.block, n = id % work.time_length,
                   column = id / work.time_length;
    const uint64_t newest = TileAt(work.level, work.control->known).newest;
    work.time[id] =
        n < u ? work.lines[column / kLanes * work.stride +
                           (newest * u + n) * kLanes + column % kLanes]
              : 0.0f;
  }
};

struct SpectrumProductKernel : Elementwise<SpectrumProductKernel> {
  using Args = LibraryWork;

  LCSM_HD static uint64_t Elements(const Args& work) {
    return work.histories * kLanes * (work.level.block + 1);
  }
  LCSM_HD static void Element(const Args& work, uint64_t id) {
    const uint64_t points = work.level.block + 1, column = id / points;
    const uint64_t filter = column / kLanes / work.batch;
    work.spectrum[id] =
        work.spectrum[id] *
        work.filters[(filter * kLanes + column % kLanes) * points +
                     id % points];
  }
};

// The last U values of each sequence are the outputs.
struct UnpackKernel : Elementwise<UnpackKernel> {
  using Args = LibraryWork;

  LCSM_HD static uint64_t Elements(const Args& work) {
    return work.histories * kLanes * work.level.block;
  }
  LCSM_HD static bool IsDue(const Args& work) {
    return TileAt(work.level, work.control->known).terms != 0;
  }
  LCSM_HD static void Element(const Args& work, uint64_t id) {
    // Lanes side by side: the histories' lines are what is read and written.
    const uint64_t u = work.level.block, lane = id % kLanes;
    const uint64_t n = id / kLanes % u, history = id / kLanes / u;
    const TileSpan tile = TileAt(work.level, work.control->known);
    if (n >= tile.outputs) return;
    work.lines[history * work.stride + (tile.target * u + n) * kLanes + lane] +=
        work.time[(history * kLanes + lane + 1) * work.time_length - u + n];
  }
};

}  // namespace lcsm::cuda
