// Which tile falls due when, on the device: what conv::TileAt, conv::DueLevel
// and conv::TileKernels::Follow say, as functions of plain numbers that a
// kernel can evaluate. A step's kernels are captured once and replayed for
// every position, so they work out from the position what is to be done.
//
// Pure functions. schedule_test.cc compares them with src/conv for every
// position of many plans.
#pragma once

#include "cuda/portable.h"

namespace lcsm::cuda {

// Channels of a group: the layout [group][time][kLanes] is that of
// kernels/lanes.h, so that histories and taps are the same bytes as the CPU's.
// 64 bytes a position: two sectors, which neighbours in time complete.
inline constexpr uint32_t kLanes = 16;
inline constexpr uint32_t kHeadTaps = 4;

enum class LevelServes : uint32_t { kSiblings, kNeighbours, kDistant };

// A conv::Level, and what of its problem matters.
struct LevelShape {
  uint64_t block = 1;
  uint64_t radix = 0;  // 0: to the end.
  LevelServes serves = LevelServes::kSiblings;
  uint64_t length = 0;  // Positions of the problem.
  uint64_t reach = 0;   // Largest distance of blocks that a tap bridges.
};

struct TileSpan {
  uint64_t newest = 0, terms = 0, target = 0, outputs = 0;
};

LCSM_HD TileSpan TileAt(const LevelShape& level, uint64_t known) {
  TileSpan tile;
  const uint64_t complete = known / level.block;
  if (complete == 0) return tile;
  const bool distant = level.serves == LevelServes::kDistant;
  tile.newest = complete - 1;
  tile.target = complete + (distant ? 1 : 0);
  const uint64_t first_output = tile.target * level.block;
  if (first_output >= level.length) return tile;
  tile.outputs = Min(level.block, level.length - first_output);
  uint64_t reach = level.reach;
  if (level.serves == LevelServes::kSiblings) {
    tile.terms = level.radix == 0 ? complete : complete % level.radix;
  } else if (level.serves == LevelServes::kNeighbours) {
    tile.terms = 1;
  } else {
    const uint64_t parent = level.radix == 0 ? 0 : tile.target / level.radix;
    const uint64_t first = parent < 2 ? 0 : (parent - 1) * level.radix;
    tile.terms = complete - first;
    reach -= Min<uint64_t>(reach, 1);
  }
  tile.terms = Min(tile.terms, reach);
  return tile;
}

// The tile that the red cells' pass does on the way, when `known` inputs are
// known with the one it takes in. See TileKernels::red.
enum class Follow : uint32_t { kNone, kOne, kTwo, kTwoToOne };

// For plans that begin with blocks of 1 and 2 (conv::FoldsTiny).
LCSM_HD Follow TinyFollow(uint64_t length, uint64_t known) {
  if (known >= length) return Follow::kNone;
  if (known % 2 == 1) return Follow::kOne;
  if (known % 4 == 0) return Follow::kNone;
  return known + 1 < length ? Follow::kTwo : Follow::kTwoToOne;
}

// One channel's red cell and the tiny tile behind it. `line` is its cell at
// this position, cells of neighbouring positions lie kLanes floats apart; taps
// lie kLanes apart. Gives y. All loads come first, so that they are under way
// together: behind a store or a branch each would be a trip to L2 of its own.
LCSM_HD float RedCell(Follow follow, const float* head, float x, float* line) {
  const bool any = follow != Follow::kNone;
  const bool two = any && follow != Follow::kOne;
  const float h0 = head[0], h1 = head[kLanes], h2 = head[2 * kLanes],
              h3 = head[3 * kLanes];
  const float now = *line;
  const float next = any ? line[kLanes] : 0.0f;
  const float before = two ? *(line - kLanes) : 0.0f;
  const float after = follow == Follow::kTwo ? line[2 * kLanes] : 0.0f;
  *line = x;
  if (follow == Follow::kOne) {
    line[kLanes] = Fma(x, h1, next);
  } else if (two) {
    line[kLanes] = next + Fma(before, h2, x * h1);
    if (follow == Follow::kTwo) {
      line[2 * kLanes] = after + Fma(before, h3, x * h2);
    }
  }
  return Fma(x, h0, now);
}

// The red cell of one channel of a history when `known` inputs are known with
// x, and the tiny tile behind it, where the plan folds that in. `Work` says
// where lines and first taps are: the kernels' arguments that have red cells.
template <typename Work>
LCSM_HD float RedCellOf(const Work& work, uint64_t known, uint64_t history,
                        uint64_t filter, uint64_t lane, float x) {
  const Follow follow =
      work.folds_tiny != 0 ? TinyFollow(work.length, known) : Follow::kNone;
  return RedCell(
      follow, work.head + filter * kHeadTaps * kLanes + lane, x,
      work.lines + history * work.stride + (known - 1) * kLanes + lane);
}

// What a step's kernels read instead of arguments, since those are fixed when
// the step is captured. In device memory.
struct StepControl {
  // Inputs of the convolution that are known with this step's, i.e. its
  // position is known - 1. The embedding, which comes first, counts it up.
  uint64_t known = 0;
  uint64_t origin = 0;  // Positions taken in before, as known tokens.
  uint64_t skip_mixers = 0;
};

}  // namespace lcsm::cuda
