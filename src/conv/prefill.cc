#include "conv/prefill.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "conv/fused_op.h"
#include "kernels/lanes.h"

namespace lcsm::conv {
namespace {

// Taps (distance - 1) U .. (distance + 1) U, zeros before the first and behind
// the last; `room` is [2U][kLanes].
void MakeSlice(const TileKernels& kernels, const FftTables& tables,
               const FilterBank& filters, size_t filter_group, size_t distance,
               float* room, float* spectrum) {
  if (distance == 0) {
    const size_t block = tables.block();
    const float* const taps = filters.FlatGroup(filter_group);
    const size_t count = std::min(block, filters.taps());
    std::fill_n(room, block * kLanes, 0.0f);
    std::copy_n(taps, count * kLanes, room + block * kLanes);
    kernels.fft_spectrum(tables, room, block + count, spectrum);
    return;
  }
  MakeFilterSlice(kernels, tables, filters, filter_group, distance, spectrum);
}

// Nanoseconds of a group's lines, to compare block sizes by: the online tiles'
// costs (tile_costs.cc) with dearer products where spectra leave the caches.
// Not fitted to runs of its own: the convolution is 3 to 6 % of a prefill, and
// a block size beside the best one costs a fraction of that.
double CostNs(size_t inputs, size_t following, size_t block) {
  const PrefillShape shape = {inputs, following, block};
  const double points = static_cast<double>(block);
  const double n = static_cast<double>(shape.input_blocks());
  const double all = static_cast<double>(shape.output_blocks());
  const double transforms = all * points * (14 + 4.2 * std::log2(points));
  const double products =
      (n * (n + 1) / 2 + (all - n) * n) * points * (points * n > 1e5 ? 9 : 5);
  return transforms + products;
}

}  // namespace

size_t PrefillBlock(size_t inputs, size_t following) {
  const size_t outputs = inputs + following;
  size_t block = kSmallestPrefillBlock;
  while (block < kLargestPrefillBlock && kPrefillSlices * block < outputs) {
    block *= kPrefillBlockStep;
  }
  // Of those with few enough slices, the cheapest; costs have one minimum.
  while (block < kLargestPrefillBlock &&
         CostNs(inputs, following, block * kPrefillBlockStep) <
             CostNs(inputs, following, block)) {
    block *= kPrefillBlockStep;
  }
  return block;
}

size_t PrefillSpectra::BytesFor(size_t filter_groups, size_t block,
                                size_t slices) {
  return filter_groups * slices * SliceStride(block) * sizeof(float);
}

StatusOr<PrefillSpectra> PrefillSpectra::Create(const FilterBank& filters,
                                                size_t block, size_t slices,
                                                ThreadPool& pool) {
  PrefillSpectra spectra;
  spectra.block_ = block;
  spectra.slices_ = slices;
  spectra.stride_ = SliceStride(block);
  const size_t groups = filters.mixers() * filters.groups();
  LCSM_ASSIGN_OR_RETURN(spectra.buffer_,
                        FloatBuffer::Allocate(groups * slices * spectra.stride_,
                                              "the filters' spectra"));
  const size_t room = 2 * block * kLanes;
  LCSM_ASSIGN_OR_RETURN(
      FloatBuffer rooms,
      FloatBuffer::Allocate(pool.NumThreads() * room, "a slice of a filter"));
  const FftTables tables(block);
  const TileKernels& kernels = GetTileKernels();
  pool.ParallelFor(groups, 1, [&](size_t begin, size_t end, size_t worker) {
    for (size_t f = begin; f < end; ++f) {
      for (size_t d = 0; d < slices; ++d) {
        MakeSlice(kernels, tables, filters, f, d, rooms.data() + worker * room,
                  spectra.buffer_.data() + (f * slices + d) * spectra.stride_);
      }
    }
  });
  return spectra;
}

PrefillTile::PrefillTile(const PrefillShape& room)
    : room_(room),
      tables_(room.block),
      kernels_(&GetTileKernels()),
      stride_(SliceStride(room.block)) {}

bool PrefillTile::Fits(const PrefillShape& shape, bool remake) const {
  return shape.block == room_.block && kernels_ == &GetTileKernels() &&
         shape.input_blocks() <= room_.input_blocks() &&
         (!remake || (made_ != nullptr && shape.slices() <= room_.slices()));
}

size_t PrefillTile::BytesFor(const PrefillShape& shape, bool remake) {
  const size_t lines = shape.block * kLanes;
  const size_t spectra =
      shape.input_blocks() + 1 + (remake ? shape.slices() : 0);
  return (GetTileKernels().FftScratchFloats(shape.block) +
          (remake ? 3 : 2) * lines + spectra * SliceStride(shape.block)) *
         sizeof(float);
}

StatusOr<PrefillTile> PrefillTile::Create(const PrefillShape& shape,
                                          bool remake) {
  PrefillTile tile(shape);
  LCSM_ASSIGN_OR_RETURN(
      tile.memory_,
      FloatBuffer::Allocate(BytesFor(shape, remake) / sizeof(float),
                            "the spectra of known inputs"));
  const size_t lines = shape.block * kLanes;
  tile.scratch_ = tile.memory_.data();
  tile.input_ = tile.scratch_ + tile.kernels_->FftScratchFloats(shape.block);
  tile.output_ = tile.input_ + lines;
  tile.kept_ = tile.output_ + (remake ? 2 : 1) * lines;
  tile.made_ = tile.kept_ + (shape.input_blocks() + 1) * tile.stride_;
  if (!remake) tile.made_ = nullptr;
  return tile;
}

const float* PrefillTile::MakeSlices(const PrefillShape& shape,
                                     const FilterBank& filters,
                                     size_t filter_group) noexcept {
  for (size_t d = 0; d < shape.slices(); ++d) {
    MakeSlice(*kernels_, tables_, filters, filter_group, d, output_,
              made_ + d * stride_);
  }
  return made_;
}

void PrefillTile::Run(const PrefillShape& shape, const float* slices,
                      float* lines, const float* before,
                      float* after) noexcept {
  const size_t block = shape.block;
  const size_t inputs = shape.inputs, outputs = shape.outputs();
  const size_t blocks = shape.input_blocks();
  for (size_t j = 0; j < shape.output_blocks(); ++j) {
    const size_t first = j * block;
    const size_t count = std::min(block, outputs - first);
    const size_t known = first < inputs ? std::min(block, inputs - first) : 0;
    const float* x = lines + first * kLanes;
    if (known < block) {
      if (known != 0) std::copy_n(x, known * kLanes, input_);
      std::fill_n(input_ + known * kLanes, (block - known) * kLanes, 0.0f);
      x = input_;
    }
    BlockSum sum;
    sum.stride = sum.taps_stride = stride_;
    if (j < blocks) {
      // Blocks of inputs come in pairs, so that what is read serves two sums:
      // an even one leaves the next one's sum over the same blocks in the slot
      // that is to hold the next one's spectrum.
      sum.newest = kept_ + j * stride_;
      sum.taps = slices;
      sum.continues = j % 2 == 1;
      sum.older_terms = sum.continues ? 0 : j;
      if (j % 2 == 0 && j + 1 < blocks) sum.next = sum.newest + stride_;
      sum.older = sum.newest - (j > 0 ? stride_ : 0);
    } else {
      // Nothing new: a block of zeros meets the slice before the first that is
      // wanted.
      sum.taps = slices + (j - blocks) * stride_;
      sum.older_terms = blocks;
      sum.older = kept_ + (blocks - 1) * stride_;
    }
    sum.wrapped = sum.older;
    const float* const earlier =
        before == nullptr ? nullptr : before + first * kLanes;
    if (earlier == nullptr && known == block) {
      // Outputs take the place of their inputs, whose spectrum is kept.
      float* const in_place = lines + first * kLanes;
      kernels_->fft_blocks(tables_, in_place, sum, count, in_place,
                           Accumulators::kFresh, scratch_);
      continue;
    }
    if (earlier != nullptr) std::copy_n(earlier, count * kLanes, output_);
    kernels_->fft_blocks(
        tables_, x, sum, count, output_,
        earlier != nullptr ? Accumulators::kOpen : Accumulators::kFresh,
        scratch_);
    const size_t own = std::min(count, known);
    std::copy_n(output_, own * kLanes, lines + first * kLanes);
    if (own < count) {
      std::copy_n(output_ + own * kLanes, (count - own) * kLanes,
                  after + (first + own - inputs) * kLanes);
    }
  }
}

}  // namespace lcsm::conv
