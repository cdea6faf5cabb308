#include "bench/byte_count.h"

#include <algorithm>
#include <cassert>

#include "conv/level_op.h"
#include "kernels/lanes.h"
#include "kernels/tile_kernels.h"

namespace lcsm::bench {
namespace {

using conv::Level;
using conv::Method;
using conv::Plan;
using conv::Problem;
using conv::Tau;

// One position of a group.
constexpr double kLine = kLanes * sizeof(float);

double Lines(size_t n) { return kLine * static_cast<double>(n); }

// Of one block or slice: U complex numbers for each channel.
double Spectrum(const Level& level) { return Lines(2 * level.block); }

BytesMoved LazyBytes(const Problem& problem, size_t known) {
  BytesMoved moved;
  const size_t terms = std::min(known, problem.taps - 1);
  moved.inputs = moved.filters = Lines(terms);
  moved.outputs = terms == 0 ? 0 : Lines(2);
  return moved;
}

// The newest input to all outputs to come, by way of a second set of
// accumulators (OnlineConvolution::Scatter).
BytesMoved EagerBytes(const Problem& problem, size_t known) {
  BytesMoved moved;
  const size_t coming = problem.length - known;
  const size_t reached = std::min(coming, problem.taps - 1);
  const size_t passed_on = known % kSumBlock == 0 ? coming : 1;
  moved.inputs = Lines(1);
  moved.filters = Lines(reached);
  moved.outputs = Lines(2 * reached + 4 * passed_on);
  return moved;
}

BytesMoved DirectBytes(const Problem& problem, const Level& level,
                       const conv::Tile& tile) {
  BytesMoved moved;
  const size_t inputs = tile.terms * level.block;
  moved.inputs = Lines(inputs);
  // Lags 1 to inputs + outputs - 1.
  moved.filters = Lines(std::min(inputs + tile.outputs - 1, problem.taps - 1));
  moved.outputs = Lines(2 * tile.outputs);
  return moved;
}

BytesMoved TransformedBytes(const Problem& problem, const Level& level,
                            const conv::Tile& tile) {
  BytesMoved moved;
  moved.inputs = Lines(level.block);
  moved.outputs = Lines(2 * tile.outputs);
  if (SlotsOf(problem, level) == 0) {
    // One slice, or the taps to make it of.
    moved.filters = Spectrum(level);
    return moved;
  }
  // Tiles come in pairs, the first of which leaves the second one's sum over
  // the same blocks behind (fused_op.cc).
  const size_t target =
      level.radix == Level::kToTheEnd ? tile.target : tile.target % level.radix;
  const size_t last = SlicesOf(problem, level).count;
  const bool continues = target % 2 == 1 && target >= 3 && target <= last;
  const bool leaves = target % 2 == 0 && target + 1 <= last;
  const size_t older = continues ? 0 : tile.terms - 1;
  const size_t slices = older + 1 + (leaves ? 1 : 0);
  const size_t sums = (continues ? 1 : 0) + (leaves ? 1 : 0);
  // The newest block's own spectrum is kept.
  moved.blocks = static_cast<double>(older + sums + 1) * Spectrum(level);
  moved.filters = static_cast<double>(slices) * Spectrum(level);
  return moved;
}

void Add(const BytesMoved& one, double times, BytesMoved* all) {
  all->inputs += times * one.inputs;
  all->blocks += times * one.blocks;
  all->filters += times * one.filters;
  all->outputs += times * one.outputs;
}

}  // namespace

BytesMoved TileBytes(const Plan& plan, size_t known) {
  const Problem& problem = plan.problem;
  if (known >= problem.length || problem.taps < 2) return {};
  if (plan.method == Method::kLazy) return LazyBytes(problem, known);
  if (plan.method == Method::kEager) return EagerBytes(problem, known);
  if (plan.levels.empty()) return {};
  const Level& level = plan.levels[conv::DueLevel(plan.levels, known)];
  assert(level.serves == conv::Serves::kSiblings);
  const conv::Tile tile = conv::TileAt(problem, level, known);
  if (tile.terms == 0) return {};
  return level.tau == Tau::kDirect || level.tau == Tau::kDirectBlocked
             ? DirectBytes(problem, level, tile)
             : TransformedBytes(problem, level, tile);
}

BytesMoved RedBytes() {
  // The input takes its accumulator's place, and meets the first tap.
  return {Lines(1), 0, Lines(1), Lines(1)};
}

StatusOr<BytesMoved> CountBytes(const Plan& plan, bool rows_share) {
  const auto counted = [](const Level& level) {
    return level.serves == conv::Serves::kSiblings &&
           level.tau != Tau::kFftPast;
  };
  if (!std::all_of(plan.levels.begin(), plan.levels.end(), counted)) {
    return Unsupported(
        "bytes are counted of lazy, eager and tiled plans whose tiles fall due "
        "at once, and not of " +
        plan.Print());
  }
  const Problem& problem = plan.problem;
  BytesMoved one;
  Add(RedBytes(), static_cast<double>(problem.length), &one);
  for (size_t known = 1; known < problem.length; ++known) {
    Add(TileBytes(plan, known), 1, &one);
  }
  const double groups =
      static_cast<double>(problem.mixers * GroupsFor(problem.channels));
  const double rows = static_cast<double>(problem.batch);
  BytesMoved all;
  Add(one, groups * rows, &all);
  if (rows_share) all.filters /= rows;
  return all;
}

}  // namespace lcsm::bench
