#include "conv/planner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <map>
#include <utility>

#include "base/byte_text.h"
#include "conv/filter_bank.h"
#include "conv/layout.h"
#include "conv/level_op.h"
#include "conv/tap_source.h"
#include "conv/tuning.h"
#include "kernels/fft_tables.h"

namespace lcsm::conv {
namespace {

// Radices tried below the top. 32 never won by a measurement: its products
// weigh more than the transforms it saves.
constexpr size_t kRadices[] = {2, 4, 8, 16};
// Blocks of a top level: more are the business of a level between.
constexpr size_t kMostTopBlocks = 64;
// Direct sums of larger blocks lose to transforms on every machine seen.
constexpr size_t kMostDirect = 256;
// Distant levels start here: below, their bookkeeping outweighs their tiles;
// above, the neighbours' tile is itself the spike that deferring is meant to
// remove (8 x 256 on AVX-512, slowest steps of a period against the
// median: 1.37 at 64, 1.23 at 32, for the same work in all).
constexpr size_t kDistantBase = 32;
// A front longer than this is thinned: the cheapest half of so many ways stays,
// and the smallest. Without a memory limit no use was seen for more.
constexpr size_t kFront = 24;
// Under a limit, the cheapest way stays as well in each of so many steps of
// what the limit leaves beside the smallest plan: a plan misses the best one by
// a step a level at most. (Without, a million positions of 8 x 256 under 20 GiB
// had small levels remade for want of the ways between: 1.4 times as slow.
// Steps of the whole limit, which histories take where a batch is large, and
// nothing else but the smallest, were 1.08 times as slow just above the least
// limit. Nor are steps alone enough, since no sum over levels tells what is
// taken by kept taps and scratch memory: where the room is small, that is more
// than a step.)
constexpr size_t kSteps = 128;

constexpr double kNone = std::numeric_limits<double>::infinity();

struct Way {
  std::vector<Level> levels;
  double ns = 0;     // A position and history.
  double bytes = 0;  // Spectra and what histories keep; not the histories.
};

// Timed by themselves, tiles that keep spectra find them in nearer caches than
// in a run, where all other levels pass through as well. Without a margin the
// tuned plan lost 15 % to the paper's at C = 256, L = 4096 (Zen 3), where both
// were foretold alike.
constexpr double kKeptMargin = 1.15;

// A remade slice costs a transform of its own, about half of a tile.
constexpr double kRemadeFactor = 1.5;

// Fewest taps that a search under a memory limit may be held to: direct levels
// keep as many anyway.
constexpr size_t kFewestTaps = 2 * kMostDirect;

class Planner {
 public:
  Planner(const Problem& problem, const PlanOptions& options)
      : problem_(problem),
        options_(options),
        costs_(Measured() != nullptr ? *Measured() : estimate_) {}

  StatusOr<std::vector<Level>> Run() {
    if (problem_.length <= 4 || Reach(4) == 0) {
      return Small();
    }
    std::vector<Way> complete;
    if (options_.memory_limit == 0) {
      Search(complete);
      return Choose(complete);
    }
    SearchWithin(complete);
    // How many taps are kept is up to the largest level that reads them, which
    // a sum over levels cannot say: so a search for each number, in which what
    // reads more evaluates them or keeps its spectra.
    const size_t all = std::min(problem_.taps, problem_.length);
    if (options_.bytes == nullptr) {
      for (most_taps_ = kFewestTaps; most_taps_ < all; most_taps_ *= 2) {
        SearchWithin(complete);
      }
    }
    return Choose(complete);
  }

 private:
  // How a search thins its fronts.
  enum class Keep { kCheapAndSmall, kSmallest, kInSteps };

  // Under a limit: the smallest plans first, which say what is left to choose.
  void SearchWithin(std::vector<Way>& complete) {
    std::vector<Way> smallest;
    keep_ = Keep::kSmallest;
    Search(smallest);
    // Of all, of what ways count, and of what they do not.
    double least = kNone, least_counted = kNone, least_beside = kNone;
    for (const Way& way : smallest) {
      if (!Allowed(way)) continue;
      const auto bytes = static_cast<double>(Bytes(way));
      least = std::min(least, bytes);
      least_counted = std::min(least_counted, way.bytes);
      least_beside = std::min(least_beside, bytes - way.bytes);
    }
    const auto limit = static_cast<double>(options_.memory_limit);
    room_ = limit - least;
    most_room_ = limit - least_counted - least_beside;
    keep_ = Keep::kInSteps;
    if (most_room_ >= 0) Search(complete);
    std::move(smallest.begin(), smallest.end(), std::back_inserter(complete));
  }

  void Search(std::vector<Way>& complete) const {
    std::map<size_t, std::vector<Way>> fronts;
    // Blocks of 1 and 2 ride with the red cells, see OnlineConvolution.
    std::vector<Level> base = {{1, 2, Tau::kDirectBlocked},
                               {2, 2, Tau::kDirectBlocked}};
    if (options_.keep.size() > base.size()) base = options_.keep;
    fronts[base.back().block * base.back().radix].push_back({base, 0, 0});
    while (!fronts.empty()) {
      const size_t block = fronts.begin()->first;
      std::vector<Way> front = std::move(fronts.begin()->second);
      fronts.erase(fronts.begin());
      Thin(front);
      const bool distant =
          options_.latency == Latency::kFlat && block == kDistantBase;
      for (const Way& way : front) {
        if (block >= problem_.length || Reach(block) == 0) {
          complete.push_back(End(way));
          continue;
        }
        if (distant) AddDistant(way, block, complete);
        Extend(way, block, fronts, complete);
      }
    }
  }

  const TileCosts* Measured() const {
    if (options_.costs != nullptr) return options_.costs.get();
    return options_.tuning != nullptr ? options_.tuning->For(problem_)
                                      : nullptr;
  }

  size_t Reach(size_t block) const {
    return SlicesOf(problem_, {block, Level::kToTheEnd, Tau::kDirectBlocked})
        .count;
  }

  // Two or three levels: nothing to choose.
  StatusOr<std::vector<Level>> Small() {
    std::vector<Level> levels;
    for (size_t block = 1; block < problem_.length && Reach(block) != 0;
         block *= 2) {
      levels.push_back({block, 2, Tau::kDirectBlocked});
    }
    if (!levels.empty()) levels.back().radix = Level::kToTheEnd;
    return levels;
  }

  // Every level but the last covers its parent, so the last one's radix may as
  // well be without end.
  static Way End(Way way) {
    way.levels.back().radix = Level::kToTheEnd;
    return way;
  }

  Way With(const Way& way, const Level& level) const {
    Way longer = way;
    longer.levels.push_back(level);
    longer.ns += LevelNs(problem_, level, costs_);
    longer.bytes +=
        sizeof(float) *
        (static_cast<double>(problem_.mixers * GroupsFor(problem_.channels)) *
             static_cast<double>(SpectraFloats(problem_, level)) +
         static_cast<double>(HistoryGroups(problem_)) *
             static_cast<double>(KeptFloats(problem_, level)));
    return longer;
  }

  void Extend(const Way& way, size_t block,
              std::map<size_t, std::vector<Way>>& fronts,
              std::vector<Way>& complete) const {
    const auto add = [&](const Level& level) {
      if (level.radix == Level::kToTheEnd) {
        complete.push_back(With(way, level));
      } else {
        fronts[block * level.radix].push_back(With(way, level));
      }
    };
    const size_t blocks = (problem_.length - 1) / block + 1;
    std::vector<size_t> radices(std::begin(kRadices), std::end(kRadices));
    if (blocks <= kMostTopBlocks || Reach(block) <= kMostTopBlocks) {
      radices.push_back(Level::kToTheEnd);
    }
    for (const size_t radix : radices) {
      if (radix != Level::kToTheEnd && radix / 2 >= blocks) continue;
      if (block <= kMostDirect) add({block, radix, Tau::kDirectBlocked});
      if (block < SmallestBlock(Tau::kFftFused) ||
          block > FftTables::kMaxBlock) {
        continue;
      }
      const Level fused = {block, radix, Tau::kFftFused};
      add(fused);
      if (SlicesOf(problem_, fused).count == 1 && options_.memory_limit != 0 &&
          options_.bytes == nullptr) {
        Level remade = fused;
        if (TapsOfTile(problem_, fused) <= most_taps_) {
          remade.spectra = Spectra::kRemade;
          add(remade);
        } else if (problem_.evaluation.lag_ns > 0) {
          remade.spectra = Spectra::kEvaluated;
          add(remade);
        }
      }
    }
  }

  // Neighbours at `block` and distant levels from there up.
  void AddDistant(const Way& way, size_t base,
                  std::vector<Way>& complete) const {
    std::map<size_t, std::vector<Way>> fronts;
    for (const Tau tau : {Tau::kDirectBlocked, Tau::kFftFused}) {
      fronts[base].push_back(
          With(way, {base, Level::kToTheEnd, tau, Serves::kNeighbours}));
    }
    while (!fronts.empty()) {
      const size_t block = fronts.begin()->first;
      std::vector<Way> front = std::move(fronts.begin()->second);
      fronts.erase(fronts.begin());
      Thin(front);
      const Level end = {block, Level::kToTheEnd, Tau::kFftFused,
                         Serves::kDistant};
      const size_t blocks = (problem_.length - 1) / block + 1;
      for (const Way& before : front) {
        if (SlicesOf(problem_, end).count == 0) {
          Way way_to_end = before;
          if (way_to_end.levels.back().serves == Serves::kDistant) {
            way_to_end = End(std::move(way_to_end));
          }
          complete.push_back(std::move(way_to_end));
          continue;
        }
        if (blocks <= kMostTopBlocks || Reach(block) <= kMostTopBlocks) {
          complete.push_back(With(before, end));
        }
        for (const size_t radix : kRadices) {
          if (radix >= blocks || block * radix > FftTables::kMaxBlock) continue;
          Level level = end;
          level.radix = radix;
          fronts[block * radix].push_back(With(before, level));
        }
      }
    }
  }

  // Drops what another way beats in both respects, and thins what is left.
  void Thin(std::vector<Way>& front) const {
    std::sort(front.begin(), front.end(), [](const Way& a, const Way& b) {
      return a.ns != b.ns ? a.ns < b.ns : a.bytes < b.bytes;
    });
    std::vector<Way> kept;
    for (Way& way : front) {
      if (kept.empty() || way.bytes < kept.back().bytes) {
        kept.push_back(std::move(way));
      }
    }
    front = std::move(kept);
    if (keep_ == Keep::kSmallest) {
      front.erase(front.begin(), front.end() - 1);
    } else if (front.size() > kFront) {
      ThinMiddle(front);
    }
  }

  // Bytes fall along the front. What a way takes above its smallest is what it
  // takes of the room, since the levels to come take as much behind either.
  // Plans that have less beside what is counted than the smallest one (shorter
  // histories, no taps to evaluate) have more room: coarser steps for them.
  void ThinMiddle(std::vector<Way>& front) const {
    const double smallest = front.back().bytes;
    double last = kNone;  // The step of the last one that stays.
    const auto stays = [&](const Way& way) {
      const double above = way.bytes - smallest;
      if (keep_ != Keep::kInSteps || above > most_room_) return false;
      const double step =
          std::floor(above <= room_ ? above / room_ * kSteps
                                    : kSteps + above / most_room_ * kSteps);
      return step < std::exchange(last, std::min(last, step));
    };
    const auto half = static_cast<ptrdiff_t>(kFront / 2);
    const auto end = front.end() - half;
    front.erase(std::remove_if(front.begin() + half, end,
                               [&](const Way& way) { return !stays(way); }),
                end);
  }

  StatusOr<std::vector<Level>> Choose(std::vector<Way>& complete) const {
    std::stable_sort(complete.begin(), complete.end(),
                     [](const Way& a, const Way& b) { return a.ns < b.ns; });
    size_t smallest = SIZE_MAX;
    for (const Way& way : complete) {
      if (!Allowed(way)) continue;
      const size_t bytes = Bytes(way);
      if (options_.memory_limit == 0 || bytes <= options_.memory_limit) {
        return way.levels;
      }
      smallest = std::min(smallest, bytes);
    }
    return MemoryError(smallest);
  }

  // All of a complete way's.
  size_t Bytes(const Way& way) const {
    Plan plan;
    plan.problem = problem_;
    plan.method = Method::kPlanned;
    plan.levels = way.levels;
    return options_.bytes != nullptr ? options_.bytes(plan)
                                     : plan.Memory(options_.threads).AtMost();
  }

  // Nothing larger than the base of distant levels falls due at once.
  bool Allowed(const Way& way) const {
    return options_.latency != Latency::kFlat ||
           way.levels.back().serves != Serves::kSiblings ||
           way.levels.back().block <= kDistantBase;
  }

  Status MemoryError(size_t smallest) const {
    return InvalidInput(fmt::format(
        "the convolutions of {} positions take at least {} (taps, spectra and "
        "one session), and the memory limit leaves {}",
        problem_.length, ByteText(smallest), ByteText(options_.memory_limit)));
  }

  const Problem& problem_;
  const PlanOptions& options_;
  const TileCosts estimate_;
  const TileCosts& costs_;
  // That remade levels may keep.
  size_t most_taps_ = SIZE_MAX;
  Keep keep_ = Keep::kCheapAndSmall;
  // What the limit leaves beside the smallest plan, and beside one that took
  // the least in every respect.
  double room_ = 0, most_room_ = 0;
};

}  // namespace

StatusOr<std::vector<Level>> PlanLevels(const Problem& problem,
                                        const PlanOptions& options) {
  if (!options.keep.empty()) {
    StatusOr<std::vector<Level>> levels = Planner(problem, options).Run();
    if (levels.ok()) return levels;
  }
  // Without them, or where the memory limit has no room for them any more.
  PlanOptions free = options;
  free.keep.clear();
  return Planner(problem, free).Run();
}

namespace {

// Of `tiles` tiles of a level from 1, 2, .. blocks of inputs, as many as there
// are but no more than the last one has.
double RisingNs(const Problem& problem, const Level& level, TileCost cost,
                size_t tiles) {
  if (tiles == 0) return 0;
  const size_t most = TileAt(problem, level, tiles * level.block).terms;
  if (most == 0) return 0;
  const double n = static_cast<double>(tiles), m = static_cast<double>(most);
  return n * cost.first_ns +
         ((m - 1) * m / 2 + (n - m) * (m - 1)) * cost.more_ns;
}

}  // namespace

double LevelNs(const Problem& problem, const Level& level,
               const TileCosts& costs) {
  const bool many = level.tau == Tau::kFftFused && SlotsOf(problem, level) != 0;
  const TileCost cost = costs.Of(level.tau, level.block, many);
  const size_t blocks = (problem.length - 1) / level.block + 1;
  const bool endless = level.radix == Level::kToTheEnd;
  // Tiles repeat with the parent.
  size_t period = endless ? blocks : std::min(blocks, level.radix);
  double ns = 0;
  switch (level.serves) {
    case Serves::kNeighbours:
      period = 1;
      ns = cost.Of(1);
      break;
    case Serves::kSiblings:
      // None for a parent's first block.
      ns = RisingNs(problem, level, cost, period - 1);
      break;
    case Serves::kDistant: {
      if (endless) {
        ns = RisingNs(problem, level, cost,
                      blocks - std::min<size_t>(blocks, 2));
        break;
      }
      const size_t first = blocks <= 3 * period ? 1 : period;
      for (size_t k = first; k < first + period; ++k) {
        ns += cost.Of(TileAt(problem, level, k * level.block).terms);
      }
      break;
    }
  }
  if (level.spectra != Spectra::kKept) ns *= kRemadeFactor;
  if (level.spectra == Spectra::kEvaluated) {
    // For all rows of a batch at once.
    const size_t tiles = level.serves == Serves::kNeighbours ? 1 : period - 1;
    ns += static_cast<double>(tiles) *
          static_cast<double>(TapsOfTile(problem, level)) *
          problem.evaluation.lag_ns / static_cast<double>(problem.batch);
  }
  if (many && level.serves == Serves::kSiblings) ns *= kKeptMargin;
  return ns / (static_cast<double>(period) * static_cast<double>(level.block));
}

double PlanNs(const Plan& plan, const TileCosts& costs) {
  double ns = 0;
  for (size_t k = 0; k < plan.levels.size(); ++k) {
    ns += LevelNs(plan.problem, plan.levels[k], costs);
  }
  return ns * static_cast<double>(HistoryGroups(plan.problem));
}

}  // namespace lcsm::conv
