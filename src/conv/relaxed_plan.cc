#include "conv/relaxed_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/byte_text.h"
#include "conv/fused_op.h"
#include "conv/layout.h"
#include "conv/tile_costs.h"
#include "conv/tuning.h"
#include "kernels/fft_tables.h"
#include "kernels/tile_kernels.h"

namespace lcsm::conv {
namespace {

static_assert(kLongestRelaxed / 2 == FftTables::kMaxBlock);

Status CheckRelaxed(const Plan& plan) {
  const Problem& problem = plan.problem;
  if (problem.taps < problem.length) {
    return InvalidInput(fmt::format(
        "a relaxed convolution has a tap for every position: found {} for {}",
        problem.taps, problem.length));
  }
  if (problem.length > kLongestRelaxed) {
    return InvalidInput(
        fmt::format("relaxed convolutions end at {} positions, found {}",
                    kLongestRelaxed, problem.length));
  }
  if (problem.primed) {
    return InvalidInput(
        "a relaxed convolution cannot start with contributions of earlier "
        "inputs");
  }
  for (const Level& level : plan.levels) {
    const bool direct =
        level.tau == Tau::kDirect || level.tau == Tau::kDirectBlocked;
    const bool radix =
        level.radix == Level::kToTheEnd || std::has_single_bit(level.radix);
    if (level.serves != Serves::kSiblings || level.spectra != Spectra::kKept ||
        !radix || !std::has_single_bit(level.block) ||
        (!direct && level.tau != Tau::kFftFused)) {
      return InvalidInput(fmt::format(
          "a relaxed convolution takes levels whose blocks and radices are "
          "powers of two, neither deferred nor remade, by direct, "
          "direct-blocked or fft-fused; found '{}'",
          plan.Levels()));
    }
  }
  return OkStatus();
}

// What tiles for both sides cost, from what they cost for one. Counted, not
// fitted: direct sums come twice, transforms three times where there were two,
// products of many blocks twice, and since spectra of two sides come round
// before any is met again, from a cache that holds half of them (the 0.4).
std::shared_ptr<const TileCosts> CostsOfBoth(const TileCosts& one) {
  constexpr double kTransforms = 1.5, kDirect = 2, kProducts = 2.4;
  auto both = std::make_shared<TileCosts>();
  for (size_t block = 1; block <= FftTables::kMaxBlock; block *= 2) {
    for (const Tau tau : {Tau::kDirect, Tau::kDirectBlocked}) {
      const TileCost cost = one.Of(tau, block, false);
      both->Set(tau, block, false,
                {kDirect * cost.first_ns, kDirect * cost.more_ns});
    }
    if (block < FftTables::kMinBlock) continue;
    for (const bool many : {false, true}) {
      const TileCost cost = one.Of(Tau::kFftFused, block, many);
      both->Set(Tau::kFftFused, block, many,
                {kTransforms * cost.first_ns, kProducts * cost.more_ns});
    }
  }
  return both;
}

}  // namespace

StatusOr<Plan> MakeRelaxedPlan(const Problem& problem, PlanOptions options) {
  if (options.levels.empty() && options.method != Method::kLazy &&
      options.method != Method::kPaper && options.method != Method::kPlanned) {
    return InvalidInput(fmt::format(
        "there is no relaxed convolution by the method {}: expected lazy, "
        "paper or planned",
        Name(options.method)));
  }
  // The limit is for what is kept here.
  const size_t limit = options.memory_limit;
  options.memory_limit = 0;
  const TileCosts estimate;
  const TileCosts* costs =
      options.tuning != nullptr ? options.tuning->For(problem) : nullptr;
  options.costs = CostsOfBoth(costs != nullptr ? *costs : estimate);
  LCSM_ASSIGN_OR_RETURN(const Plan plan, MakePlan(problem, options));
  LCSM_RETURN_IF_ERROR(CheckRelaxed(plan));
  if (limit != 0 && RelaxedBytes(plan, options.threads) > limit) {
    return InvalidInput(fmt::format(
        "the relaxed convolution by '{}' of {} positions takes {}, and the "
        "memory limit leaves {} for it",
        plan.Print(), problem.length,
        ByteText(RelaxedBytes(plan, options.threads)), ByteText(limit)));
  }
  return plan;
}

size_t RelaxedTerms(const Problem& problem, const Level& level) {
  const size_t last = (problem.length - 1) / level.block;  // Block.
  if (last == 0) return 0;
  // The last octave of the first parent may be cut short; the one before is
  // whole.
  const size_t first_parent =
      InFirstParent(level, last) ? last : level.radix - 1;
  const size_t octave = std::bit_floor(first_parent);
  size_t terms = first_parent - octave;
  if (octave > 1) terms = std::max(terms, octave / 2 - 1);
  if (!InFirstParent(level, last)) {
    terms = std::max(terms, std::min(level.radix - 1, last - level.radix));
  }
  return terms;
}

size_t SmallestTransform(const Plan& plan) {
  for (const Level& level : plan.levels) {
    if (level.tau == Tau::kFftFused && level.block < plan.problem.length) {
      return level.block;
    }
  }
  return 0;
}

size_t RelaxedSpectraFloats(const Problem& problem, const Level& level) {
  if (level.tau != Tau::kFftFused) return 0;
  const size_t terms = RelaxedTerms(problem, level);
  // Slices of both sides; blocks of both where a tile has more than one.
  return 2 * (terms + (terms > 1 ? terms : 0)) * SliceStride(level.block);
}

size_t RelaxedScratchFloats(const Plan& plan) {
  const size_t smallest = SmallestTransform(plan);
  const size_t corner = std::bit_floor(plan.problem.length - 1);
  if (smallest == 0 || corner < smallest) return 0;
  // The last corner and its spectrum; a tile is at most as large, and has two
  // transforms under way.
  return GetTileKernels().FftScratchFloats(corner) + 2 * corner * kLanes;
}

size_t RelaxedBytes(const Plan& plan, size_t threads) {
  const Problem& problem = plan.problem;
  size_t floats = 2 * (HistoryStride(problem.length) + kHeadTaps * kLanes);
  size_t table_bytes = 0;
  for (const Level& level : plan.levels) {
    floats += RelaxedSpectraFloats(problem, level);
  }
  if (const size_t smallest = SmallestTransform(plan); smallest != 0) {
    for (size_t n = smallest; n < problem.length; n *= 2) {
      table_bytes += 2 * n * sizeof(float);
    }
  }
  return sizeof(float) * (HistoryGroups(problem) * floats +
                          threads * RelaxedScratchFloats(plan) +
                          GroupsFor(problem.channels) * kLanes) +
         table_bytes;
}

}  // namespace lcsm::conv
