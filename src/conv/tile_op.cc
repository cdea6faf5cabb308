#include "conv/tile_op.h"

#include <algorithm>
#include <cassert>
#include <vector>

#include "kernels/tile_kernels.h"

namespace lcsm::conv {
namespace {

class DirectOp final : public TileOp {
 public:
  DirectOp(size_t block, bool blocked, const FilterBank& filters)
      : block_(block),
        filters_(filters),
        kernel_(blocked ? GetTileKernels().direct_blocked
                        : GetTileKernels().direct) {}

  void Apply(size_t filter_group, const float* x, size_t n_out, float* acc,
             const TileScratch&) const noexcept override {
    kernel_(x, filters_.FlatGroup(filter_group), filters_.taps(), block_, n_out,
            acc);
  }

 private:
  const size_t block_;
  const FilterBank& filters_;
  decltype(TileKernels::direct) const kernel_;
};

class FusedFftOp final : public TileOp {
 public:
  static StatusOr<std::unique_ptr<const TileOp>> Create(
      size_t block, const FilterBank& filters, ThreadPool& pool) {
    std::unique_ptr<FusedFftOp> op(new FusedFftOp(block));
    const size_t filter_groups = filters.mixers() * filters.groups();
    const size_t stride = op->tables_.SpectrumFloats();
    LCSM_ASSIGN_OR_RETURN(
        op->spectra_,
        FloatBuffer::Allocate(filter_groups * stride, "the filters' spectra"));
    pool.ParallelFor(filter_groups, 1, [&](size_t begin, size_t end, size_t) {
      for (size_t f = begin; f < end; ++f) {
        op->kernels_.fft_spectrum(op->tables_, filters.FlatGroup(f),
                                  filters.taps(),
                                  op->spectra_.data() + f * stride);
      }
    });
    return std::unique_ptr<const TileOp>(std::move(op));
  }

  void Apply(size_t filter_group, const float* x, size_t n_out, float* acc,
             const TileScratch& scratch) const noexcept override {
    kernels_.fft_tile(tables_, x,
                      spectra_.data() + filter_group * tables_.SpectrumFloats(),
                      n_out, acc, scratch.floats);
  }

 private:
  explicit FusedFftOp(size_t block)
      : tables_(block), kernels_(GetTileKernels()) {}

  const FftTables tables_;
  // The spectra's order belongs to the target they were made on, so the op
  // keeps that target.
  const TileKernels& kernels_;
  FloatBuffer spectra_;
};

// Real transforms of length 2U, a channel at a time, each contiguous. Scratch:
// 16 channels' time sequences in a row, then one spectrum. All 16 are brought
// into contiguous order by one pass over the tile's lines, so that each line is
// read once.
class LibraryFftOp final : public TileOp {
 public:
  static StatusOr<std::unique_ptr<const TileOp>> Create(
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
    return std::unique_ptr<const TileOp>(std::move(op));
  }

  static size_t SpectrumStride(size_t block) {
    return (2 * block + 2 + kLanes - 1) / kLanes *
           kLanes;  // Whole cache lines.
  }
  static size_t ScratchFor(size_t block) {
    return kLanes * 2 * block + SpectrumStride(block);
  }

  void Apply(size_t filter_group, const float* x, size_t n_out, float* acc,
             const TileScratch& scratch) const noexcept override {
    const size_t length = 2 * block_;
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
                       (filter_group * kLanes + c) * SpectrumStride(block_);
      for (size_t k = 0; k < length + 2; k += 2) {
        const float re = spectrum[k] * h[k] - spectrum[k + 1] * h[k + 1];
        spectrum[k + 1] = spectrum[k] * h[k + 1] + spectrum[k + 1] * h[k];
        spectrum[k] = re;
      }
      scratch.fft->Inverse(spectrum, time);
    }
    for (size_t n = 0; n < n_out; ++n) {
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
  return tau == Tau::kFftFused || tau == Tau::kFftLibrary ? FftTables::kMinBlock
                                                          : 1;
}

size_t SpectrumFloats(const Level& level) {
  if (level.tau == Tau::kFftFused) return 2 * level.block * kLanes;
  if (level.tau == Tau::kFftLibrary)
    return kLanes * LibraryFftOp::SpectrumStride(level.block);
  return 0;
}

size_t ScratchFloats(const Level& level) {
  if (level.tau == Tau::kFftFused)
    return GetTileKernels().FftScratchFloats(level.block);
  if (level.tau == Tau::kFftLibrary)
    return LibraryFftOp::ScratchFor(level.block);
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

StatusOr<std::unique_ptr<const TileOp>> MakeTileOp(const Level& level,
                                                   const FilterBank& filters,
                                                   ThreadPool& pool) {
  switch (level.tau) {
    case Tau::kDirect:
    case Tau::kDirectBlocked:
      return std::unique_ptr<const TileOp>(
          new DirectOp(level.block, level.tau == Tau::kDirectBlocked, filters));
    case Tau::kFftFused:
      return FusedFftOp::Create(level.block, filters, pool);
    case Tau::kFftLibrary:
      return LibraryFftOp::Create(level.block, filters, pool);
    case Tau::kHybrid:
    case Tau::kMeasured:
      break;
  }
  return InternalError(
      "a level of a plan must name one of the four ways to compute a tile");
}

}  // namespace lcsm::conv
