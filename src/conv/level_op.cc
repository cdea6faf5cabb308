#include "conv/level_op.h"

#include <algorithm>

#include "conv/fused_op.h"
#include "kernels/fft_tables.h"
#include "kernels/tile_kernels.h"

namespace lcsm::conv {
namespace {

class DirectOp final : public LevelOp {
 public:
  explicit DirectOp(const Level& level)
      : block_(level.block),
        kernel_(level.tau == Tau::kDirectBlocked
                    ? GetTileKernels().direct_blocked
                    : GetTileKernels().direct) {}

  void Apply(const FilterBank& filters, const LevelJob& job,
             LevelScratch&) const noexcept override {
    const size_t older = (job.tile.terms - 1) * block_;
    kernel_(job.newest - older * kLanes, filters.FlatGroup(job.filter_group),
            filters.taps(), older + block_, job.tile.outputs, job.out);
  }

 private:
  const size_t block_;
  decltype(TileKernels::direct) const kernel_;
};

// Real transforms of length 2U, a channel at a time, each contiguous. Scratch:
// 16 channels' time sequences in a row, then one spectrum. All 16 are brought
// into contiguous order by one pass over the tile's lines, so that each line is
// read once.
class LibraryFftOp final : public LevelOp {
 public:
  static StatusOr<std::unique_ptr<const LevelOp>> Create(
      size_t block, const FilterBank& filters, ThreadPool& pool) {
    std::unique_ptr<LibraryFftOp> op(new LibraryFftOp(block));
    const size_t filter_groups = filters.mixers() * filters.groups();
    LCSM_ASSIGN_OR_RETURN(
        op->spectra_, FloatBuffer::Allocate(
                          filter_groups * kLanes * op->SpectrumStride(block),
                          "the filters' spectra"));
    LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<LibraryFft> fft,
                          LibraryFft::Create(2 * block));
    LCSM_ASSIGN_OR_RETURN(
        FloatBuffer time,
        FloatBuffer::Allocate(2 * block, "transform scratch"));
    // On the calling thread: transforms own scratch, and this is not a path one
    // waits for twice.
    const float scale = 1.0f / static_cast<float>(2 * block);
    for (size_t f = 0; f < filter_groups; ++f) {
      const float* taps = filters.FlatGroup(f);
      const size_t count = std::min(filters.taps(), 2 * block);
      for (size_t c = 0; c < kLanes; ++c) {
        time.Zero();
        for (size_t n = 0; n < count; ++n)
          time.data()[n] = scale * taps[n * kLanes + c];
        fft->Forward(
            time.data(),
            op->spectra_.data() + (f * kLanes + c) * op->SpectrumStride(block));
      }
    }
    return std::unique_ptr<const LevelOp>(std::move(op));
  }

  static size_t SpectrumStride(size_t block) {
    return (2 * block + 2 + kLanes - 1) / kLanes *
           kLanes;  // Whole cache lines.
  }
  static size_t ScratchFor(size_t block) {
    return kLanes * 2 * block + SpectrumStride(block);
  }

  void Apply(const FilterBank&, const LevelJob& job,
             LevelScratch& scratch) const noexcept override {
    const size_t length = 2 * block_;
    const float* const x = job.newest;
    float* const acc = job.out;
    float* const times = scratch.floats;
    float* const spectrum = scratch.floats + kLanes * length;
    for (size_t n = 0; n < block_; ++n) {
      for (size_t c = 0; c < kLanes; ++c)
        times[c * length + n] = x[n * kLanes + c];
    }
    for (size_t c = 0; c < kLanes; ++c) {
      float* const time = times + c * length;
      std::fill_n(time + block_, block_, 0.0f);
      scratch.fft->Forward(time, spectrum);
      const float* h = spectra_.data() +
                       (job.filter_group * kLanes + c) * SpectrumStride(block_);
      for (size_t k = 0; k < length + 2; k += 2) {
        const float re = spectrum[k] * h[k] - spectrum[k + 1] * h[k + 1];
        spectrum[k + 1] = spectrum[k] * h[k + 1] + spectrum[k + 1] * h[k];
        spectrum[k] = re;
      }
      scratch.fft->Inverse(spectrum, time);
    }
    for (size_t n = 0; n < job.tile.outputs; ++n) {
      for (size_t c = 0; c < kLanes; ++c)
        acc[n * kLanes + c] += times[c * length + block_ + n];
    }
  }

 private:
  explicit LibraryFftOp(size_t block) : block_(block) {}

  const size_t block_;
  FloatBuffer spectra_;  // [filter group][channel][SpectrumStride]
};

}  // namespace

size_t SmallestBlock(Tau tau) {
  // The library starts there too: KissFFT's transform of length 2 allocates at
  // every call, and below 8 the channels' sequences would not be aligned.
  return tau == Tau::kDirect || tau == Tau::kDirectBlocked
             ? 1
             : FftTables::kMinBlock;
}

size_t SpectraFloats(const Problem& problem, const Level& level) {
  switch (level.tau) {
    case Tau::kFftFused:
    case Tau::kFftPast:
      return FusedSpectraFloats(problem, level);
    case Tau::kFftLibrary:
      return kLanes * LibraryFftOp::SpectrumStride(level.block);
    case Tau::kDirect:
    case Tau::kDirectBlocked:
    case Tau::kHybrid:
      break;
  }
  return 0;
}

size_t KeptFloats(const Problem& problem, const Level& level) {
  const size_t outputs =
      level.serves == Serves::kDistant ? 2 * level.block * kLanes : 0;
  return SlotsOf(problem, level) * SliceStride(level.block) + outputs;
}

size_t OutputOffset(const Problem& problem, const Level& level, size_t target) {
  return SlotsOf(problem, level) * SliceStride(level.block) +
         target % 2 * level.block * kLanes;
}

size_t ScratchFloats(const Problem& problem, const Level& level) {
  switch (level.tau) {
    case Tau::kFftFused:
    case Tau::kFftPast:
      return FusedScratchFloats(problem, level);
    case Tau::kFftLibrary:
      return LibraryFftOp::ScratchFor(level.block);
    case Tau::kDirect:
    case Tau::kDirectBlocked:
    case Tau::kHybrid:
      break;
  }
  return 0;
}

size_t SharedTableBytes(const Level& level) {
  // 6 floats for each of U/4 + U/16 + ... blocks.
  return level.tau == Tau::kFftFused ? 2 * level.block * sizeof(float) : 0;
}

size_t ThreadTableBytes(const Level& level) {
  return level.tau == Tau::kFftLibrary ? LibraryFft::BytesFor(2 * level.block)
                                       : 0;
}

StatusOr<std::unique_ptr<const LevelOp>> MakeLevelOp(const Problem& problem,
                                                     const Level& level,
                                                     const FilterBank& filters,
                                                     ThreadPool& pool) {
  switch (level.tau) {
    case Tau::kDirect:
    case Tau::kDirectBlocked:
      return std::unique_ptr<const LevelOp>(new DirectOp(level));
    case Tau::kFftFused:
    case Tau::kFftPast:
      return MakeFusedOp(problem, level, filters, pool);
    case Tau::kFftLibrary:
      return LibraryFftOp::Create(level.block, filters, pool);
    case Tau::kHybrid:
      break;
  }
  return InternalError("a level of a plan must name one actual tau");
}

}  // namespace lcsm::conv
