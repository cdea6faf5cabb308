#include "conv/online_convolution.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>

#include "conv/layout.h"

namespace lcsm::conv {
namespace {

// A chunk of work should outlast its hand-over to another thread. Measured on
// two cores of a Zen 3 with 8 mixers of 256 channels: with 2000 the blocks 1 to
// 8 ran on one thread and two threads were 1.6 times as fast as one in all.
constexpr double kChunkNs = 400;

// Nanoseconds that one group's due work takes, to a factor of two: enough to
// choose a grain. Fitted to times measured at 3 GHz with AVX2, taps and spectra
// coming from L3.
double EstimateNs(const Plan& plan, size_t r) {
  switch (plan.method) {
    case Method::kLazy:
      return 10 + 0.7 * static_cast<double>(std::min(r, plan.problem.taps));
    case Method::kEager:
      return 10 + 1.0 * static_cast<double>(std::min(plan.problem.length - r,
                                                     plan.problem.taps));
    case Method::kPaper:
      break;
  }
  if (plan.levels.empty()) return 1;
  const double block =
      static_cast<double>(std::min(r & (~r + 1), plan.levels.back().block));
  return 15 + std::min(0.9 * block * block, 2.6 * block * std::log2(2 * block));
}

// The level whose tile falls due when r inputs are known: U = r & -r, at most
// the top. The plan must have levels.
size_t LevelAt(const Plan& plan, size_t r) {
  return std::min<size_t>(std::countr_zero(r), plan.levels.size() - 1);
}

// Blocks of 1 and 2 are done in the pass of the red cells, see TinyTile.
constexpr size_t kTinyLevels = 2;

}  // namespace

StatusOr<std::shared_ptr<const PreparedConvolution>>
PreparedConvolution::Create(Plan plan,
                            std::shared_ptr<const FilterBank> filters,
                            ThreadPool& pool) {
  const Problem& problem = plan.problem;
  if (filters->mixers() != problem.mixers ||
      filters->channels() != problem.channels ||
      filters->taps() != std::min(problem.taps, problem.length)) {
    return InternalError(
        fmt::format("a plan for {} mixers, {} channels and {} taps was given "
                    "filters of {}, {} and {}",
                    problem.mixers, problem.channels, problem.taps,
                    filters->mixers(), filters->channels(), filters->taps()));
  }
  std::shared_ptr<PreparedConvolution> prepared(new PreparedConvolution);
  for (const Level& level : plan.levels) {
    if (level.block != size_t{1} << prepared->tiles_.size()) {
      return InternalError(
          "the levels of a binary tiling must be 1, 2, 4 and so on");
    }
    LCSM_ASSIGN_OR_RETURN(std::unique_ptr<const TileOp> op,
                          MakeTileOp(level, *filters, pool));
    prepared->tiles_.push_back(std::move(op));
  }
  prepared->plan_ = std::move(plan);
  prepared->filters_ = std::move(filters);
  return std::shared_ptr<const PreparedConvolution>(std::move(prepared));
}

StatusOr<std::unique_ptr<OnlineConvolution>> OnlineConvolution::Create(
    std::shared_ptr<const PreparedConvolution> prepared, ThreadPool& pool) {
  const Plan& plan = prepared->plan();
  std::unique_ptr<OnlineConvolution> conv(new OnlineConvolution);
  conv->pool_ = &pool;
  conv->kernels_ = &GetTileKernels();
  conv->groups_ = GroupsFor(plan.problem.channels);
  const size_t floats = HistoryFloats(plan.problem);
  LCSM_ASSIGN_OR_RETURN(conv->histories_,
                        FloatBuffer::Allocate(floats, "the histories"));
  if (plan.method == Method::kEager) {
    LCSM_ASSIGN_OR_RETURN(
        conv->recent_, FloatBuffer::Allocate(floats, "the eager accumulators"));
  }
  size_t most = 0;
  for (const Level& level : plan.levels)
    most = std::max(most, ScratchFloats(level));
  LCSM_ASSIGN_OR_RETURN(conv->scratch_floats_,
                        FloatBuffer::Allocate(most * pool.NumThreads(),
                                              "the tiles' scratch memory"));
  for (size_t worker = 0; worker < pool.NumThreads(); ++worker) {
    for (const Level& level : plan.levels) {
      TileScratch scratch;
      scratch.floats = conv->scratch_floats_.data() + worker * most;
      if (level.tau == Tau::kFftLibrary) {
        LCSM_ASSIGN_OR_RETURN(std::unique_ptr<LibraryFft> fft,
                              LibraryFft::Create(2 * level.block));
        scratch.fft = fft.get();
        conv->scratch_ffts_.push_back(std::move(fft));
      }
      conv->scratch_.push_back(scratch);
    }
  }
  conv->prepared_ = std::move(prepared);
  return conv;
}

size_t OnlineConvolution::HistoryGroup(size_t mixer, size_t row,
                                       size_t group) const noexcept {
  return (mixer * prepared_->plan().problem.batch + row) * groups_ + group;
}

float* OnlineConvolution::History(size_t history_group) noexcept {
  return histories_.data() +
         history_group * HistoryStride(prepared_->plan().problem.length);
}

TileKernels::Follow OnlineConvolution::TinyTile(size_t r) const noexcept {
  using Follow = TileKernels::Follow;
  const Plan& plan = prepared_->plan();
  if (plan.levels.empty() || r >= plan.problem.length) return Follow::kNone;
  switch (LevelAt(plan, r)) {
    case 0:
      return Follow::kOne;
    case 1:
      return r + 1 < plan.problem.length ? Follow::kTwo : Follow::kTwoToOne;
    default:
      return Follow::kNone;
  }
}

void OnlineConvolution::RedCells(size_t mixer, size_t row, size_t t,
                                 const float* x, float* y) noexcept {
  const Problem& problem = prepared_->plan().problem;
  const float* head = prepared_->filters().HeadTaps(mixer);
  const TileKernels::Follow follow = TinyTile(t + 1);
  const size_t stride = HistoryStride(problem.length);
  const size_t whole = problem.channels / kLanes;
  float* line = History(HistoryGroup(mixer, row, 0)) + t * kLanes;
  kernels_->red(x, head, whole, stride, follow, line, y);
  const size_t rest = problem.channels % kLanes;
  if (rest != 0) {
    alignas(kCacheLineBytes) float lanes[kLanes] = {};
    std::copy_n(x + whole * kLanes, rest, lanes);
    kernels_->red(lanes, head + whole * kHeadTaps * kLanes, 1, stride, follow,
                  line + whole * stride, lanes);
    std::copy_n(lanes, rest, y + whole * kLanes);
  }
}

void OnlineConvolution::DueWork(size_t begin, size_t end, size_t r,
                                size_t worker) noexcept {
  const Plan& plan = prepared_->plan();
  const size_t length = plan.problem.length;
  if (r >= length) return;  // Nobody will ask for more outputs.
  const FilterBank& filters = prepared_->filters();
  const size_t per_mixer = plan.problem.batch * groups_;
  // Divided once a range, then counted on: small tiles cost no more than this.
  size_t group = begin % groups_;
  size_t filter_group = begin / per_mixer * groups_ + group;
  size_t left_in_mixer = per_mixer - begin % per_mixer;
  const auto next = [&]() {
    ++filter_group;
    if (++group == groups_) {
      group = 0;
      filter_group -= groups_;  // The next row has the same filters.
    }
    if (--left_in_mixer == 0) {
      left_in_mixer = per_mixer;
      filter_group += groups_;
    }
  };
  const size_t stride = HistoryStride(length);
  float* outputs = History(begin) + r * kLanes;
  switch (plan.method) {
    case Method::kLazy:
      for (size_t h = begin; h < end; ++h, outputs += stride, next()) {
        kernels_->direct(outputs - r * kLanes, filters.FlatGroup(filter_group),
                         filters.taps(), r, 1, outputs);
      }
      return;
    case Method::kEager: {
      const size_t coming = length - r;
      // Output r is complete but for its red cell; every kSumBlock inputs the
      // others follow.
      const size_t lines = r % kSumBlock == 0 ? coming : 1;
      for (size_t h = begin; h < end; ++h, outputs += stride, next()) {
        float* const recent = recent_.data() + (outputs - histories_.data());
        kernels_->scatter(outputs - kLanes, filters.FlatGroup(filter_group),
                          filters.taps(), coming, recent);
        for (size_t i = 0; i < lines * kLanes; ++i) outputs[i] += recent[i];
        std::memset(recent, 0, lines * kLanes * sizeof(float));
      }
      return;
    }
    case Method::kPaper: {
      if (plan.levels.empty()) return;
      const size_t level = LevelAt(plan, r);
      if (level < kTinyLevels) return;  // Done with the red cells.
      const size_t block = plan.levels[level].block;
      const size_t count = std::min(block, length - r);
      const TileOp& op = *prepared_->tiles()[level];
      const TileScratch& scratch =
          scratch_[worker * plan.levels.size() + level];
      for (size_t h = begin; h < end; ++h, outputs += stride, next()) {
        op.Apply(filter_group, outputs - block * kLanes, count, outputs,
                 scratch);
      }
      return;
    }
  }
}

size_t OnlineConvolution::Grain(size_t r) const noexcept {
  return static_cast<size_t>(
      std::max(1.0, kChunkNs / EstimateNs(prepared_->plan(), r)));
}

void OnlineConvolution::Step(size_t mixer, const float* x, float* y) noexcept {
  const Plan& plan = prepared_->plan();
  assert(position_ < plan.problem.length && mixer < plan.problem.mixers);
  for (size_t row = 0; row < plan.problem.batch; ++row) {
    const size_t offset = row * plan.problem.channels;
    RedCells(mixer, row, position_, x + offset, y + offset);
    if (plan.schedule == Schedule::kPerLayer) {
      const size_t first = HistoryGroup(mixer, row, 0);
      DueWork(first, first + groups_, position_ + 1, 0);
    }
  }
}

void OnlineConvolution::Advance() noexcept {
  ++position_;
  if (prepared_->plan().schedule == Schedule::kAcrossLayers) {
    RunDueWork(position_);
  }
}

void OnlineConvolution::RunDueWork(size_t r) noexcept {
  const Problem& problem = prepared_->plan().problem;
  if (r >= problem.length) return;
  const Plan& plan = prepared_->plan();
  if (plan.method == Method::kPaper &&
      (plan.levels.empty() || LevelAt(plan, r) < kTinyLevels)) {
    return;  // Nothing, or done with the red cells.
  }
  pool_->ParallelFor(HistoryGroups(problem), Grain(r),
                     [&](size_t begin, size_t end, size_t worker) {
                       DueWork(begin, end, r, worker);
                     });
}

void OnlineConvolution::PretendHistory(size_t position, const float* rows,
                                       size_t num_rows) noexcept {
  const Problem& problem = prepared_->plan().problem;
  assert(position <= problem.length);
  const size_t width = problem.batch * problem.channels;
  pool_->ParallelFor(
      HistoryGroups(problem), 1, [&](size_t begin, size_t end, size_t) {
        for (size_t h = begin; h < end; ++h) {
          const size_t row = h / groups_ % problem.batch;
          const size_t group = h % groups_;
          float* line = History(h);
          const float* column = rows + row * problem.channels + group * kLanes;
          const size_t lanes =
              std::min(kLanes, problem.channels - group * kLanes);
          for (size_t t = 0; t < position; ++t, line += kLanes) {
            std::copy_n(column + t % num_rows * width, lanes, line);
          }
        }
      });
  position_ = position;
}

void OnlineConvolution::StepMany(size_t mixer, size_t count, const float* x,
                                 float* y) noexcept {
  const Problem& problem = prepared_->plan().problem;
  assert(position_ + count <= problem.length && mixer < problem.mixers);
  const size_t width = problem.batch * problem.channels;
  const size_t stride = HistoryStride(problem.length);
  pool_->ParallelFor(
      problem.batch * groups_, 1, [&](size_t begin, size_t end, size_t worker) {
        for (size_t part = begin; part < end; ++part) {
          const size_t row = part / groups_, group = part % groups_;
          const size_t first = row * problem.channels + group * kLanes;
          const size_t lanes =
              std::min(kLanes, problem.channels - group * kLanes);
          const float* head =
              prepared_->filters().HeadTaps(mixer) + group * kHeadTaps * kLanes;
          const size_t history_group = HistoryGroup(mixer, row, group);
          float* const history = History(history_group);
          for (size_t k = 0; k < count; ++k) {
            const size_t t = position_ + k;
            alignas(kCacheLineBytes) float line[kLanes] = {};
            std::copy_n(x + k * width + first, lanes, line);
            kernels_->red(line, head, 1, stride, TinyTile(t + 1),
                          history + t * kLanes, line);
            std::copy_n(line, lanes, y + k * width + first);
            DueWork(history_group, history_group + 1, t + 1, worker);
          }
        }
      });
}

void OnlineConvolution::Reset() noexcept {
  histories_.Zero();
  recent_.Zero();
  position_ = 0;
}

}  // namespace lcsm::conv
