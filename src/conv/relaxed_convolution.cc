#include "conv/relaxed_convolution.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <span>

#include "conv/chunks.h"
#include "conv/fused_op.h"
#include "conv/layout.h"
#include "conv/tiny_levels.h"

namespace lcsm::conv {

StatusOr<std::unique_ptr<RelaxedConvolution>> RelaxedConvolution::Create(
    const Plan& plan, ThreadPool& pool) {
  std::unique_ptr<RelaxedConvolution> conv(new RelaxedConvolution(plan));
  const Problem& problem = plan.problem;
  conv->pool_ = &pool;
  conv->kernels_ = &GetTileKernels();
  conv->groups_ = GroupsFor(problem.channels);
  conv->stride_ = HistoryStride(problem.length);
  conv->folds_tiny_ = FoldsTiny(plan.levels);
  const size_t all = HistoryGroups(problem);
  for (const int side : {kInput, kFilter}) {
    Side& one = conv->sides_[side];
    LCSM_ASSIGN_OR_RETURN(
        one.lines,
        FloatBuffer::Allocate(all * conv->stride_,
                              side == kInput ? "the inputs" : "the filters"));
    LCSM_ASSIGN_OR_RETURN(one.head,
                          FloatBuffer::Allocate(all * kHeadTaps * kLanes,
                                                "the first inputs and taps"));
    conv->lines_[side] = one.lines.data();
  }
  conv->first_table_ = SmallestTransform(plan);
  if (conv->first_table_ != 0) {
    for (size_t n = conv->first_table_; n < problem.length; n *= 2) {
      conv->tables_.emplace_back(n);
    }
  }
  for (const Level& level : plan.levels) {
    OneLevel one;
    one.level = level;
    one.terms = RelaxedTerms(problem, level);
    LCSM_ASSIGN_OR_RETURN(
        one.spectra,
        FloatBuffer::Allocate(all * RelaxedSpectraFloats(problem, level),
                              "spectra of inputs and filters"));
    conv->levels_.push_back(std::move(one));
  }
  conv->scratch_floats_ = RelaxedScratchFloats(plan);
  LCSM_ASSIGN_OR_RETURN(
      conv->scratch_,
      FloatBuffer::Allocate(pool.NumThreads() * conv->scratch_floats_,
                            "the tiles' scratch memory"));
  LCSM_ASSIGN_OR_RETURN(
      conv->other_,
      FloatBuffer::Allocate(conv->groups_ * kLanes, "a row of outputs"));
  return conv;
}

StatusOr<std::unique_ptr<RelaxedConvolution>> RelaxedConvolution::Fork() const {
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<RelaxedConvolution> fork,
                        Create(plan_, *pool_));
  const auto copy = [](const FloatBuffer& from, FloatBuffer& to) {
    std::copy_n(from.data(), from.size(), to.data());
  };
  for (const int side : {kInput, kFilter}) {
    copy(sides_[side].lines, fork->sides_[side].lines);
    copy(sides_[side].head, fork->sides_[side].head);
  }
  for (size_t k = 0; k < levels_.size(); ++k) {
    copy(levels_[k].spectra, fork->levels_[k].spectra);
  }
  fork->position_ = position_;
  return fork;
}

void RelaxedConvolution::CopyRows(int side, size_t mixer, size_t first,
                                  size_t count, float* rows) const noexcept {
  const Problem& problem = plan_.problem;
  for (size_t t = first; t < first + count; ++t) {
    for (size_t row = 0; row < problem.batch; ++row) {
      for (size_t group = 0; group < groups_; ++group) {
        const size_t at = group * kLanes;
        std::copy_n(Line(side, HistoryGroup(mixer, row, group), t),
                    std::min(kLanes, problem.channels - at), rows + at);
      }
      rows += problem.channels;
    }
  }
}

StatusOr<std::unique_ptr<RelaxedConvolution>> RelaxedConvolution::Grown(
    const Plan& longer) const {
  const Problem& from = plan_.problem;
  const Problem& to = longer.problem;
  if (from.mixers != to.mixers || from.channels != to.channels ||
      from.batch != to.batch || to.length < from.length) {
    return InvalidInput(fmt::format(
        "a relaxed convolution of {} mixers, {} channels and {} rows for {} "
        "positions was given a plan for {}, {} and {} and {} positions to grow "
        "by",
        from.mixers, from.channels, from.batch, from.length, to.mixers,
        to.channels, to.batch, to.length));
  }
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<RelaxedConvolution> grown,
                        Create(longer, *pool_));
  // Few enough rows for the cache, many enough to keep threads busy.
  const size_t rows = std::min<size_t>(position_, 256);
  const size_t floats = rows * from.batch * from.channels;
  LCSM_ASSIGN_OR_RETURN(
      FloatBuffer known,
      FloatBuffer::Allocate(2 * floats, "inputs and taps taken in anew"));
  float* const x = known.data();
  float* const rho = x + floats;
  for (size_t first = 0; first < position_; first += rows) {
    const size_t count = std::min(rows, position_ - first);
    for (size_t mixer = 0; mixer < from.mixers; ++mixer) {
      CopyRows(kInput, mixer, first, count, x);
      CopyRows(kFilter, mixer, first, count, rho);
      grown->StepMany(mixer, count, x, rho, x);
    }
    grown->AdvanceMany(count);
  }
  return grown;
}

Status RelaxedConvolution::Save(io::SectionWriter& writer) const {
  const uint64_t position = position_;
  LCSM_RETURN_IF_ERROR(writer.PutArray(
      "relaxed position", std::span<const uint64_t>(&position, 1)));
  const auto put = [&writer](const char* name, const FloatBuffer& buffer) {
    return writer.PutArray(
        name, std::span<const float>(buffer.data(), buffer.size()));
  };
  for (const Side& side : sides_) {
    LCSM_RETURN_IF_ERROR(put("relaxed lines", side.lines));
    LCSM_RETURN_IF_ERROR(put("relaxed heads", side.head));
  }
  for (const OneLevel& one : levels_) {
    LCSM_RETURN_IF_ERROR(put("relaxed spectra", one.spectra));
  }
  return OkStatus();
}

Status RelaxedConvolution::Load(io::SectionReader& reader) {
  uint64_t position = 0;
  LCSM_RETURN_IF_ERROR(
      reader.GetArray("relaxed position", std::span<uint64_t>(&position, 1)));
  if (position > length()) {
    return InvalidInput(fmt::format(
        "{}: stands at position {}, expected at most {}, which the plan is for",
        reader.name(), position, length()));
  }
  position_ = position;
  const auto get = [&reader](const char* name, FloatBuffer& buffer) {
    return reader.GetArray(name,
                           std::span<float>(buffer.data(), buffer.size()));
  };
  for (Side& side : sides_) {
    LCSM_RETURN_IF_ERROR(get("relaxed lines", side.lines));
    LCSM_RETURN_IF_ERROR(get("relaxed heads", side.head));
  }
  for (OneLevel& one : levels_) {
    LCSM_RETURN_IF_ERROR(get("relaxed spectra", one.spectra));
  }
  return OkStatus();
}

void RelaxedConvolution::Reset() noexcept {
  // Spectra are made before they are read.
  for (Side& side : sides_) {
    side.lines.Zero();
    side.head.Zero();
  }
  position_ = 0;
}

size_t RelaxedConvolution::HistoryGroup(size_t mixer, size_t row,
                                        size_t group) const noexcept {
  return (mixer * groups_ + group) * plan_.problem.batch + row;
}

float* RelaxedConvolution::Head(int side, size_t mixer, size_t row,
                                size_t group) noexcept {
  // Groups of a row are neighbours here: red cells read them in one go.
  const size_t index = (mixer * plan_.problem.batch + row) * groups_ + group;
  return sides_[side].head.data() + index * kHeadTaps * kLanes;
}

TileKernels::Follow RelaxedConvolution::TinyTile(size_t r) const noexcept {
  using Follow = TileKernels::Follow;
  if (!folds_tiny_ || r >= length() || std::has_single_bit(r)) {
    return Follow::kNone;
  }
  switch (DueLevel(plan_.levels, r)) {
    case 0:
      return Follow::kOne;
    case 1:
      return r + 1 < length() ? Follow::kTwo : Follow::kTwoToOne;
    default:
      return Follow::kNone;
  }
}

void RelaxedConvolution::RedCells(size_t mixer, size_t row, size_t group,
                                  size_t groups, size_t t, const float* x,
                                  const float* rho, float* y,
                                  float* other) noexcept {
  const size_t h = HistoryGroup(mixer, row, group);
  const size_t step = plan_.problem.batch * stride_;
  const size_t head_step = kHeadTaps * kLanes;
  float* const head_x = Head(kInput, mixer, row, group);
  float* const head_rho = Head(kFilter, mixer, row, group);
  if (t == 0) {
    // The product of the two first ones is x's: rho still meets a zero.
    for (size_t g = 0; g < groups; ++g) {
      std::copy_n(rho + g * kLanes, kLanes, head_rho + g * head_step);
    }
  }
  const TileKernels::Follow follow = TinyTile(t + 1);
  // In this order y may be x or rho.
  kernels_->red(x, head_rho, groups, step, follow, Line(kInput, h, t), other);
  kernels_->red(rho, head_x, groups, step, follow, Line(kFilter, h, t), y);
  for (size_t i = 0; i < groups * kLanes; ++i) y[i] += other[i];
  if (t >= kHeadTaps) return;
  for (size_t g = 0; g < groups; ++g) {
    const size_t at = g * head_step + t * kLanes;
    std::copy_n(Line(kInput, h, t) + g * step, kLanes, head_x + at);
    std::copy_n(Line(kFilter, h, t) + g * step, kLanes, head_rho + at);
  }
}

void RelaxedConvolution::Step(size_t mixer, const float* x, const float* rho,
                              float* y) noexcept {
  const Problem& problem = plan_.problem;
  assert(position_ < problem.length && mixer < problem.mixers);
  const size_t whole = problem.channels / kLanes;
  const size_t rest = problem.channels % kLanes;
  for (size_t row = 0; row < problem.batch; ++row) {
    const size_t at = row * problem.channels;
    RedCells(mixer, row, 0, whole, position_, x + at, rho + at, y + at,
             other_.data());
    if (rest == 0) continue;
    alignas(kCacheLineBytes) float x_lanes[kLanes] = {};
    alignas(kCacheLineBytes) float rho_lanes[kLanes] = {};
    const size_t last = at + whole * kLanes;
    std::copy_n(x + last, rest, x_lanes);
    std::copy_n(rho + last, rest, rho_lanes);
    RedCells(mixer, row, whole, 1, position_, x_lanes, rho_lanes, x_lanes,
             other_.data());
    std::copy_n(x_lanes, rest, y + last);
  }
  if (plan_.schedule == Schedule::kPerLayer) {
    const size_t first = HistoryGroup(mixer, 0, 0);
    DueWork(first, first + groups_ * problem.batch, position_ + 1, 0);
  }
}

void RelaxedConvolution::Advance() noexcept {
  const size_t r = ++position_;
  if (plan_.schedule == Schedule::kAcrossLayers) RunDueWork(r);
}

void RelaxedConvolution::RunDueWork(size_t r) noexcept {
  if (r >= length()) return;
  const double ns = EstimateNs(r);
  if (ns == 0) return;
  pool_->ParallelFor(HistoryGroups(plan_.problem), GrainFor(ns),
                     [&](size_t begin, size_t end, size_t worker) {
                       DueWork(begin, end, r, worker);
                     });
}

void RelaxedConvolution::StepMany(size_t mixer, size_t count, const float* x,
                                  const float* rho, float* y) noexcept {
  const Problem& problem = plan_.problem;
  assert(position_ + count <= problem.length && mixer < problem.mixers);
  const size_t width = problem.batch * problem.channels;
  pool_->ParallelFor(
      problem.batch * groups_, 1, [&](size_t begin, size_t end, size_t worker) {
        for (size_t part = begin; part < end; ++part) {
          const size_t row = part % problem.batch;
          const size_t group = part / problem.batch;
          const size_t first = row * problem.channels + group * kLanes;
          const size_t lanes =
              std::min(kLanes, problem.channels - group * kLanes);
          const size_t h = HistoryGroup(mixer, row, group);
          for (size_t k = 0; k < count; ++k) {
            const size_t t = position_ + k;
            alignas(kCacheLineBytes) float x_lanes[kLanes] = {};
            alignas(kCacheLineBytes) float rho_lanes[kLanes] = {};
            alignas(kCacheLineBytes) float other[kLanes];
            std::copy_n(x + k * width + first, lanes, x_lanes);
            std::copy_n(rho + k * width + first, lanes, rho_lanes);
            RedCells(mixer, row, group, 1, t, x_lanes, rho_lanes, x_lanes,
                     other);
            std::copy_n(x_lanes, lanes, y + k * width + first);
            DueWork(h, h + 1, t + 1, worker);
          }
        }
      });
}

// Nanoseconds of one group's due work, to a factor of two; 0 if there is none.
// The constants are those of OnlineConvolution's estimate, doubled.
double RelaxedConvolution::EstimateNs(size_t r) const noexcept {
  const double known = static_cast<double>(r);
  if (plan_.method == Method::kLazy) return 10 + 0.7 * known;
  if (levels_.empty()) return 0;
  if (std::has_single_bit(r)) {
    return first_table_ == 0 || r < first_table_
               ? 15 + 0.5 * known * known
               : 15 + known * (4 * std::log2(2 * known) + 3);
  }
  const size_t k = DueLevel(plan_.levels, r);
  const OneLevel& one = levels_[k];
  // Slices of lower levels come with it and cost no more than their transform.
  if (folds_tiny_ && k < kTinyLevels) return 0;
  const double block = static_cast<double>(one.level.block);
  const size_t target = r / one.level.block;
  const double terms =
      static_cast<double>(target - FirstBlock(one.level, target));
  if (one.level.tau != Tau::kFftFused) return 30 + 1.8 * terms * block * block;
  return 30 + block * (5.2 * std::log2(2 * block) + 6 * terms);
}

void RelaxedConvolution::DueWork(size_t begin, size_t end, size_t r,
                                 size_t worker) noexcept {
  if (r >= length()) return;  // Nobody will ask for more outputs.
  float* const scratch = scratch_.data() + worker * scratch_floats_;
  if (plan_.method == Method::kLazy) {
    for (size_t h = begin; h < end; ++h) {
      // The first input waits for tap r, which is not there yet: a red cell.
      kernels_->direct(Line(kInput, h, 0), Line(kFilter, h, 0), r, r, 1,
                       Line(kInput, h, r));
    }
    return;
  }
  if (levels_.empty()) return;
  for (OneLevel& one : levels_) {
    if (r % one.level.block != 0) break;
    const size_t distance = r / one.level.block - 1;
    if (one.level.tau != Tau::kFftFused || distance == 0 ||
        distance > one.terms) {
      continue;
    }
    for (size_t h = begin; h < end; ++h) MakeSlice(one, h, distance);
  }
  if (std::has_single_bit(r)) {
    for (size_t h = begin; h < end; ++h) Corner(h, r, scratch);
    return;
  }
  const size_t k = DueLevel(plan_.levels, r);
  if (folds_tiny_ && k < kTinyLevels) return;  // Done with the red cells.
  for (size_t h = begin; h < end; ++h) Tile(levels_[k], h, r, scratch);
}

const FftTables& RelaxedConvolution::Tables(size_t block) const noexcept {
  return tables_[static_cast<size_t>(std::countr_zero(block) -
                                     std::countr_zero(first_table_))];
}

float* RelaxedConvolution::Slices(OneLevel& one, size_t h,
                                  int side) const noexcept {
  const size_t floats = one.spectra.size() / HistoryGroups(plan_.problem);
  return one.spectra.data() + h * floats +
         static_cast<size_t>(side) * one.terms * SliceStride(one.level.block);
}

float* RelaxedConvolution::Kept(OneLevel& one, size_t h,
                                int side) const noexcept {
  return Slices(one, h, side) + 2 * one.terms * SliceStride(one.level.block);
}

void RelaxedConvolution::MakeSlice(OneLevel& one, size_t h,
                                   size_t distance) noexcept {
  const size_t block = one.level.block;
  for (const int side : {kInput, kFilter}) {
    kernels_->fft_spectrum(
        Tables(block), Line(side, h, (distance - 1) * block), 2 * block,
        Slices(one, h, side) + (distance - 1) * SliceStride(block));
  }
}

void RelaxedConvolution::Corner(size_t h, size_t r, float* scratch) noexcept {
  const size_t outputs = std::min(r - 1, length() - r);
  float* const acc = Line(kInput, h, r);
  if (first_table_ == 0 || r < first_table_) {
    // Not blocked: that would read behind the taps, where accumulators are.
    kernels_->direct(Line(kInput, h, 0), Line(kFilter, h, 0), r, r, outputs,
                     acc);
    return;
  }
  const FftTables& tables = Tables(r);
  float* const spectrum = scratch + kernels_->FftScratchFloats(r);
  kernels_->fft_spectrum(tables, Line(kFilter, h, 0), r, spectrum);
  kernels_->fft_tile(tables, Line(kInput, h, 0), spectrum, outputs, acc,
                     Accumulators::kOpen, scratch);
}

void RelaxedConvolution::Tile(OneLevel& one, size_t h, size_t r,
                              float* scratch) noexcept {
  const size_t block = one.level.block;
  const size_t target = r / block;
  const size_t first = FirstBlock(one.level, target);
  const size_t outputs = std::min(block, length() - r);
  if (one.level.tau == Tau::kFftFused) {
    TransformedTile(one, h, target, first, outputs, scratch);
    return;
  }
  const auto kernel = one.level.tau == Tau::kDirectBlocked
                          ? kernels_->direct_blocked
                          : kernels_->direct;
  const size_t inputs = (target - first) * block;
  for (const int side : {kInput, kFilter}) {
    // Just as many taps as the outputs meet: all of them are known, and those
    // behind are accumulators.
    kernel(Line(side, h, first * block), Line(1 - side, h, 0), inputs + block,
           inputs, outputs, Line(side, h, r));
  }
}

void RelaxedConvolution::TransformedTile(OneLevel& one, size_t h, size_t target,
                                         size_t first, size_t outputs,
                                         float* scratch) noexcept {
  const size_t block = one.level.block;
  const FftTables& tables = Tables(block);
  const size_t stride = SliceStride(block);
  float* const acc = Line(kInput, h, target * block);
  const size_t terms = target - first;
  // Terms of the last tile of this octave or parent.
  const size_t last = std::min(one.terms, InFirstParent(one.level, target)
                                              ? first - 1
                                              : one.level.radix - 1);
  const float* const newest[] = {Line(kInput, h, (target - 1) * block),
                                 Line(kFilter, h, (target - 1) * block)};
  if (one.terms == 1) {
    kernels_->fft_tile_two(tables, newest[kInput], Slices(one, h, kFilter),
                           newest[kFilter], Slices(one, h, kInput), outputs,
                           acc, scratch);
    return;
  }
  BlockSum sums[2];
  for (const int side : {kInput, kFilter}) {
    BlockSum& sum = sums[side];
    sum.stride = sum.taps_stride = stride;
    sum.taps = Slices(one, h, 1 - side);
    // In pairs, as the known-filter tiles (fused_op.cc).
    sum.newest = Kept(one, h, side) + (terms - 1) * stride;
    sum.continues = terms % 2 == 1 && terms >= 3;
    sum.older_terms = sum.continues ? 0 : terms - 1;
    if (terms % 2 == 0 && terms + 1 <= last) sum.next = sum.newest + stride;
    sum.older = sum.newest - (terms > 1 ? stride : 0);
    sum.wrapped = sum.older;
  }
  kernels_->fft_blocks_two(tables, newest[kInput], sums[kInput],
                           newest[kFilter], sums[kFilter], outputs, acc,
                           scratch);
}

void RelaxedConvolution::PretendHistory(size_t position, const float* rows,
                                        size_t num_rows) noexcept {
  const Problem& problem = plan_.problem;
  assert(position <= problem.length);
  const size_t width = problem.batch * problem.channels;
  for (OneLevel& one : levels_) {
    // Touched, as in OnlineConvolution::PretendHistory.
    std::fill_n(one.spectra.data(), one.spectra.size(), 0.0f);
  }
  pool_->ParallelFor(
      HistoryGroups(problem), 1, [&](size_t begin, size_t end, size_t) {
        for (size_t h = begin; h < end; ++h) {
          const size_t row = h % problem.batch;
          const size_t group = h / problem.batch % groups_;
          const float* column = rows + row * problem.channels + group * kLanes;
          const size_t lanes =
              std::min(kLanes, problem.channels - group * kLanes);
          for (size_t t = 0; t < position; ++t) {
            for (const int side : {kInput, kFilter}) {
              std::copy_n(column + t % num_rows * width, lanes,
                          Line(side, h, t));
            }
          }
        }
      });
  position_ = position;
}

}  // namespace lcsm::conv
