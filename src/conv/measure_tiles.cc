#include "conv/measure_tiles.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <vector>

#include "base/thread_pool.h"
#include "conv/filter_bank.h"
#include "conv/layout.h"
#include "conv/level_op.h"
#include "kernels/fft_tables.h"

namespace lcsm::conv {
namespace {

// Blocks of a tile with many: sums of up to seven products, where the eighth
// would be the next level's.
constexpr size_t kMany = 8;

// Direct sums of more cost ten times a transform anywhere.
constexpr size_t kMostDirect = 256;

// Any numbers do; zeros would be fast for the wrong reason where hardware
// treats them apart.
float Noise(size_t i) {
  return static_cast<float>((i * 2654435761u) % 2048) / 1024.0f - 1.0f;
}

double Median(std::vector<double>& values) {
  const auto middle =
      values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

StatusOr<TileCost> MeasureTile(Tau tau, size_t block, bool many,
                               const TileTiming& timing) {
  Problem problem;
  problem.length = problem.taps = (many ? kMany : 2) * block;
  const Level level = {block, Level::kToTheEnd, tau};
  const size_t lines = problem.length;
  const size_t kept = KeptFloats(problem, level);
  const size_t per_group =
      (SpectraFloats(problem, level) + kept + 2 * HistoryStride(lines)) *
      sizeof(float);
  const size_t groups = std::clamp<size_t>(timing.max_bytes / per_group, 1,
                                           std::max<size_t>(timing.groups, 1));
  problem.channels = groups * kLanes;
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<FilterBank> bank,
                        FilterBank::Create(problem));
  std::vector<float> row(problem.channels);
  for (size_t n = 0; n < problem.taps; ++n) {
    for (size_t c = 0; c < problem.channels; ++c)
      row[c] = Noise(n * problem.channels + c);
    bank->SetTaps(0, n, 1, row.data());
  }
  ThreadPool alone(1);
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<const LevelOp> op,
                        MakeLevelOp(problem, level, *bank, alone));
  LCSM_ASSIGN_OR_RETURN(FloatBuffer histories,
                        FloatBuffer::Allocate(groups * HistoryStride(lines),
                                              "tiles to be timed"));
  LCSM_ASSIGN_OR_RETURN(
      FloatBuffer spectra,
      FloatBuffer::Allocate(groups * kept, "spectra of tiles to be timed"));
  LCSM_ASSIGN_OR_RETURN(FloatBuffer floats,
                        FloatBuffer::Allocate(ScratchFloats(problem, level),
                                              "scratch of timed tiles"));
  std::unique_ptr<LibraryFft> fft;
  if (tau == Tau::kFftLibrary) {
    LCSM_ASSIGN_OR_RETURN(fft, LibraryFft::Create(2 * block));
  }
  LevelScratch scratch = {floats.data(), fft.get()};

  const size_t tiles = many ? kMany - 1 : 1;
  std::vector<std::vector<double>> times(tiles);
  for (size_t repeat = 0; repeat < timing.repeats + 1; ++repeat) {
    // Fresh inputs: sums that pile up over repeats would end as infinities.
    for (size_t i = 0; i < histories.size(); ++i)
      histories.data()[i] = Noise(i);
    for (size_t t = 0; t < tiles; ++t) {
      LevelJob job;
      job.tile = TileAt(problem, level, (t + 1) * block);
      const auto start = std::chrono::steady_clock::now();
      for (size_t g = 0; g < groups; ++g) {
        float* const lines_of = histories.data() + g * HistoryStride(lines);
        job.filter_group = g;
        job.newest = lines_of + t * block * kLanes;
        job.out = lines_of + (t + 1) * block * kLanes;
        job.kept = spectra.data() + g * kept;
        op->Apply(*bank, job, scratch);
      }
      const std::chrono::duration<double, std::nano> time =
          std::chrono::steady_clock::now() - start;
      // The first sweep warms up.
      if (repeat > 0)
        times[t].push_back(time.count() / static_cast<double>(groups));
    }
  }
  TileCost cost;
  cost.first_ns = Median(times[0]);
  double more = 0, blocks = 0;
  for (size_t t = 1; t < tiles; ++t) {
    more += Median(times[t]) - cost.first_ns;
    blocks += static_cast<double>(t);
  }
  if (blocks > 0) cost.more_ns = std::max(0.0, more / blocks);
  const bool direct = tau == Tau::kDirect || tau == Tau::kDirectBlocked;
  // A further block of a direct sum is as many products again.
  if (direct && !many) cost.more_ns = cost.first_ns;
  return cost;
}

StatusOr<TileCosts> MeasureCosts(const Problem& problem,
                                 const std::function<bool(double)>& progress) {
  struct Kind {
    Tau tau;
    size_t block;
    bool many;
  };
  std::vector<Kind> kinds;
  // Levels above are alike but for their memory, which is the same memory.
  constexpr size_t kMostMeasured = size_t{1} << 17;
  for (size_t block = 1;
       block <= kMostMeasured && block < std::max<size_t>(problem.length, 2);
       block *= 2) {
    if (block <= kMostDirect) {
      kinds.push_back({Tau::kDirectBlocked, block, false});
    }
    if (block < FftTables::kMinBlock) continue;
    kinds.push_back({Tau::kFftFused, block, false});
    if (block <= kMostMeasured / kMany) {
      kinds.push_back({Tau::kFftFused, block, true});
    }
  }
  TileTiming timing;
  timing.groups = HistoryGroups(problem);
  TileCosts costs;
  for (size_t k = 0; k < kinds.size(); ++k) {
    LCSM_ASSIGN_OR_RETURN(
        const TileCost cost,
        MeasureTile(kinds[k].tau, kinds[k].block, kinds[k].many, timing));
    costs.Set(kinds[k].tau, kinds[k].block, kinds[k].many, cost);
    if (progress && !progress(static_cast<double>(k + 1) /
                              static_cast<double>(kinds.size()))) {
      return Cancelled("stopped while measuring tiles");
    }
  }
  return costs;
}

}  // namespace lcsm::conv
