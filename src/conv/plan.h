// Plans: which contributions are computed together, how, and when.
//
// A plan is a list of levels. Level k cuts the positions into blocks of U_k;
// R_k of them make a parent, which is a block of level k + 1, so U_{k+1} = R_k
// U_k and U_0 = 1. Which pairs (input block i, output block j) a level serves:
//
//   siblings    i < j with the same parent; the top level, whose parent has no
//               end, all i < j. Due when block j - 1 is complete. The paper's
//               tiling is this with every radix 2.
//   neighbours  j = i + 1 whatever the parents. Due likewise. Needed once,
//   below
//               distant levels.
//   distant     j >= i + 2 with parents at most one apart; the top level, all
//               j >= i + 2. Work for j can begin when block j - 2 is complete
//               and is due U positions later, so it can be spread over them.
//
// A plan is any number of siblings levels, and above them, if any work is to be
// deferred, one level of neighbours and distant levels, both starting with the
// block that the siblings below make up. Every contribution i < t then belongs
// to exactly one level; red cells (i = t) belong to none.
// (Design 3.2, 3.5, 3.6; siblings are the semi-relaxed products of van der
// Hoeven, distant levels the non-uniform partitions of Gardner 1995 and Garcia
// 2002.)
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "conv/problem.h"
#include "lcsm/status.h"

namespace lcsm::conv {

enum class Serves { kSiblings, kNeighbours, kDistant };

// Where a level gets the spectra of the filter's slices from.
enum class Spectra {
  kKept,    // Made once.
  kRemade,  // Made for every tile, from taps that are kept: slower by about
            // half, and their memory is not needed.
  // The same, and the taps are not kept either: they are evaluated for every
  // tile (tap_source.h), where Problem::evaluation says that they can be.
  kEvaluated,
};

struct Level {
  size_t block = 1;  // U
  size_t radix = 2;  // R, at least 2; kToTheEnd for the top level. Neighbours
                     // have none: kToTheEnd.
  Tau tau = Tau::kDirectBlocked;  // One of the four actual ways.
  Serves serves = Serves::kSiblings;
  // Other than kKept for kFftFused levels of one slice that are not distant.
  Spectra spectra = Spectra::kKept;

  static constexpr size_t kToTheEnd = 0;
  bool operator==(const Level&) const = default;
};

class TileCosts;  // tile_costs.h
class Tuning;     // tuning.h
struct Plan;

struct PlanOptions {
  Method method = Method::kPaper;
  Tau tau = Tau::kHybrid;
  Schedule schedule = Schedule::kAcrossLayers;

  // For kPlanned:
  Latency latency = Latency::kBest;
  // Null, or without a table for the problem's size: the estimate, which makes
  // the plan a function of the problem alone.
  std::shared_ptr<const Tuning> tuning = nullptr;
  // Instead of either, if not null.
  std::shared_ptr<const TileCosts> costs = nullptr;

  // If not empty, exactly these, and `method` and `tau` do not matter.
  std::vector<Level> levels = {};

  // For kPlanned: levels to begin with, as far as they can be had; see
  // GrowPlan.
  std::vector<Level> keep = {};

  // For every method: more bytes than this at a time (taps, spectra and one
  // session, and what spectra are made from before there is one; 0 means any)
  // are an error, which kPlanned does its best to avoid.
  size_t memory_limit = 0;
  size_t threads = 1;  // That the limit's scratch memory is for.
  Rings rings = Rings::kOneBlock;
  // What the limit is compared with, if not null, instead of
  // MemoryEstimate::AtMost:
  // where plans are followed by others than OnlineConvolution. All spectra are
  // then kept.
  std::function<size_t(const Plan&)> bytes = nullptr;
};

// Bytes that a plan's objects take, apart.
struct MemoryEstimate {
  size_t taps = 0;       // FilterBank, as kept while running.
  size_t bank = 0;       // The one that spectra are made from (TapsMade), if it
                         // is another.
  size_t making = 0;     // On top of taps and spectra at most, before a session
                         // exists: what is left of that one, which shrinks as
                         // fewer spectra are left to make.
  size_t spectra = 0;    // Of the filters' slices.
  size_t histories = 0;  // Inputs and accumulators; eager has a second set.
  size_t blocks = 0;     // Spectra of input blocks, and deferred outputs.
  size_t scratch = 0;    // Of all threads, the transforms' tables, and taps
                         // while they are evaluated.
  size_t Total() const { return taps + spectra + histories + blocks + scratch; }
  size_t Preparing() const { return taps + spectra + making; }
  size_t AtMost() const { return std::max(Total(), Preparing()); }
  // With the bank that spectra are made from kept as well, whole, to make
  // longer ones from.
  void KeepAllTaps() {
    taps += bank;
    bank = making = 0;
  }
  // Of these, what a session has for itself and does not share.
  size_t Session() const { return histories + blocks + scratch; }
};

// What will be done: plain data, printable, comparable, made once and shared.
struct Plan {
  Problem problem;
  Method method = Method::kPaper;
  Schedule schedule = Schedule::kAcrossLayers;
  std::vector<Level> levels;  // As above, small blocks first. Empty for lazy
                              // and eager, and where no tap reaches back.
  Rings rings = Rings::kOneBlock;

  bool Deferred() const {
    return !levels.empty() && levels.back().serves == Serves::kDistant;
  }
  // E.g. "paper: direct-blocked U=1..16, fft-fused U=32..32768; across-layers".
  std::string Print() const;
  // The levels alone, in a form that ParseLevels reads: e.g.
  // "1x2 direct-blocked, 2x16 direct-blocked, 32x8 fft-fused, 256 fft-fused".
  std::string Levels() const;
  MemoryEstimate Memory(size_t threads) const;
};

// Errors: a dimension of zero; sizes whose product is larger than any memory.
Status CheckProblem(const Problem& problem);

// Checks the problem and settles the levels. A function of its arguments alone,
// measured costs among them. Errors: those of CheckProblem, a memory limit that
// no plan meets.
StatusOr<Plan> MakePlan(const Problem& problem, const PlanOptions& options);

// A plan of these levels. Errors: a problem as above; levels that do not cover
// every contribution once, radices below 2, transforms of a block that is no
// power of two in [8, 2^24].
StatusOr<Plan> MakePlan(const Problem& problem, std::vector<Level> levels,
                        Schedule schedule);

// The plan of a session that grows: the same problem with `length` positions.
// The planner's small levels stay, so that their spectra need not be made
// again, and larger ones are added; the other methods' levels are functions of
// the length. `options` are those that the plan was made with. Errors: those of
// MakePlan; a length below the plan's.
StatusOr<Plan> GrowPlan(const Plan& plan, size_t length, PlanOptions options);

// Reads what Plan::Levels writes. `name` is what errors call the text.
StatusOr<std::vector<Level>> ParseLevels(std::string_view text,
                                         const std::string& name);

// What falls due of a level when `known` inputs are known: the tile from
// `terms` blocks, the newest of which is block `newest`, to the `outputs`
// positions from output block `target` on. terms = 0: nothing.
struct Tile {
  size_t newest = 0;
  size_t terms = 0;
  size_t target = 0;   // newest + 1, or newest + 2 for distant levels.
  size_t outputs = 0;  // U, less at the end of the sequence.
};

// Requires that known is a multiple of the level's block. For distant levels
// this is the tile that can begin now and is due `block` positions later.
Tile TileAt(const Problem& problem, const Level& level, size_t known);

// The siblings or neighbours level whose tile falls due when `known` > 0 inputs
// are known: there is exactly one. Requires levels.
size_t DueLevel(const std::vector<Level>& levels, size_t known);

// Slices of the filter that a level uses: distances first, first + 1, ..
struct Slices {
  size_t first = 1;
  size_t count = 0;
};
Slices SlicesOf(const Problem& problem, const Level& level);

// Spectra of input blocks that a level keeps of each history: 0 where a tile
// has one input block at most.
size_t SlotsOf(const Problem& problem, const Level& level);

// Taps that are wanted once the spectra are made: those of direct and remade
// levels, and the first few for red cells. At most min(H, L).
size_t TapsKept(const Plan& plan);

// What a bank of `taps` is cut to when the spectra of the first `levels` levels
// are still to be made: those, and what is kept. It is copied, so not for a
// few.
size_t TapsLeft(const Plan& plan, size_t levels, size_t taps);

// Taps that spectra are made of and levels read, but for what is evaluated
// while running: min(H, L) unless the plan evaluates.
size_t TapsMade(const Plan& plan);

// Whether some level's taps are evaluated while running.
bool Evaluates(const Plan& plan);

// Positions that a history holds: L, or a ring of top blocks if no level wants
// inputs from further back. One block does where its tile's outputs may replace
// its inputs, which then nobody wants again.
size_t HistoryLines(const Plan& plan);

}  // namespace lcsm::conv
