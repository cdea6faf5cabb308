#include "bench/gpu_run.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

#include "base/thread_pool.h"
#include "bench/timing.h"
#include "conv/filter_bank.h"
#include "conv/layout.h"
#include "conv/reference.h"
#include "kernels/lanes.h"

namespace lcsm::bench {
namespace {

using conv::Problem;

// Rows of inputs that take turns: no power of two, so that blocks differ.
constexpr size_t kRows = 997;
// Positions whose outputs are checked, and how many of their columns.
constexpr size_t kChecked = 2048, kColumns = 6;
// Positions that are enqueued before the host waits.
constexpr size_t kAhead = 4096;

float Noise(size_t i) {
  uint64_t z = (i + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z ^= z >> 27;
  return static_cast<float>(static_cast<int32_t>(z >> 32)) * 0x1p-31f;
}

}  // namespace

StatusOr<std::unique_ptr<GpuRun>> GpuRun::Create(
    const std::shared_ptr<cuda::Device>& device, const conv::Plan& plan) {
  std::unique_ptr<GpuRun> run(new GpuRun(device, plan));
  LCSM_RETURN_IF_ERROR(run->Make());
  return run;
}

StatusOr<double> GpuRun::Check() {
  const Problem& problem = plan_.problem;
  const size_t count = std::min(kChecked, problem.length);
  LCSM_RETURN_IF_ERROR(tiles_->Reset(0, false));
  LCSM_RETURN_IF_ERROR(Go(0, count, nullptr));
  const size_t row = tiles_->histories() * kLanes;
  std::vector<float> y(count * row);
  LCSM_RETURN_IF_ERROR(
      device_->Download(y.data(), y_.data(), y.size() * sizeof(float)));
  double worst = 0, largest = 0;
  for (size_t k = 0; k < kColumns; ++k) {
    // Mixers, channels and rows all get their turn.
    const size_t mixer = k * 7 % problem.mixers;
    const size_t channel = k * 13 % problem.channels;
    const size_t batch = k % problem.batch;
    const size_t history =
        (mixer * GroupsFor(problem.channels) + channel / kLanes) *
            problem.batch +
        batch;
    const size_t column = history * kLanes + channel % kLanes;
    std::vector<float> x(count), rho(count);
    for (size_t t = 0; t < count; ++t) {
      x[t] = x_host_[t % kRows * row + column];
      rho[t] = Tap(mixer, t, channel);
    }
    for (size_t t = 0; t < count; t += 1 + t / 16) {
      const double want = conv::ReferenceOutput(x.data(), t, rho.data(),
                                                std::min(count, rho.size()));
      worst = std::max(worst, std::abs(y[t * row + column] - want));
      largest = std::max(largest, std::abs(want));
    }
  }
  if (!(worst <= 2e-6 * largest)) {
    return InternalError("the mixers' outputs are wrong: off by " +
                         std::to_string(worst / largest) + " of max |y|");
  }
  return worst / largest;
}

StatusOr<double> GpuRun::Time(size_t first, size_t last,
                              const std::function<void(size_t, double)>& at) {
  LCSM_RETURN_IF_ERROR(tiles_->Reset(0, false));
  LCSM_RETURN_IF_ERROR(tiles_->PretendKnown(first));
  const Stopwatch clock;
  LCSM_RETURN_IF_ERROR(Go(first, last, [&](size_t position) {
    if (at) at(position, clock.Seconds());
  }));
  return clock.Seconds();
}

StatusOr<double> GpuRun::TimeDue(size_t known) {
  return TimeRepeated(known, SIZE_MAX, [this] { tiles_->RepeatDue(); });
}

StatusOr<double> GpuRun::TimeRedCells(size_t position) {
  // Each counts a position up.
  return TimeRepeated(position, plan_.problem.length - position,
                      [this] { step_.Run(); });
}

// Of one run of `work`, at most `most` of which are enqueued in a row, each
// time with `known` inputs known.
StatusOr<double> GpuRun::TimeRepeated(size_t known, size_t most,
                                      const std::function<void()>& work) {
  const auto time = [&](size_t runs) -> StatusOr<double> {
    LCSM_RETURN_IF_ERROR(tiles_->PretendKnown(known));
    const Stopwatch clock;
    for (size_t k = 0; k < runs; ++k) work();
    LCSM_RETURN_IF_ERROR(queue_->Wait());
    return clock.Seconds() / static_cast<double>(runs);
  };
  // The first says how many make waiting for them nothing.
  LCSM_ASSIGN_OR_RETURN(const double cold, time(1));
  constexpr double kEnough = 2e-3;
  const auto enough = static_cast<size_t>(kEnough / std::max(cold, 1e-4));
  const size_t runs = std::clamp<size_t>(enough, 1, std::min<size_t>(most, 20));
  std::vector<double> times;
  for (int repeat = 0; repeat < 5; ++repeat) {
    LCSM_ASSIGN_OR_RETURN(const double took, time(runs));
    times.push_back(took);
  }
  return Summarize(times).median;
}

float GpuRun::Tap(size_t mixer, size_t n, size_t channel) const {
  return Noise((n + 31 * mixer) * plan_.problem.channels + channel);
}

Status GpuRun::Make() {
  const Problem& problem = plan_.problem;
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<conv::FilterBank> bank,
                        conv::FilterBank::Create(problem));
  // On all processors: long settings have thousands of millions of taps.
  ThreadPool(0).ParallelFor(
      problem.mixers, 1, [&](size_t begin, size_t end, size_t) {
        constexpr size_t kAtATime = 4096;
        std::vector<float> rows(kAtATime * problem.channels);
        for (size_t m = begin; m < end; ++m) {
          for (size_t n = 0; n < bank->taps(); n += kAtATime) {
            const size_t count = std::min(kAtATime, bank->taps() - n);
            for (size_t i = 0; i < count * problem.channels; ++i) {
              rows[i] = Noise((n + 31 * m) * problem.channels + i);
            }
            bank->SetTaps(m, n, count, rows.data());
          }
        }
      });
  LCSM_ASSIGN_OR_RETURN(prepared_,
                        cuda::PreparedTiles::Create(device_, plan_, *bank));
  LCSM_ASSIGN_OR_RETURN(queue_, device_->NewQueue(false));
  LCSM_ASSIGN_OR_RETURN(tiles_, cuda::Tiles::Create(prepared_, *queue_));
  const size_t row = tiles_->histories() * kLanes;
  x_host_.resize(kRows * row);
  for (size_t i = 0; i < x_host_.size(); ++i) {
    // Lanes that fill a group up stay silent.
    const size_t group =
        i % row / kLanes / problem.batch % GroupsFor(problem.channels);
    const bool there = group * kLanes + i % kLanes < problem.channels;
    x_host_[i] = there ? Noise(~i) : 0.0f;
  }
  LCSM_ASSIGN_OR_RETURN(x_, device_->Bring<float>(x_host_, "inputs"));
  const size_t kept = std::min(kChecked, problem.length);
  LCSM_ASSIGN_OR_RETURN(y_, device_->NewArray<float>(kept * row, "outputs"));
  cuda::RedCellsKernel::Args red;
  red.control = tiles_->control();
  red.x = x_.data();
  red.num_rows = kRows;
  red.y = y_.data();
  red.num_kept = kept;
  red.lines = tiles_->lines();
  red.stride = tiles_->stride();
  red.histories = tiles_->histories();
  red.batch = problem.batch;
  red.length = problem.length;
  red.head = prepared_->head();
  red.folds_tiny = tiles_->folds_tiny() ? 1 : 0;
  const auto step = [this, red] {
    queue_->Launch<cuda::CountKernel>({tiles_->control()});
    queue_->Launch<cuda::RedCellsKernel>(red);
  };
  LCSM_ASSIGN_OR_RETURN(step_, cuda::Replayed::Create(*queue_, step));
  return OkStatus();
}

Status GpuRun::Go(size_t first, size_t last,
                  const std::function<void(size_t)>& done) {
  for (size_t t = first; t < last; ++t) {
    step_.Run();
    tiles_->Advance();
    const bool power = ((t + 1) & t) == 0;
    if (power || (t + 1) % kAhead == 0) {
      LCSM_RETURN_IF_ERROR(queue_->Wait());
      if (power && done) done(t + 1);
    }
  }
  return queue_->Wait();
}

}  // namespace lcsm::bench
