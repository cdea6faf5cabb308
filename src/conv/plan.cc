// Settling the levels of a problem, saying what they are and what they cost in
// bytes.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>

#include "conv/filter_bank.h"
#include "conv/hybrid.h"
#include "conv/layout.h"
#include "conv/measure_tiles.h"
#include "conv/problem.h"
#include "conv/tile_op.h"
#include "kernels/fft_tables.h"

namespace lcsm::conv {
namespace {

Status Check(const Problem& problem) {
  if (problem.mixers == 0 || problem.channels == 0 || problem.batch == 0 ||
      problem.length == 0 || problem.taps == 0) {
    return InvalidInput(fmt::format(
        "an online convolution needs at least one mixer, channel, batch row, "
        "position and tap; "
        "found mixers {}, channels {}, batch {}, length {}, taps {}",
        problem.mixers, problem.channels, problem.batch, problem.length,
        problem.taps));
  }
  // Everything below multiplies these with small constants; 2^60 leaves room
  // for all of them.
  const double floats =
      static_cast<double>(problem.mixers) *
      (static_cast<double>(problem.channels) + kLanes) *
      static_cast<double>(problem.batch) *
      (static_cast<double>(std::max(problem.length, problem.taps)) + kTapSlack);
  if (floats > 0x1p52) {
    return InvalidInput(fmt::format(
        "an online convolution of {} mixers, {} channels, {} rows and {} "
        "positions is larger than "
        "any memory",
        problem.mixers, problem.channels, problem.batch, problem.length));
  }
  return OkStatus();
}

// The largest block of a binary tiling: its first tile falls due at r = U < L,
// and blocks larger than the filter's reach would only meet taps that are not
// there.
size_t LargestBlock(const Problem& problem) {
  const size_t reach = std::min(problem.taps, problem.length) - 1;
  if (reach == 0) return 0;
  return std::min(std::bit_floor(problem.length - 1), std::bit_ceil(reach));
}

}  // namespace

StatusOr<Plan> MakePlan(const Problem& problem, const PlanOptions& options) {
  LCSM_RETURN_IF_ERROR(Check(problem));
  Plan plan;
  plan.problem = problem;
  plan.method = options.method;
  plan.schedule = options.schedule;
  if (options.method != Method::kPaper) return plan;
  const size_t largest = LargestBlock(problem);
  if (largest > FftTables::kMaxBlock && options.tau != Tau::kDirect &&
      options.tau != Tau::kDirectBlocked) {
    return InvalidInput(fmt::format(
        "transforms stop at blocks of {}, and a length of {} wants {}",
        FftTables::kMaxBlock, problem.length, largest));
  }
  for (size_t block = 1; block != 0 && block <= largest; block *= 2) {
    Tau tau = options.tau;
    if (tau == Tau::kHybrid) {
      tau = HybridTau(block);
    } else if (tau == Tau::kMeasured) {
      LCSM_ASSIGN_OR_RETURN(tau, FastestTau(block));
    } else if (block < SmallestBlock(tau)) {
      // A forced transform starts where it can; the few tiny levels below are
      // direct.
      tau = Tau::kDirectBlocked;
    }
    plan.levels.push_back({block, tau});
  }
  return plan;
}

std::string Plan::Print() const {
  std::string text = Name(method);
  const char* separator = ": ";
  for (size_t i = 0; i < levels.size();) {
    size_t last = i;
    while (last + 1 < levels.size() && levels[last + 1].tau == levels[i].tau)
      ++last;
    text += fmt::format("{}{} U={}", separator, Name(levels[i].tau),
                        levels[i].block);
    if (last > i) text += fmt::format("..{}", levels[last].block);
    separator = ", ";
    i = last + 1;
  }
  return text + fmt::format("; {}", Name(schedule));
}

MemoryEstimate Plan::Memory(size_t threads) const {
  MemoryEstimate bytes;
  bytes.taps = FilterBank::BytesFor(problem);
  bytes.histories = HistoryFloats(problem) * sizeof(float);
  if (method == Method::kEager) bytes.histories *= 2;
  const size_t filter_groups = problem.mixers * GroupsFor(problem.channels);
  size_t scratch = 0;
  for (const Level& level : levels) {
    bytes.spectra += filter_groups * SpectrumFloats(level) * sizeof(float);
    scratch = std::max(scratch, ScratchFloats(level));
    bytes.scratch +=
        SharedTableBytes(level) + threads * ThreadTableBytes(level);
  }
  bytes.scratch += threads * scratch * sizeof(float);
  return bytes;
}

}  // namespace lcsm::conv
