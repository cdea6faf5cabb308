#include "cuda/fft_launch.h"

#include <algorithm>
#include <vector>

#include "kernels/fft_tables.h"

namespace lcsm::cuda {
namespace {

// Elements of a block of threads: 64 KiB, three blocks on a multiprocessor of
// Hopper's. To be measured.
constexpr int kLogElements = 13;
constexpr int kLogFewestColumns = 2, kLogMostColumns = 8;

// Histories whose scratch leaves half of L2 to spectra.
size_t HistoriesAtATime(const DeviceInfo& info, int log_u, size_t histories) {
  const size_t bytes = (size_t{kLanes} << log_u) * sizeof(Complex);
  return std::clamp<size_t>(info.l2_bytes / 2 / bytes, 1, histories);
}

// Shared memory of a block of threads.
size_t BlockBytes(int log_length, int log_columns) {
  const size_t rows = size_t{1} << log_length;
  return ((rows + rows / 16) << log_columns) * sizeof(Complex);
}

int FloorLog2(size_t n) {
  int log = 0;
  while (n > 1) {
    n /= 2;
    ++log;
  }
  return log;
}

int LogColumns(const DeviceInfo& info, const FftWork& work, int log_length) {
  const size_t columns = work.histories * kLanes;
  const size_t pieces = columns << (work.passes.log_u - log_length);
  // Two blocks for each multiprocessor come before fuller blocks.
  const size_t blocks = 2 * static_cast<size_t>(info.multiprocessors);
  const int by_blocks = FloorLog2(std::max<size_t>(1, pieces / blocks));
  // No more than there are: a short sub-block of one history's sixteen columns
  // would leave threads without work.
  int log = std::clamp(
      std::min({kLogElements - log_length, by_blocks, FloorLog2(columns)}),
      kLogFewestColumns, kLogMostColumns);
  // LogFit saw to it that the fewest fit.
  while (log > kLogFewestColumns &&
         BlockBytes(log_length, log) > info.shared_bytes) {
    --log;
  }
  return log;
}

}  // namespace

Status FftRoots::Add(Device& device, int log_u) {
  if (roots_.count(log_u) != 0) return OkStatus();
  const FftTables tables(size_t{1} << log_u);
  std::vector<float> all;
  for (size_t depth = 0; depth < tables.depths(); ++depth) {
    const size_t floats = 6 * BlocksAt(log_u, static_cast<int>(depth));
    const float* const roots = tables.Roots(depth);
    all.insert(all.end(), roots, roots + floats);
  }
  LCSM_ASSIGN_OR_RETURN(
      Array<float> array,
      device.Bring<float>(all, "the roots of unity of a transform"));
  roots_.emplace(log_u, std::move(array));
  return OkStatus();
}

int LogFit(const DeviceInfo& info) {
  int log = 0;
  while (log < 24) {
    if (BlockBytes(log + 1, kLogFewestColumns) > info.shared_bytes) break;
    ++log;
  }
  return log;
}

size_t FftScratchSize(const DeviceInfo& info, int log_u, size_t histories) {
  if (log_u <= LogFit(info)) return 0;
  return HistoriesAtATime(info, log_u, histories) * (size_t{kLanes} << log_u);
}

void EnqueueFft(Queue& queue, const DeviceInfo& info, FftWork work,
                Complex* scratch) noexcept {
  const int first = PassesBefore(work.passes, LogFit(info));
  const int log_length = work.passes.pass[first].log_n;
  const uint64_t all = work.histories, begin = work.first_history;
  const FftSource source = work.source;
  const FftSink sink = work.sink;
  const uint64_t step =
      first == 0 ? all : HistoriesAtATime(info, work.passes.log_u, all);
  work.scratch = scratch;
  for (uint64_t done = 0; done < all; done += step) {
    work.first_history = begin + done;
    work.histories = std::min(step, all - done);
    for (int pass = 0; pass < first; ++pass) {
      work.first_pass = pass;
      work.source = pass == 0 ? source : FftSource::kScratch;
      work.sink = FftSink::kScratch;
      queue.Launch<FftPassKernel>({work, 1});
    }
    work.first_pass = first;
    work.log_columns = LogColumns(info, work, log_length);
    work.source = first == 0 ? source : FftSource::kScratch;
    work.sink =
        first == 0 || sink == FftSink::kSpectrum ? sink : FftSink::kScratch;
    queue.Launch<FftTileKernel>(work);
    if (sink == FftSink::kSpectrum) continue;
    for (int pass = first - 1; pass >= 0; --pass) {
      work.first_pass = pass;
      work.source = FftSource::kScratch;
      work.sink = pass == 0 ? sink : FftSink::kScratch;
      queue.Launch<FftPassKernel>({work, 0});
    }
  }
}

}  // namespace lcsm::cuda
