#include "conv/measure_tiles.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "base/thread_pool.h"
#include "conv/filter_bank.h"
#include "conv/tile_op.h"
#include "kernels/fft_tables.h"

namespace lcsm::conv {
namespace {

// A model's worth of groups: with 8 layers of 256 channels a step's tiles pass
// over 128 of them.
constexpr size_t kGroups = 128;
// But no more than this many bytes of taps or spectra: measuring must not
// become the memory peak.
constexpr size_t kBytes = size_t{64} << 20;

// Any numbers do; zeros would be fast for the wrong reason where hardware
// treats them apart.
float Noise(size_t i) {
  return static_cast<float>((i * 2654435761u) % 2048) / 1024.0f - 1.0f;
}

}  // namespace

StatusOr<double> MeasureTile(const Level& level, size_t repeats) {
  const size_t per_group =
      std::max(SpectrumFloats(level), 2 * level.block * kLanes) * sizeof(float);
  Problem problem;
  problem.channels =
      kLanes * std::clamp<size_t>(kBytes / per_group, 1, kGroups);
  problem.length = problem.taps = 2 * level.block;
  const size_t groups = GroupsFor(problem.channels);
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<FilterBank> bank,
                        FilterBank::Create(problem));
  std::vector<float> row(problem.channels);
  for (size_t n = 0; n < problem.taps; ++n) {
    for (size_t c = 0; c < problem.channels; ++c)
      row[c] = Noise(n * problem.channels + c);
    bank->SetTaps(0, n, 1, row.data());
  }
  ThreadPool alone(1);
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<const TileOp> op,
                        MakeTileOp(level, *bank, alone));
  const size_t lines = 2 * level.block + 1;
  LCSM_ASSIGN_OR_RETURN(
      FloatBuffer histories,
      FloatBuffer::Allocate(groups * lines * kLanes, "tiles to be timed"));
  for (size_t i = 0; i < histories.size(); ++i) histories.data()[i] = Noise(i);
  LCSM_ASSIGN_OR_RETURN(
      FloatBuffer floats,
      FloatBuffer::Allocate(ScratchFloats(level), "scratch of timed tiles"));
  std::unique_ptr<LibraryFft> fft;
  if (level.tau == Tau::kFftLibrary) {
    LCSM_ASSIGN_OR_RETURN(fft, LibraryFft::Create(2 * level.block));
  }
  const TileScratch scratch = {floats.data(), fft.get()};

  std::vector<double> times;
  for (size_t repeat = 0; repeat < repeats + 1; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    for (size_t g = 0; g < groups; ++g) {
      float* x = histories.data() + g * lines * kLanes;
      op->Apply(g, x, level.block, x + level.block * kLanes, scratch);
    }
    const std::chrono::duration<double, std::nano> time =
        std::chrono::steady_clock::now() - start;
    if (repeat > 0) times.push_back(time.count());  // The first sweep warms up.
  }
  std::nth_element(times.begin(), times.begin() + times.size() / 2,
                   times.end());
  return times[times.size() / 2] /
         static_cast<double>(groups * kLanes * 2 * level.block);
}

StatusOr<Tau> FastestTau(size_t block) {
  // Direct sums of 256 cost ten times a transform anywhere; from 16 384 on the
  // library is far behind too, and buffers for timing would grow large.
  constexpr size_t kDirectEnd = 256, kLibraryEnd = 16384;
  if (block < SmallestBlock(Tau::kFftFused)) return Tau::kDirectBlocked;
  if (block >= kLibraryEnd) return Tau::kFftFused;
  Tau best = Tau::kFftFused;
  double best_time = 0;
  for (const Tau tau :
       {Tau::kFftFused, Tau::kDirectBlocked, Tau::kFftLibrary}) {
    if (tau == Tau::kDirectBlocked && block >= kDirectEnd) continue;
    LCSM_ASSIGN_OR_RETURN(const double time, MeasureTile({block, tau}, 5));
    if (best_time == 0 || time < best_time) {
      best = tau;
      best_time = time;
    }
  }
  return best;
}

}  // namespace lcsm::conv
