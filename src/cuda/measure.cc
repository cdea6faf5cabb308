#include "cuda/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

#include "conv/layout.h"
#include "cuda/tiles.h"
#include "kernels/fft_tables.h"

namespace lcsm::cuda {
namespace {

using conv::Level;
using conv::Problem;
using conv::Tau;
using conv::TileCost;

constexpr size_t kMany = 8;           // Blocks of a tile with many.
constexpr size_t kMostDirect = 1024;  // Larger sums cost ten transforms.
constexpr size_t kMostMany = 1
                             << 14;  // Products of more are a matter of bytes.
constexpr size_t kMostBlock = 1 << 20;

float Noise(size_t i) {
  return static_cast<float>((i * 2654435761u) % 2048) / 1024.0f - 1.0f;
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
  std::vector<float> rows(problem.taps * problem.channels);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = Noise(i);
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
  std::vector<float> lines(histories * tiles->stride());
  for (size_t i = 0; i < lines.size(); ++i) lines[i] = Noise(i);
  const auto time = [&](size_t terms) -> StatusOr<double> {
    // Fresh lines: sums that pile up would end as infinities.
    LCSM_RETURN_IF_ERROR(device->Upload(tiles->lines(), lines.data(),
                                        lines.size() * sizeof(float)));
    LCSM_RETURN_IF_ERROR(tiles->PretendKnown(terms * block));
    std::vector<double> times;
    // One to warm up; then enough launches that waiting for them is nothing.
    for (int repeat = 0; repeat < 6; ++repeat) {
      constexpr int kLaunches = 20;
      const auto start = std::chrono::steady_clock::now();
      for (int k = 0; k < kLaunches; ++k) tiles->RepeatDue();
      LCSM_RETURN_IF_ERROR(queue->Wait());
      const std::chrono::duration<double, std::nano> took =
          std::chrono::steady_clock::now() - start;
      if (repeat > 0) times.push_back(took.count() / kLaunches);
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

StatusOr<conv::TileCosts> MeasureDeviceCosts(std::shared_ptr<Device> device,
                                             const Problem& problem) {
  conv::TileCosts costs;
  const auto measure = [&](Tau tau, size_t block, bool many) -> Status {
    const auto cost = MeasureDeviceTile(device, problem, tau, block, many);
    if (cost.ok()) costs.Set(tau, block, many, *cost);
    const StatusCode code = cost.status().code();
    return code == StatusCode::kResourceExhausted ? OkStatus() : cost.status();
  };
  for (size_t block = 1; block <= kMostBlock && 2 * block <= problem.length;
       block *= 2) {
    if (block <= kMostDirect) {
      LCSM_RETURN_IF_ERROR(measure(Tau::kDirectBlocked, block, false));
    }
    if (block < FftTables::kMinBlock) continue;
    LCSM_RETURN_IF_ERROR(measure(Tau::kFftFused, block, false));
    LCSM_RETURN_IF_ERROR(measure(Tau::kFftLibrary, block, false));
    if (block <= kMostMany) {
      LCSM_RETURN_IF_ERROR(measure(Tau::kFftFused, block, true));
    }
  }
  return costs;
}

}  // namespace lcsm::cuda
