#include "bench/gpu_floor.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "bench/timing.h"
#include "conv/layout.h"
#include "conv/tiny_levels.h"
#include "cuda/fft_launch.h"
#include "cuda/replayed.h"

namespace lcsm::bench {
namespace {

using conv::Level;
using conv::Serves;
using conv::Tau;

// Those of EnqueueFft.
size_t TransformLaunches(const cuda::DeviceInfo& info, size_t block,
                         size_t histories) {
  const int log_u = std::countr_zero(block);
  const auto before = static_cast<size_t>(
      cuda::PassesBefore(cuda::MakeFftPasses(log_u), cuda::LogFit(info)));
  if (before == 0) return 1;
  const size_t at_a_time =
      cuda::FftScratchSize(info, log_u, histories) / (block * cuda::kLanes);
  return (histories + at_a_time - 1) / at_a_time * (2 * before + 1);
}

// Those of Tiles::EnqueueLevel, or of a distant level's tile.
size_t LevelLaunches(const cuda::DeviceInfo& info, const conv::Problem& problem,
                     const Level& level, bool depthwise) {
  const bool sums = level.tau == Tau::kDirect;
  if (sums && depthwise && level.block >= 4 && level.block <= 2048 &&
      conv::SlicesOf(problem, level).count == 1) {
    return 3;
  }
  if (sums || level.tau == Tau::kDirectBlocked) return 1;
  if (level.tau == Tau::kFftLibrary) return 5;
  return conv::SlicesOf(problem, level).count == 0
             ? 0
             : TransformLaunches(info, level.block,
                                 conv::HistoryGroups(problem));
}

}  // namespace

StatusOr<double> GpuCopySpeed(const std::shared_ptr<cuda::Device>& device,
                              size_t bytes) {
  LCSM_ASSIGN_OR_RETURN(const auto queue, device->NewQueue(false));
  LCSM_ASSIGN_OR_RETURN(const auto from,
                        device->NewZeros<char>(bytes, "a copy"));
  LCSM_ASSIGN_OR_RETURN(const auto to, device->NewZeros<char>(bytes, "a copy"));
  constexpr int kCopies = 4;
  double best = 0;
  for (int round = 0; round < 6; ++round) {
    const Stopwatch clock;
    for (int k = 0; k < kCopies; ++k) {
      queue->Copy(to.data(), from.data(), bytes);
    }
    LCSM_RETURN_IF_ERROR(queue->Wait());
    best = std::max(
        best, 2.0 * kCopies * static_cast<double>(bytes) / clock.Seconds());
  }
  return best;
}

StatusOr<double> GpuLaunchFloor(const std::shared_ptr<cuda::Device>& device,
                                size_t launches) {
  LCSM_ASSIGN_OR_RETURN(const auto queue, device->NewQueue(false));
  LCSM_ASSIGN_OR_RETURN(const auto control, device->NewZeros<cuda::StepControl>(
                                                1, "a step's control"));
  LCSM_ASSIGN_OR_RETURN(const cuda::Replayed step,
                        cuda::Replayed::Create(*queue, [&] {
                          for (size_t k = 0; k < launches; ++k) {
                            queue->Launch<cuda::CountKernel>({control.data()});
                          }
                        }));
  constexpr int kReplays = 100;
  std::vector<double> seconds;
  for (int round = 0; round < 6; ++round) {
    const Stopwatch clock;
    for (int k = 0; k < kReplays; ++k) step.Run();
    LCSM_RETURN_IF_ERROR(queue->Wait());
    if (round > 0) seconds.push_back(clock.Seconds() / kReplays);
  }
  return Summarize(seconds).median;
}

double MeanTileLaunches(cuda::Device& device, const conv::Plan& plan) {
  const std::vector<Level>& levels = plan.levels;
  const size_t length = plan.problem.length;
  if (length < 2) return 0;
  const bool quadratic =
      plan.method == conv::Method::kLazy || plan.method == conv::Method::kEager;
  if (levels.empty()) {
    return quadratic
               ? static_cast<double>(length - 1) / static_cast<double>(length)
               : 0;
  }
  const bool depthwise = device.NewDepthwise(cuda::kLanes, 4).ok();
  std::vector<size_t> launches;
  size_t deferred = 0;
  for (const Level& level : levels) {
    launches.push_back(
        LevelLaunches(device.info(), plan.problem, level, depthwise));
    if (level.serves == Serves::kDistant && launches.back() != 0) ++deferred;
  }
  const bool folds = conv::FoldsTiny(levels);
  size_t sum = 0;
  for (size_t known = 1; known < length; ++known) {
    const size_t due = conv::DueLevel(levels, known);
    if (!folds || due >= conv::kTinyLevels) {
      sum += launches[due];
      // What adds deferred outputs.
      if (levels[due].serves == Serves::kNeighbours) sum += deferred;
    }
    for (size_t k = 0; k < levels.size(); ++k) {
      const size_t block = levels[k].block;
      // The last blocks have no outputs in the sequence.
      if (levels[k].serves == Serves::kDistant && known % block == 0 &&
          known + block < length) {
        sum += launches[k];
      }
    }
  }
  return static_cast<double>(sum) / static_cast<double>(length);
}

}  // namespace lcsm::bench
