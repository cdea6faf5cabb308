#include "cuda/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "conv/layout.h"
#include "conv/level_op.h"
#include "cuda/tiles.h"
#include "kernels/fft_tables.h"

namespace lcsm::cuda {
namespace {

using conv::Level;
using conv::Problem;
using conv::Tau;
using conv::TileCost;

using Clock = std::chrono::steady_clock;

constexpr size_t kMany = 8;           // Blocks of a tile with many.
constexpr size_t kMostDirect = 1024;  // Larger sums cost ten transforms.
// Products of more are a matter of bytes.
constexpr size_t kMostMany = 1 << 14;
constexpr size_t kMostBlock = 1 << 20;
// A device that slept needs as long until its clock is what it will be.
constexpr double kWakeSeconds = 0.05;

double Seconds(Clock::time_point since) {
  return std::chrono::duration<double>(Clock::now() - since).count();
}

// Any numbers will do, but not zeros all over. A period that no block size
// divides, repeated: a quarter of a gigabyte is wanted at a time, and quickly.
std::vector<float> Noise(size_t count) {
  constexpr size_t kPeriod = 65537;
  std::vector<float> values(count);
  for (size_t i = 0; i < std::min(count, kPeriod); ++i) {
    values[i] = static_cast<float>((i * 2654435761u) % 2048) / 1024.0f - 1.0f;
  }
  for (size_t i = kPeriod; i < count; i += kPeriod) {
    std::copy_n(values.begin(), std::min(kPeriod, count - i),
                values.begin() + static_cast<ptrdiff_t>(i));
  }
  return values;
}

// As it will be read back: the first run's plan is that of all later ones.
double Written(double ns) { return std::round(10 * ns) / 10; }

struct Kind {
  Tau tau;
  size_t block;
  bool many;
};

// All that are ever measured, small blocks first.
std::vector<Kind> KindsFor(TilesFor use) {
  std::vector<Kind> kinds;
  for (size_t block = 1; block <= kMostBlock; block *= 2) {
    const bool direct = block <= kMostDirect;
    if (direct) kinds.push_back({Tau::kDirectBlocked, block, false});
    if (direct && use == TilesFor::kHybrid) {
      kinds.push_back({Tau::kDirect, block, false});
    }
    if (block < FftTables::kMinBlock) continue;
    kinds.push_back({Tau::kFftFused, block, false});
    if (use == TilesFor::kHybrid) {
      kinds.push_back({Tau::kFftLibrary, block, false});
    } else if (block <= kMostMany) {
      kinds.push_back({Tau::kFftFused, block, true});
    }
  }
  return kinds;
}

// How many times the estimate a kind was found to cost.
struct Ratio {
  double first = 1, more = 1;
};

// At the nearest block of the same kind below, else above; blocks are less than
// `end`.
std::optional<Ratio> RatioNear(const conv::TileCosts& estimate,
                               const conv::TileCosts& measured,
                               const Kind& kind, size_t end) {
  const auto at = [&](size_t block) {
    const TileCost found = measured.Of(kind.tau, block, kind.many);
    const TileCost told = estimate.Of(kind.tau, block, kind.many);
    Ratio ratio = {found.first_ns / told.first_ns, 1};
    ratio.more = told.more_ns > 0 ? found.more_ns / told.more_ns : ratio.first;
    return ratio;
  };
  for (size_t block = kind.block; block != 0; block /= 2) {
    if (measured.Has(kind.tau, block, kind.many)) return at(block);
  }
  for (size_t block = 2 * kind.block; block < end; block *= 2) {
    if (measured.Has(kind.tau, block, kind.many)) return at(block);
  }
  return std::nullopt;
}

}  // namespace

conv::TileCosts EstimateDeviceCosts(const DeviceInfo& info,
                                    const Problem& problem) {
  const auto groups = static_cast<double>(conv::HistoryGroups(problem));
  // Of one multiprocessor at 1.5 GHz: 128 multiply-adds a clock, of which a
  // quarter is had; 16 bytes a nanosecond from L2.
  const double sms = info.multiprocessors;
  const double launch_ns = 3000 / groups;
  const double multiply_ns = 1 / (48 * sms), byte_ns = 1 / (16 * sms);
  conv::TileCosts costs;
  for (size_t block = 1; block < std::max<size_t>(problem.length, 2);
       block *= 2) {
    const auto u = static_cast<double>(block), lanes = double{kLanes};
    const TileCost direct = {launch_ns + u * u * lanes * multiply_ns,
                             u * u * lanes * multiply_ns};
    for (const bool many : {false, true}) {
      costs.Set(Tau::kDirect, block, many, direct);
      costs.Set(Tau::kDirectBlocked, block, many, direct);
      if (block < FftTables::kMinBlock || block > FftTables::kMaxBlock) {
        continue;
      }
      // Forward and back at 5 multiply-adds a point and level of two; lines in,
      // accumulators in and out, a spectrum in.
      const double log_u = std::log2(u) + 1;
      double bytes = (4 + 8 + 8) * u * lanes;
      double launches = 1;
      for (double length = u; length > 4096; length /= 16) {
        bytes += 4 * 8 * u * lanes;  // Scratch there and back, twice.
        launches += 2;
      }
      TileCost fused = {launches * launch_ns + bytes * byte_ns +
                            10 * u * log_u * lanes * multiply_ns,
                        0};
      if (many) {
        fused.first_ns += 8 * u * lanes * byte_ns;
        fused.more_ns = 16 * u * lanes * byte_ns;
      }
      costs.Set(Tau::kFftFused, block, many, fused);
      costs.Set(Tau::kFftLibrary, block, many,
                {5 * launch_ns + 80 * u * lanes * byte_ns, 0});
    }
  }
  return costs;
}

StatusOr<TileCost> MeasureDeviceTile(std::shared_ptr<Device> device,
                                     const Problem& like, Tau tau, size_t block,
                                     bool many) {
  Problem problem = like;
  problem.length = problem.taps = (many ? kMany : 2) * block;
  problem.primed = true;
  std::vector<Level> levels;
  if (block > 1) levels.push_back({1, block, Tau::kDirectBlocked});
  levels.push_back({block, Level::kToTheEnd, tau});
  LCSM_ASSIGN_OR_RETURN(
      conv::Plan plan,
      conv::MakePlan(problem, levels, conv::Schedule::kAcrossLayers));
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<conv::FilterBank> bank,
                        conv::FilterBank::Create(problem));
  const std::vector<float> rows = Noise(problem.taps * problem.channels);
  for (size_t m = 0; m < problem.mixers; ++m) {
    bank->SetTaps(m, 0, problem.taps, rows.data());
  }
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const PreparedTiles> prepared,
                        PreparedTiles::Create(device, std::move(plan), *bank));
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<Queue> queue,
                        device->NewQueue(false));
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<Tiles> tiles,
                        Tiles::Create(prepared, *queue));
  const size_t histories = tiles->histories();
  const std::vector<float> lines = Noise(histories * tiles->stride());
  const auto time = [&](size_t terms) -> StatusOr<double> {
    // Fresh lines: sums that pile up would end as infinities.
    LCSM_RETURN_IF_ERROR(device->Upload(tiles->lines(), lines.data(),
                                        lines.size() * sizeof(float)));
    LCSM_RETURN_IF_ERROR(tiles->PretendKnown(terms * block));
    // One to warm up, which says how many make waiting for them nothing.
    const auto run = [&](int launches) -> StatusOr<double> {
      const Clock::time_point start = Clock::now();
      for (int k = 0; k < launches; ++k) tiles->RepeatDue();
      LCSM_RETURN_IF_ERROR(queue->Wait());
      return 1e9 * Seconds(start) / launches;
    };
    LCSM_ASSIGN_OR_RETURN(const double cold, run(1));
    constexpr double kEnoughNs = 2e6;
    const int launches =
        static_cast<int>(std::clamp(kEnoughNs / cold, 1., 20.));
    std::vector<double> times;
    for (int repeat = 0; repeat < 5; ++repeat) {
      LCSM_ASSIGN_OR_RETURN(const double took, run(launches));
      times.push_back(took);
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2] / static_cast<double>(histories);
  };
  TileCost cost;
  LCSM_ASSIGN_OR_RETURN(cost.first_ns, time(1));
  if (many) {
    LCSM_ASSIGN_OR_RETURN(const double all, time(kMany - 1));
    cost.more_ns =
        std::max(0.0, (all - cost.first_ns) / static_cast<double>(kMany - 2));
  } else if (tau == Tau::kDirect || tau == Tau::kDirectBlocked) {
    cost.more_ns = cost.first_ns;
  }
  return cost;
}

Status MeasureDeviceCosts(const std::shared_ptr<Device>& device,
                          const Problem& problem, TilesFor use,
                          const MeasureLimits& limits,
                          conv::TileCosts* measured) {
  const Clock::time_point start = Clock::now();
  // Where there is no such library, `direct` is our own kernel again. Asked
  // when it matters: opening it takes a while.
  std::optional<bool> depthwise;
  const size_t line = conv::HistoryGroups(problem) * kLanes * sizeof(float);
  bool awake = false, transforms = true;
  for (const Kind& kind : KindsFor(use)) {
    if (kind.block >= std::max<size_t>(problem.length, 2)) break;
    if (measured->Has(kind.tau, kind.block, kind.many)) continue;
    if (kind.tau == Tau::kFftLibrary && !transforms) continue;
    if ((kind.many ? kMany : 2) * kind.block > limits.bytes / line) continue;
    if (kind.tau == Tau::kDirect) {
      if (!depthwise) {
        depthwise = device->NewDepthwise(kLanes, FftTables::kMinBlock).ok();
      }
      if (!*depthwise) continue;
    }
    StatusOr<TileCost> cost = InternalError("nothing was measured");
    do {
      if (Seconds(start) > limits.seconds) return OkStatus();
      cost =
          MeasureDeviceTile(device, problem, kind.tau, kind.block, kind.many);
    } while (cost.ok() && !awake && Seconds(start) < kWakeSeconds);
    awake = true;
    LCSM_RETURN_IF_ERROR(device->status());
    if (cost.ok()) {
      measured->Set(
          kind.tau, kind.block, kind.many,
          {std::max(0.1, Written(cost->first_ns)), Written(cost->more_ns)});
    } else if (cost.status().code() == StatusCode::kUnsupported &&
               kind.tau == Tau::kFftLibrary) {
      transforms = false;
    }
  }
  return OkStatus();
}

conv::TileCosts FillDeviceCosts(const DeviceInfo& info, const Problem& problem,
                                const conv::TileCosts& measured) {
  const conv::TileCosts estimate = EstimateDeviceCosts(info, problem);
  conv::TileCosts costs = estimate;
  if (!measured.measured()) return costs;
  const size_t end = std::max<size_t>(problem.length, 2);
  const auto fill = [&](const Kind& kind) {
    if (measured.Has(kind.tau, kind.block, kind.many)) {
      costs.Set(kind.tau, kind.block, kind.many,
                measured.Of(kind.tau, kind.block, kind.many));
      return;
    }
    // A kind of which nothing was measured is as wrong as its nearest kin: an
    // estimate that is too low must not win over what was measured.
    std::optional<Ratio> ratio = RatioNear(estimate, measured, kind, end);
    for (const Kind& kin : {Kind{kind.tau, kind.block, false},
                            Kind{Tau::kDirectBlocked, kind.block, false}}) {
      if (!ratio) ratio = RatioNear(estimate, measured, kin, end);
    }
    if (!ratio) return;
    const TileCost told = estimate.Of(kind.tau, kind.block, kind.many);
    costs.Set(kind.tau, kind.block, kind.many,
              {told.first_ns * ratio->first, told.more_ns * ratio->more});
  };
  for (size_t block = 1; block < end; block *= 2) {
    fill({Tau::kDirectBlocked, block, false});
    fill({Tau::kDirect, block, false});
    if (block < FftTables::kMinBlock || block > FftTables::kMaxBlock) continue;
    fill({Tau::kFftFused, block, false});
    fill({Tau::kFftFused, block, true});
    fill({Tau::kFftLibrary, block, false});
  }
  return costs;
}

StatusOr<conv::Plan> HybridPlan(const DeviceInfo& info, const Problem& problem,
                                const conv::TileCosts& measured,
                                conv::Schedule schedule) {
  conv::PlanOptions paper = {.method = conv::Method::kPaper,
                             .tau = Tau::kFftFused};
  paper.schedule = schedule;
  LCSM_ASSIGN_OR_RETURN(conv::Plan plan, conv::MakePlan(problem, paper));
  const conv::TileCosts costs = FillDeviceCosts(info, problem, measured);
  const auto known = [&](Tau tau, size_t block) {
    while (block != 0 && !measured.Has(tau, block, false)) block /= 2;
    return block != 0;
  };
  for (Level& level : plan.levels) {
    const size_t block = level.block;
    double best = costs.Of(level.tau, block, false).first_ns;
    bool found = known(level.tau, block);
    for (const Tau tau : {Tau::kDirectBlocked, Tau::kDirect, Tau::kFftFused,
                          Tau::kFftLibrary}) {
      if (block < conv::SmallestBlock(tau) || !known(tau, block)) continue;
      const double now = costs.Of(tau, block, false).first_ns;
      if (found && now >= best) continue;
      best = now;
      level.tau = tau;
      found = true;
    }
  }
  LCSM_ASSIGN_OR_RETURN(
      plan, conv::MakePlan(problem, std::move(plan.levels), schedule));
  plan.method = conv::Method::kPaper;
  return plan;
}

}  // namespace lcsm::cuda
