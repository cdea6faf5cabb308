// Levels computed by our own transform: single blocks, sums over many blocks,
// and the latter in pieces.
#include "conv/fused_op.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "kernels/fft_parts.h"
#include "kernels/tile_kernels.h"

namespace lcsm::conv {
namespace {

// Points of one piece of a deferred tile. On a 3 GHz Zen 3 with AVX2 a piece
// takes some 5 microseconds: half a percent of a decode step of 8 layers of
// 256, and a hundred times what asking for the next piece costs.
constexpr size_t kPieceGrain = 256;
// Where sums have more products than this, a quarter of that.
constexpr size_t kFewSlices = 8;
size_t PieceGrain(const Slices& slices) {
  return slices.count <= kFewSlices ? kPieceGrain : kPieceGrain / 4;
}

// All slices of all filter groups, [filter group][slice][SliceStride].
StatusOr<FloatBuffer> MakeSlices(const TileKernels& kernels,
                                 const FftTables& tables, const Slices& slices,
                                 const FilterBank& filters, ThreadPool& pool) {
  const size_t filter_groups = filters.mixers() * filters.groups();
  const size_t stride = SliceStride(tables.block());
  LCSM_ASSIGN_OR_RETURN(
      FloatBuffer buffer,
      FloatBuffer::Allocate(filter_groups * slices.count * stride,
                            "the filters' spectra"));
  pool.ParallelFor(filter_groups, 1, [&](size_t begin, size_t end, size_t) {
    for (size_t f = begin; f < end; ++f) {
      for (size_t s = 0; s < slices.count; ++s) {
        MakeFilterSlice(kernels, tables, filters, f, slices.first + s,
                        buffer.data() + (f * slices.count + s) * stride);
      }
    }
  });
  return buffer;
}

// One input block, one slice: binary tilings.
class SingleOp final : public LevelOp {
 public:
  SingleOp(size_t block, FloatBuffer spectra)
      : tables_(block),
        kernels_(GetTileKernels()),
        spectra_(std::move(spectra)) {}

  void Apply(const FilterBank&, const LevelJob& job,
             LevelScratch& scratch) const noexcept override {
    kernels_.fft_tile(
        tables_, job.newest,
        spectra_.data() + job.filter_group * SliceStride(tables_.block()),
        job.tile.outputs, job.out, job.accumulators, scratch.floats);
  }

 private:
  const FftTables tables_;
  // The spectra's order belongs to the target they were made on, so the op
  // keeps that target.
  const TileKernels& kernels_;
  const FloatBuffer spectra_;
};

// The same with the slice made when it is wanted, from taps that the caller has
// kept or evaluated.
class RemadeOp final : public LevelOp {
 public:
  explicit RemadeOp(size_t block)
      : tables_(block), kernels_(GetTileKernels()) {}

  void Apply(const FilterBank& filters, const LevelJob& job,
             LevelScratch& scratch) const noexcept override {
    float* const spectrum =
        scratch.floats + kernels_.FftScratchFloats(tables_.block());
    if (scratch.remade_for != job.filter_group) {
      MakeFilterSlice(kernels_, tables_, filters, job.filter_group, 1,
                      spectrum);
      scratch.remade_for = job.filter_group;
    }
    kernels_.fft_tile(tables_, job.newest, spectrum, job.tile.outputs, job.out,
                      job.accumulators, scratch.floats);
  }

 private:
  const FftTables tables_;
  const TileKernels& kernels_;
};

// FutureFill's epochs: one transform over the whole past, whatever its length.
class PastOp final : public LevelOp {
 public:
  static StatusOr<std::unique_ptr<const LevelOp>> Create(
      const Problem& problem, const Level& level, const FilterBank& filters,
      ThreadPool& pool) {
    std::unique_ptr<PastOp> op(new PastOp(level.block));
    for (size_t block = level.block; block < 2 * LastPast(problem, level);
         block *= 2) {
      op->tables_.emplace_back(block);
      LCSM_ASSIGN_OR_RETURN(
          FloatBuffer spectra,
          MakeSlices(op->kernels_, op->tables_.back(), {1, 1}, filters, pool));
      op->spectra_.push_back(std::move(spectra));
    }
    return std::unique_ptr<const LevelOp>(std::move(op));
  }

  // Inputs of the longest past.
  static size_t LastPast(const Problem& problem, const Level& level) {
    return (problem.length - 1) / level.block * level.block;
  }

  void Apply(const FilterBank&, const LevelJob& job,
             LevelScratch& scratch) const noexcept override {
    const size_t past = (job.tile.newest + 1) * block_;
    size_t k = 0;
    while (tables_[k].block() < past) ++k;
    const FftTables& tables = tables_[k];
    const size_t block = tables.block();
    float* const padded = scratch.floats + kernels_.FftScratchFloats(block);
    const float* const first = job.newest - job.tile.newest * block_ * kLanes;
    std::fill_n(padded, (block - past) * kLanes, 0.0f);
    std::copy_n(first, past * kLanes, padded + (block - past) * kLanes);
    kernels_.fft_tile(
        tables, padded,
        spectra_[k].data() + job.filter_group * SliceStride(block),
        job.tile.outputs, job.out, Accumulators::kOpen, scratch.floats);
  }

 private:
  explicit PastOp(size_t block) : block_(block), kernels_(GetTileKernels()) {}

  const size_t block_;
  const TileKernels& kernels_;
  std::vector<FftTables> tables_;
  std::vector<FloatBuffer> spectra_;
};

// Many input blocks, their spectra kept.
class BlocksOp final : public SlicedOp {
 public:
  BlocksOp(const Problem& problem, const Level& level, FloatBuffer spectra)
      : tables_(level.block),
        kernels_(GetTileKernels()),
        slices_(SlicesOf(problem, level)),
        slots_(SlotsOf(problem, level)),
        radix_(level.radix),
        distant_(level.serves == Serves::kDistant),
        parts_(distant_ ? MakeFftParts(tables_, PieceGrain(slices_))
                        : std::vector<FftPart>()),
        spectra_(std::move(spectra)) {
    for (const FftPart& part : parts_) {
      const FftPartWork work = WorkOf(tables_, part);
      before_.push_back({before_.back().own + work.own,
                         before_.back().product + work.product});
    }
  }

  void Apply(const FilterBank&, const LevelJob& job,
             LevelScratch& scratch) const noexcept override {
    kernels_.fft_blocks(tables_, job.newest, Sum(job), job.tile.outputs,
                        job.out, job.accumulators, scratch.floats);
  }

  size_t NumPieces() const override {
    return kLanes / kernels_.lanes * parts_.size();
  }
  uint64_t Work(size_t terms) const override {
    return kLanes / kernels_.lanes * Before(parts_.size(), terms);
  }
  size_t PiecesIn(uint64_t work, size_t terms) const override {
    const uint64_t pass = Before(parts_.size(), terms);  // Over a register.
    const uint64_t passes = work / pass;
    if (passes >= kLanes / kernels_.lanes) return NumPieces();
    size_t few = 0, many = parts_.size();  // few fit, many do not.
    while (many - few > 1) {
      const size_t middle = (few + many) / 2;
      (Before(middle, terms) <= work % pass ? few : many) = middle;
    }
    return passes * parts_.size() + few;
  }
  void Piece(size_t piece, const LevelJob& job,
             float* scratch) const noexcept override {
    kernels_.fft_blocks_part(tables_, parts_[piece % parts_.size()],
                             piece / parts_.size() * kernels_.lanes, job.newest,
                             Sum(job), job.tile.outputs, job.out, scratch);
  }

 private:
  // Work of the first `parts` parts.
  uint64_t Before(size_t parts, size_t terms) const {
    return before_[parts].own + terms * before_[parts].product;
  }

  // Which spectra meet which slices. Siblings take their tiles in pairs: the
  // tile for an even sibling leaves the next one's sum over the same blocks in
  // the slot that the next block will get, so that all spectra and slices are
  // read once for two tiles. (Tried: bigger squares. They save no bytes up to
  // radix 8, since each sum that waits is written and read once more.)
  BlockSum Sum(const LevelJob& job) const noexcept {
    const size_t stride = SliceStride(tables_.block());
    const size_t newest = job.tile.newest;
    const size_t child =
        radix_ == Level::kToTheEnd || distant_ ? newest : newest % radix_;
    const size_t slot = child % slots_;
    BlockSum sum;
    sum.stride = sum.taps_stride = stride;
    sum.newest = job.kept + slot * stride;
    sum.taps = spectra_.data() + job.filter_group * slices_.count * stride;
    size_t older = job.tile.terms - 1;
    if (!distant_) {
      const size_t target = child + 1;  // Among the siblings.
      const size_t last = slices_.count;
      sum.continues = target % 2 == 1 && target >= 3 && target <= last;
      if (sum.continues) older = 0;
      if (target % 2 == 0 && target + 1 <= last) {
        sum.next = job.kept + (slot + 1) * stride;
      }
    }
    sum.older_terms = std::min(older, slot);
    sum.wrapped_terms = older - sum.older_terms;
    sum.older = sum.newest - (slot > 0 ? stride : 0);
    sum.wrapped = job.kept + (slots_ - 1) * stride;
    return sum;
  }

  const FftTables tables_;
  const TileKernels& kernels_;
  const Slices slices_;
  const size_t slots_;
  const size_t radix_;
  const bool distant_;
  const std::vector<FftPart> parts_;
  std::vector<FftPartWork> before_ = {{}};  // Work of the parts before each.
  const FloatBuffer spectra_;
};

}  // namespace

void MakeFilterSlice(const TileKernels& kernels, const FftTables& tables,
                     const FilterBank& filters, size_t filter_group,
                     size_t distance, float* spectrum) {
  const size_t first =
      std::min(filters.taps(), (distance - 1) * tables.block());
  kernels.fft_spectrum(tables, filters.FlatGroup(filter_group) + first * kLanes,
                       filters.taps() - first, spectrum);
}

size_t SliceStride(size_t block) { return 2 * block * kLanes + 3 * kLanes; }

size_t FusedScratchFloats(const Problem& problem, const Level& level) {
  const TileKernels& kernels = GetTileKernels();
  if (level.tau == Tau::kFftPast) {
    const size_t block =
        std::bit_ceil(std::max(PastOp::LastPast(problem, level), level.block));
    return kernels.FftScratchFloats(block) + block * kLanes;
  }
  return kernels.FftScratchFloats(level.block) +
         (level.spectra != Spectra::kKept ? SliceStride(level.block) : 0);
}

size_t FusedSpectraFloats(const Problem& problem, const Level& level) {
  if (level.spectra != Spectra::kKept) return 0;
  if (level.tau == Tau::kFftPast) {
    size_t floats = 0;
    for (size_t block = level.block;
         block < 2 * PastOp::LastPast(problem, level); block *= 2) {
      floats += SliceStride(block);
    }
    return floats;
  }
  return SlicesOf(problem, level).count * SliceStride(level.block);
}

StatusOr<std::unique_ptr<const LevelOp>> MakeFusedOp(const Problem& problem,
                                                     const Level& level,
                                                     const FilterBank& filters,
                                                     ThreadPool& pool) {
  if (level.tau == Tau::kFftPast) {
    return PastOp::Create(problem, level, filters, pool);
  }
  if (level.spectra != Spectra::kKept) {
    return std::unique_ptr<const LevelOp>(new RemadeOp(level.block));
  }
  const FftTables tables(level.block);
  LCSM_ASSIGN_OR_RETURN(FloatBuffer spectra,
                        MakeSlices(GetTileKernels(), tables,
                                   SlicesOf(problem, level), filters, pool));
  if (SlotsOf(problem, level) == 0) {
    return std::unique_ptr<const LevelOp>(
        new SingleOp(level.block, std::move(spectra)));
  }
  return std::unique_ptr<const LevelOp>(
      new BlocksOp(problem, level, std::move(spectra)));
}

}  // namespace lcsm::conv
