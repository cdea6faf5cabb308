// Settling the levels of a problem, saying what they are and what they cost in
// bytes.
#include "conv/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/byte_text.h"
#include "conv/filter_bank.h"
#include "conv/hybrid.h"
#include "conv/layout.h"
#include "conv/level_op.h"
#include "conv/planner.h"
#include "conv/tap_source.h"
#include "kernels/fft_tables.h"

namespace lcsm::conv {
namespace {

// The largest block of a binary tiling: its first tile falls due at r = U < L,
// and blocks larger than the filter's reach would only meet taps that are not
// there.
size_t LargestBlock(const Problem& problem) {
  const size_t reach = std::min(problem.taps, problem.length) - 1;
  if (reach == 0) return 0;
  return std::min(std::bit_floor(problem.length - 1), std::bit_ceil(reach));
}

std::string DescribeLevel(size_t index, const Level& level) {
  return fmt::format("level {} (blocks of {}, {})", index + 1, level.block,
                     Name(level.tau));
}

// What one level must be by itself.
Status CheckLevel(size_t index, const Level& level) {
  switch (level.tau) {
    case Tau::kDirect:
    case Tau::kDirectBlocked:
      break;
    case Tau::kFftLibrary:
    case Tau::kFftFused:
    case Tau::kFftPast:
      if (!std::has_single_bit(level.block) ||
          level.block < SmallestBlock(level.tau) ||
          level.block > FftTables::kMaxBlock) {
        return InvalidInput(fmt::format(
            "{}: transforms want blocks that are powers of two from {} to {}",
            DescribeLevel(index, level), SmallestBlock(level.tau),
            FftTables::kMaxBlock));
      }
      break;
    case Tau::kHybrid:
      return InvalidInput(
          fmt::format("{}: a level names one actual way to compute its tiles",
                      DescribeLevel(index, level)));
  }
  if (level.radix == 1) {
    return InvalidInput(fmt::format("{}: the radix is 1, expected 2 or more",
                                    DescribeLevel(index, level)));
  }
  if (level.tau == Tau::kFftLibrary && level.serves == Serves::kSiblings &&
      level.radix != 2 && level.radix != Level::kToTheEnd) {
    return InvalidInput(
        fmt::format("{}: the library's tiles take one block of inputs, so the "
                    "radix is 2; found {}",
                    DescribeLevel(index, level), level.radix));
  }
  if (level.serves == Serves::kDistant && level.tau != Tau::kFftFused) {
    return InvalidInput(
        fmt::format("{}: deferred levels are cut into slices, which only "
                    "fft-fused can",
                    DescribeLevel(index, level)));
  }
  if (level.spectra != Spectra::kKept &&
      (level.serves == Serves::kDistant || level.tau != Tau::kFftFused)) {
    return InvalidInput(
        fmt::format("{}: spectra are made anew for fft-fused levels that are "
                    "not deferred, and for no others",
                    DescribeLevel(index, level)));
  }
  return OkStatus();
}

// What the levels must be together: see plan.h.
Status CheckLevels(const Problem& problem, const std::vector<Level>& levels) {
  size_t block = 1;  // That the next level must have.
  bool ended = levels.empty();
  Serves before = Serves::kSiblings;
  for (size_t k = 0; k < levels.size(); ++k) {
    const Level& level = levels[k];
    LCSM_RETURN_IF_ERROR(CheckLevel(k, level));
    if (ended) {
      return InvalidInput(fmt::format(
          "{} follows a level without a radix, expected that to be the last",
          DescribeLevel(k, level)));
    }
    if (level.block != block) {
      return InvalidInput(fmt::format(
          "{}: the levels below make up blocks of {}, expected that",
          DescribeLevel(k, level), block));
    }
    const bool order =
        level.serves == before ||
        (level.serves == Serves::kNeighbours && before == Serves::kSiblings) ||
        (level.serves == Serves::kDistant && before == Serves::kNeighbours);
    if (!order ||
        (level.serves == Serves::kNeighbours && before == level.serves)) {
      return InvalidInput(fmt::format(
          "{}: expected siblings first, then one level of neighbours, then "
          "distant levels",
          DescribeLevel(k, level)));
    }
    if (SlicesOf(problem, level).count > 1 &&
        (level.spectra != Spectra::kKept || level.tau == Tau::kFftLibrary)) {
      return InvalidInput(fmt::format(
          "{}: {} want tiles of one block of inputs, and here there are up to "
          "{}",
          DescribeLevel(k, level),
          level.spectra != Spectra::kKept ? "remade spectra"
                                          : "the library's transforms",
          SlicesOf(problem, level).count));
    }
    if (level.spectra == Spectra::kEvaluated &&
        !(problem.evaluation.lag_ns > 0)) {
      return InvalidInput(fmt::format(
          "{}: its taps would be evaluated while running, and here they are "
          "given or cannot be; expected 'remade' or nothing",
          DescribeLevel(k, level)));
    }
    before = level.serves;
    if (level.serves == Serves::kNeighbours) continue;  // Same block above.
    ended = level.radix == Level::kToTheEnd;
    if (!ended) {
      if (level.radix > (size_t{1} << 52) / level.block) {
        return InvalidInput(fmt::format("{}: a radix of {} is out of range",
                                        DescribeLevel(k, level), level.radix));
      }
      block *= level.radix;
    }
  }
  if (before == Serves::kNeighbours && levels.back().block < problem.length &&
      SlicesOf(problem, {levels.back().block, Level::kToTheEnd, Tau::kFftFused,
                         Serves::kDistant})
              .count > 0) {
    return InvalidInput(
        "the last level serves neighbours only: nobody serves blocks further "
        "apart");
  }
  if (!ended && before != Serves::kNeighbours) {
    return InvalidInput(fmt::format(
        "the last level has a radix, so that nothing serves positions more "
        "than {} apart; expected a last level without one",
        block));
  }
  if (levels.empty() && std::min(problem.taps, problem.length) > 1) {
    return InvalidInput("a plan without levels computes red cells only");
  }
  return OkStatus();
}

// The paper's tiling with one tau, or the hybrid.
StatusOr<std::vector<Level>> BinaryLevels(const Problem& problem, Tau forced) {
  const size_t largest = LargestBlock(problem);
  if (largest > FftTables::kMaxBlock && forced != Tau::kDirect &&
      forced != Tau::kDirectBlocked) {
    return InvalidInput(fmt::format(
        "transforms stop at blocks of {}, and a length of {} wants {}",
        FftTables::kMaxBlock, problem.length, largest));
  }
  std::vector<Level> levels;
  for (size_t block = 1; block != 0 && block <= largest; block *= 2) {
    Tau tau = forced == Tau::kHybrid ? HybridTau(block) : forced;
    // A forced transform starts where it can; the few tiny levels below are
    // direct.
    if (block < SmallestBlock(tau)) tau = Tau::kDirectBlocked;
    levels.push_back({block, 2, tau});
  }
  if (!levels.empty()) levels.back().radix = Level::kToTheEnd;
  return levels;
}

// FutureFill: gather within an epoch, one transform of the past between two.
std::vector<Level> EpochLevels(const Problem& problem) {
  const size_t largest = LargestBlock(problem);
  if (largest == 0) return {};
  // K = sqrt(L log L) balances K gathered inputs a step with L log L / K.
  const double length = static_cast<double>(problem.length);
  const size_t epoch = std::bit_ceil(
      static_cast<size_t>(std::sqrt(length * std::log2(length + 1))));
  if (epoch < SmallestBlock(Tau::kFftPast) || epoch > largest) {
    return {{1, Level::kToTheEnd, Tau::kDirectBlocked}};
  }
  return {{1, epoch, Tau::kDirectBlocked},
          {epoch, Level::kToTheEnd, Tau::kFftPast}};
}

// Gardner: blocks that double, each computed a block ahead of its due time.
std::vector<Level> DoublingLevels(const Problem& problem) {
  // Smaller deferred blocks would be bookkeeping, not work.
  constexpr size_t kBase = 32;
  if (LargestBlock(problem) < kBase) {
    return BinaryLevels(problem, Tau::kHybrid).value();
  }
  std::vector<Level> levels;
  for (size_t block = 1; block < kBase; block *= 2) {
    levels.push_back({block, 2, Tau::kDirectBlocked});
  }
  levels.push_back(
      {kBase, Level::kToTheEnd, HybridTau(kBase), Serves::kNeighbours});
  for (size_t block = kBase; 2 * block < problem.length; block *= 2) {
    const Level level = {block, 2, Tau::kFftFused, Serves::kDistant};
    if (SlicesOf(problem, level).count == 0) break;
    levels.push_back(level);
  }
  if (levels.back().serves == Serves::kDistant) {
    levels.back().radix = Level::kToTheEnd;
  }
  return levels;
}

}  // namespace

Status CheckProblem(const Problem& problem) {
  if (problem.mixers == 0 || problem.channels == 0 || problem.batch == 0 ||
      problem.length == 0 || problem.taps == 0) {
    return InvalidInput(fmt::format(
        "an online convolution needs at least one mixer, channel, batch row, "
        "position and tap; "
        "found mixers {}, channels {}, batch {}, length {}, taps {}",
        problem.mixers, problem.channels, problem.batch, problem.length,
        problem.taps));
  }
  // Everything below multiplies these with small constants; 2^52 leaves room
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

StatusOr<Plan> MakePlan(const Problem& problem, std::vector<Level> levels,
                        Schedule schedule) {
  LCSM_RETURN_IF_ERROR(CheckProblem(problem));
  LCSM_RETURN_IF_ERROR(CheckLevels(problem, levels));
  Plan plan;
  plan.problem = problem;
  plan.method = Method::kPlanned;
  plan.schedule = schedule;
  plan.levels = std::move(levels);
  if (plan.Deferred() && schedule != Schedule::kAcrossLayers) {
    return InvalidInput(
        "deferred levels are computed across layers; the schedule per-layer "
        "has no place for them");
  }
  return plan;
}

namespace {

Status CheckMemory(const Plan& plan, const PlanOptions& options) {
  // By another account the planner has kept to it already.
  if (options.bytes != nullptr) return OkStatus();
  const MemoryEstimate bytes = plan.Memory(options.threads);
  if (options.memory_limit == 0 || bytes.AtMost() <= options.memory_limit) {
    return OkStatus();
  }
  return InvalidInput(fmt::format(
      "the plan '{}' for {} positions takes {} (taps {}, spectra {}, histories "
      "{}, kept blocks {}; while spectra are made {}), and the memory limit "
      "leaves {} for it",
      plan.Print(), plan.problem.length, ByteText(bytes.AtMost()),
      ByteText(bytes.taps), ByteText(bytes.spectra), ByteText(bytes.histories),
      ByteText(bytes.blocks), ByteText(bytes.Preparing()),
      ByteText(options.memory_limit)));
}

StatusOr<Plan> PlanOf(const Problem& problem, const PlanOptions& options) {
  std::vector<Level> levels;
  if (!options.levels.empty()) {
    return MakePlan(problem, options.levels, options.schedule);
  }
  switch (options.method) {
    case Method::kLazy:
    case Method::kEager: {
      Plan plan;
      plan.problem = problem;
      plan.method = options.method;
      plan.schedule = options.schedule;
      return plan;
    }
    case Method::kPaper: {
      LCSM_ASSIGN_OR_RETURN(levels, BinaryLevels(problem, options.tau));
      break;
    }
    case Method::kFutureFill:
      levels = EpochLevels(problem);
      break;
    case Method::kGardner:
      levels = DoublingLevels(problem);
      break;
    case Method::kPlanned: {
      LCSM_ASSIGN_OR_RETURN(levels, PlanLevels(problem, options));
      break;
    }
  }
  LCSM_ASSIGN_OR_RETURN(Plan plan,
                        MakePlan(problem, std::move(levels), options.schedule));
  plan.method = options.method;
  return plan;
}

}  // namespace

StatusOr<Plan> MakePlan(const Problem& problem, const PlanOptions& options) {
  LCSM_RETURN_IF_ERROR(CheckProblem(problem));
  LCSM_ASSIGN_OR_RETURN(Plan plan, PlanOf(problem, options));
  plan.rings = options.rings;
  LCSM_RETURN_IF_ERROR(CheckMemory(plan, options));
  return plan;
}

StatusOr<Plan> GrowPlan(const Plan& plan, size_t length, PlanOptions options) {
  Problem problem = plan.problem;
  if (length < problem.length) {
    return InvalidInput(fmt::format(
        "a plan for {} positions cannot become one for {}, expected at least "
        "as many",
        problem.length, length));
  }
  problem.length = length;
  // All but the top level, which is the one that a longer sequence outgrows,
  // and what lies above neighbours, which is laid out from the base up.
  for (const Level& level : plan.levels) {
    const bool end = level.radix == Level::kToTheEnd;
    // Levels remake spectra of a single slice only, and a level that was cut
    // short by the end of the sequence may have more of them now.
    const bool many =
        level.spectra != Spectra::kKept && SlicesOf(problem, level).count > 1;
    if (end || many || level.serves != Serves::kSiblings) break;
    options.keep.push_back(level);
  }
  return MakePlan(problem, options);
}

std::string Plan::Print() const {
  std::string text = Name(method);
  const char* separator = ": ";
  if (method == Method::kPaper) {
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
  } else if (!levels.empty()) {
    text += separator + Levels();
  }
  return text + fmt::format("; {}", Name(schedule));
}

namespace {

// Banks and spectra that are there at a time while PreparedConvolution::Create
// makes the latter.
size_t MostWhileMaking(const Plan& plan) {
  const size_t filter_groups =
      plan.problem.mixers * GroupsFor(plan.problem.channels);
  const auto bank_bytes = [&](size_t taps) {
    return FilterBank::BytesFor(plan.problem, taps);
  };
  size_t taps = TapsMade(plan), spectra = 0, most = bank_bytes(taps);
  for (size_t k = plan.levels.size(); k-- > 0;) {
    spectra += filter_groups * SpectraFloats(plan.problem, plan.levels[k]) *
               sizeof(float);
    most = std::max(most, bank_bytes(taps) + spectra);
    if (const size_t left = TapsLeft(plan, k, taps); left < taps) {
      most = std::max(most, bank_bytes(taps) + bank_bytes(left) + spectra);
      taps = left;
    }
  }
  const size_t kept = TapsKept(plan);
  return kept == taps
             ? most
             : std::max(most, bank_bytes(taps) + bank_bytes(kept) + spectra);
}

}  // namespace

MemoryEstimate Plan::Memory(size_t threads) const {
  MemoryEstimate bytes;
  bytes.taps = FilterBank::BytesFor(problem, TapsKept(*this));
  if (TapsKept(*this) < TapsMade(*this)) {
    bytes.bank = FilterBank::BytesFor(problem, TapsMade(*this));
  }
  bytes.histories = HistoryGroups(problem) *
                    HistoryStride(HistoryLines(*this)) * sizeof(float);
  if (method == Method::kEager) bytes.histories *= 2;
  const size_t filter_groups = problem.mixers * GroupsFor(problem.channels);
  size_t scratch = 0;
  for (const Level& level : levels) {
    bytes.spectra +=
        filter_groups * SpectraFloats(problem, level) * sizeof(float);
    bytes.blocks +=
        HistoryGroups(problem) * KeptFloats(problem, level) * sizeof(float);
    const size_t floats = ScratchFloats(problem, level);
    if (level.serves == Serves::kDistant) {
      bytes.scratch += threads * floats * sizeof(float);  // Held over steps.
    } else {
      scratch = std::max(scratch, floats);
    }
    bytes.scratch +=
        SharedTableBytes(level) + threads * ThreadTableBytes(level);
  }
  bytes.scratch += threads * scratch * sizeof(float);
  bytes.scratch += EvaluatedTaps::BytesFor(*this, threads);
  if (bytes.bank != 0) {
    const size_t most = MostWhileMaking(*this);
    bytes.making = most - std::min(most, bytes.taps + bytes.spectra);
  }
  return bytes;
}

}  // namespace lcsm::conv
