// Which tile falls due when, and what a level keeps for it: pure functions of
// the plan.
#include <algorithm>

#include "conv/plan.h"
#include "kernels/lanes.h"

namespace lcsm::conv {
namespace {

// The largest distance between blocks of U that a tap still bridges: the tile
// at distance d uses taps (d-1)U + 1 .. (d+1)U - 1.
size_t Reach(const Problem& problem, size_t block) {
  const size_t taps = std::min(problem.taps, problem.length);
  return taps < 2 ? 0 : (taps - 2) / block + 1;
}

size_t Blocks(const Problem& problem, size_t block) {
  return (problem.length - 1) / block + 1;
}

}  // namespace

Tile TileAt(const Problem& problem, const Level& level, size_t known) {
  const size_t complete = known / level.block;
  Tile tile;
  if (complete == 0) return tile;
  const bool distant = level.serves == Serves::kDistant;
  tile.newest = complete - 1;
  tile.target = complete + (distant ? 1 : 0);
  if (tile.target >= Blocks(problem, level.block)) return tile;
  tile.outputs =
      std::min(level.block, problem.length - tile.target * level.block);
  size_t reach = Reach(problem, level.block);
  switch (level.serves) {
    case Serves::kSiblings:
      tile.terms =
          level.radix == Level::kToTheEnd ? complete : complete % level.radix;
      break;
    case Serves::kNeighbours:
      tile.terms = 1;
      break;
    case Serves::kDistant: {
      const size_t parent =
          level.radix == Level::kToTheEnd ? 0 : tile.target / level.radix;
      const size_t first = parent < 2 ? 0 : (parent - 1) * level.radix;
      tile.terms = complete - first;
      reach -= std::min<size_t>(reach, 1);  // Distances start with 2.
      break;
    }
  }
  tile.terms = std::min(tile.terms, reach);
  return tile;
}

size_t DueLevel(const std::vector<Level>& levels, size_t known) {
  size_t due = 0;
  for (size_t k = 1; k < levels.size(); ++k) {
    if (levels[k].serves == Serves::kDistant || known % levels[k].block != 0) {
      break;
    }
    due = k;
  }
  return due;
}

Slices SlicesOf(const Problem& problem, const Level& level) {
  const size_t blocks = Blocks(problem, level.block);
  size_t furthest = blocks - 1;
  Slices slices;
  switch (level.serves) {
    case Serves::kSiblings:
      if (level.radix != Level::kToTheEnd) {
        furthest = std::min(furthest, level.radix - 1);
      }
      break;
    case Serves::kNeighbours:
      furthest = std::min<size_t>(furthest, 1);
      break;
    case Serves::kDistant:
      slices.first = 2;
      if (level.radix != Level::kToTheEnd) {
        furthest = std::min(furthest, 2 * level.radix - 1);
      }
      break;
  }
  furthest = std::min(furthest, Reach(problem, level.block));
  slices.count = furthest < slices.first ? 0 : furthest - slices.first + 1;
  return slices;
}

size_t SlotsOf(const Problem& problem, const Level& level) {
  if (level.tau != Tau::kFftFused) return 0;
  const size_t slices = SlicesOf(problem, level).count;
  // A sliced tile keeps its only block too: it is made in pieces.
  if (level.serves != Serves::kDistant && slices < 2) return 0;
  return slices;
}

namespace {

// Taps in the slices of those levels that `reads` says yes to, and the first
// few.
template <typename Reads>
size_t TapsOf(const Plan& plan, Reads&& reads) {
  const size_t all = std::min(plan.problem.taps, plan.problem.length);
  size_t most = kHeadTaps;
  for (const Level& level : plan.levels) {
    if (!reads(level)) continue;
    // Slice d ends with tap (d + 1) U.
    const Slices slices = SlicesOf(plan.problem, level);
    const size_t blocks = slices.first + slices.count;
    if (slices.count != 0 && blocks > all / level.block) return all;
    if (slices.count != 0) most = std::max(most, blocks * level.block);
  }
  return std::min(all, most);
}

// Taps that are wanted when the spectra of the first `levels` levels are still
// to be made.
size_t TapsWanted(const Plan& plan, size_t levels) {
  if (plan.method == Method::kLazy || plan.method == Method::kEager) {
    return std::min(plan.problem.taps, plan.problem.length);
  }
  return TapsOf(plan, [&](const Level& level) {
    const bool made =
        &level - plan.levels.data() >= static_cast<ptrdiff_t>(levels);
    return level.tau == Tau::kDirect || level.tau == Tau::kDirectBlocked ||
           level.spectra == Spectra::kRemade ||
           (level.spectra == Spectra::kKept && !made);
  });
}

}  // namespace

size_t TapsKept(const Plan& plan) { return TapsWanted(plan, 0); }

size_t TapsLeft(const Plan& plan, size_t levels, size_t taps) {
  const size_t wanted = TapsWanted(plan, levels);
  return wanted <= taps - taps / 4 ? wanted : taps;
}

size_t TapsMade(const Plan& plan) {
  if (!Evaluates(plan)) {
    return std::min(plan.problem.taps, plan.problem.length);
  }
  return TapsOf(plan, [](const Level& level) {
    return level.spectra != Spectra::kEvaluated;
  });
}

bool Evaluates(const Plan& plan) {
  return std::any_of(
      plan.levels.begin(), plan.levels.end(),
      [](const Level& level) { return level.spectra == Spectra::kEvaluated; });
}

size_t HistoryLines(const Plan& plan) {
  const size_t length = plan.problem.length;
  if (plan.problem.primed || plan.problem.growable ||
      plan.rings == Rings::kNone) {
    return length;
  }
  if (plan.levels.empty()) {
    // Lazy and eager want everything; without tiles one line would do, and
    // two keep the red cells' kernel within bounds.
    return length;
  }
  // Transforms have read all inputs before they write outputs, and what lies
  // below reads inputs of the block that fills.
  const Level& last = plan.levels.back();
  const size_t top = last.block;
  size_t blocks = last.serves == Serves::kSiblings &&
                          last.tau == Tau::kFftFused &&
                          plan.rings == Rings::kOneBlock
                      ? 1
                      : 2;
  for (const Level& level : plan.levels) {
    if (level.serves == Serves::kDistant) {
      // Inputs of one block are transformed while the next one fills and the
      // outputs of a third are open.
      blocks = 3;
      continue;
    }
    const bool direct =
        level.tau == Tau::kDirect || level.tau == Tau::kDirectBlocked;
    // These read blocks further back where they lie.
    if (level.tau == Tau::kFftPast ||
        (direct && level.radix == Level::kToTheEnd &&
         SlicesOf(plan.problem, level).count > 1)) {
      return length;
    }
  }
  return length / top < blocks ? length : blocks * top;
}

}  // namespace lcsm::conv
