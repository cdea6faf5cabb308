#include "conv/online_convolution.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>

#include "conv/chunks.h"
#include "conv/layout.h"
#include "conv/tiny_levels.h"

namespace lcsm::conv {
namespace {

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
    default:
      break;
  }
  if (plan.levels.empty()) return 1;
  const Level& level = plan.levels[DueLevel(plan.levels, r)];
  const double terms =
      static_cast<double>(TileAt(plan.problem, level, r).terms);
  const double block = static_cast<double>(level.block);
  const bool direct =
      level.tau == Tau::kDirect || level.tau == Tau::kDirectBlocked;
  if (direct) return 15 + 0.9 * terms * block * block;
  return 15 + block * (2.6 * std::log2(2 * block) + 3 * terms);
}

}  // namespace

StatusOr<std::shared_ptr<const PreparedConvolution>>
PreparedConvolution::Create(Plan plan,
                            std::shared_ptr<const FilterBank> filters,
                            ThreadPool& pool,
                            const PreparedConvolution* shorter,
                            std::shared_ptr<const TapSource> source) {
  const Problem& problem = plan.problem;
  if (Evaluates(plan) && source == nullptr) {
    return InvalidInput(fmt::format(
        "the plan '{}' evaluates taps while it runs, and here is no network "
        "that could",
        plan.Print()));
  }
  if (filters->mixers() != problem.mixers ||
      filters->channels() != problem.channels ||
      filters->taps() < TapsMade(plan) ||
      filters->taps() > std::min(problem.taps, problem.length)) {
    return InternalError(
        fmt::format("a plan for {} mixers, {} channels and {} taps was given "
                    "filters of {}, {} and {}",
                    problem.mixers, problem.channels, problem.taps,
                    filters->mixers(), filters->channels(), filters->taps()));
  }
  std::shared_ptr<PreparedConvolution> prepared(new PreparedConvolution);
  prepared->ops_.resize(plan.levels.size());
  const auto shrink = [&](size_t wanted) -> Status {
    LCSM_ASSIGN_OR_RETURN(filters, FilterBank::First(*filters, wanted, pool));
    return OkStatus();
  };
  // Large levels first, and taps that only they read are let go of on the way:
  // else taps and spectra of a million positions would take more than a session
  // ever does. Where somebody else holds the bank nothing is to be gained.
  for (size_t k = plan.levels.size(); k-- > 0;) {
    const Level& level = plan.levels[k];
    std::shared_ptr<const LevelOp>& op = prepared->ops_[k];
    if (shorter != nullptr) op = shorter->Find(problem, level);
    if (op == nullptr) {
      LCSM_ASSIGN_OR_RETURN(op, MakeLevelOp(problem, level, *filters, pool));
    }
    const size_t left = TapsLeft(plan, k, filters->taps());
    if (filters.use_count() == 1 && left < filters->taps()) {
      LCSM_RETURN_IF_ERROR(shrink(left));
    }
  }
  if (const size_t kept = TapsKept(plan); kept < filters->taps()) {
    LCSM_RETURN_IF_ERROR(shrink(kept));
  }
  if (Evaluates(plan)) prepared->source_ = std::move(source);
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
  const size_t all = HistoryGroups(plan.problem);
  const size_t lines = HistoryLines(plan);
  const size_t floats = all * HistoryStride(lines);
  LCSM_ASSIGN_OR_RETURN(conv->histories_,
                        FloatBuffer::Allocate(floats, "the histories"));
  conv->view_ = {conv->histories_.data(), HistoryStride(lines), lines};
  if (plan.method == Method::kEager) {
    LCSM_ASSIGN_OR_RETURN(
        conv->recent_, FloatBuffer::Allocate(floats, "the eager accumulators"));
  }
  conv->folds_tiny_ = FoldsTiny(plan.levels);
  std::vector<float*> kept;
  for (const Level& level : plan.levels) {
    LCSM_ASSIGN_OR_RETURN(
        FloatBuffer buffer,
        FloatBuffer::Allocate(all * KeptFloats(plan.problem, level),
                              "the spectra of input blocks"));
    kept.push_back(buffer.data());
    conv->kept_.push_back(std::move(buffer));
    if (lines < plan.problem.length && level.serves != Serves::kDistant) {
      conv->cleared_ = level.block;
    }
  }
  if (plan.Deferred()) {
    // Whoever wants even steps does not want them to meet untouched pages.
    conv->histories_.Zero();
    for (FloatBuffer& buffer : conv->kept_) buffer.Zero();
    LCSM_ASSIGN_OR_RETURN(
        conv->deferred_,
        DeferredWork::Create(plan, prepared->ops(), prepared->filters(),
                             conv->view_, kept, pool));
  }
  if (Evaluates(plan)) {
    LCSM_ASSIGN_OR_RETURN(
        conv->evaluated_,
        EvaluatedTaps::Create(plan, prepared->source(), pool.NumThreads()));
  }
  size_t most = 0;
  for (const Level& level : plan.levels) {
    if (level.serves != Serves::kDistant) {
      most = std::max(most, ScratchFloats(plan.problem, level));
    }
  }
  LCSM_ASSIGN_OR_RETURN(conv->scratch_floats_,
                        FloatBuffer::Allocate(most * pool.NumThreads(),
                                              "the tiles' scratch memory"));
  for (size_t worker = 0; worker < pool.NumThreads(); ++worker) {
    for (const Level& level : plan.levels) {
      LevelScratch scratch;
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

StatusOr<std::unique_ptr<OnlineConvolution>> OnlineConvolution::Fork() const {
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<OnlineConvolution> fork,
                        Create(prepared_, *pool_));
  const auto copy = [](const FloatBuffer& from, FloatBuffer& to) {
    std::copy_n(from.data(), from.size(), to.data());
  };
  copy(histories_, fork->histories_);
  copy(recent_, fork->recent_);
  for (size_t k = 0; k < kept_.size(); ++k) copy(kept_[k], fork->kept_[k]);
  if (deferred_ != nullptr) fork->deferred_->CopyFrom(*deferred_);
  fork->position_ = position_;
  return fork;
}

size_t OnlineConvolution::HistoryGroup(size_t mixer, size_t row,
                                       size_t group) const noexcept {
  return (mixer * groups_ + group) * prepared_->plan().problem.batch + row;
}

TileKernels::Follow OnlineConvolution::TinyTile(size_t r) const noexcept {
  using Follow = TileKernels::Follow;
  const Plan& plan = prepared_->plan();
  if (!folds_tiny_ || r >= plan.problem.length) return Follow::kNone;
  switch (DueLevel(plan.levels, r)) {
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
  const size_t stride = problem.batch * view_.stride;
  const size_t whole = problem.channels / kLanes;
  float* line = view_.At(HistoryGroup(mixer, row, 0), t);
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
  switch (plan.method) {
    case Method::kLazy:
      Gather(begin, end, r);
      return;
    case Method::kEager:
      Scatter(begin, end, r);
      return;
    default:
      break;
  }
  if (plan.levels.empty()) return;
  const size_t k = DueLevel(plan.levels, r);
  if (folds_tiny_ && k < kTinyLevels) return;  // Done with the red cells.
  const Level& level = plan.levels[k];
  LevelJob job;
  job.tile = TileAt(plan.problem, level, r);
  const size_t lines = std::min(level.block, length - r);
  // Of a ring these lines still hold inputs, of this very tile or one before.
  const bool used = cleared_ != 0 && (level.block == cleared_ ||
                                      level.serves == Serves::kNeighbours);
  const bool replaces = used && deferred_ == nullptr &&
                        level.tau == Tau::kFftFused && job.tile.terms != 0;
  if (replaces) job.accumulators = Accumulators::kFresh;
  const size_t added = deferred_ != nullptr && r % DeferredWork::kLines == 0
                           ? std::min(DeferredWork::kLines, length - r)
                           : 0;
  const LevelOp& op = *prepared_->ops()[k];
  LevelScratch& scratch = scratch_[worker * plan.levels.size() + k];
  scratch.remade_for = SIZE_MAX;
  const size_t batch = plan.problem.batch;
  const size_t kept = kept_[k].size() / HistoryGroups(plan.problem);
  float* const newest = view_.At(begin, r - level.block);
  float* const out = view_.At(begin, r);
  const bool evaluated = level.spectra == Spectra::kEvaluated;
  const FilterBank& filters =
      evaluated ? evaluated_->bank() : prepared_->filters();
  job.filter_group = begin / batch;
  if (evaluated) job.filter_group %= groups_;  // Histories of one mixer.
  size_t row = begin % batch;
  for (size_t h = begin; h < end; ++h) {
    const size_t offset = (h - begin) * view_.stride;
    job.newest = newest + offset;
    job.out = out + offset;
    job.kept = kept_[k].data() + h * kept;
    if (used && !replaces) std::fill_n(job.out, lines * kLanes, 0.0f);
    if (added != 0) deferred_->AddOutputs(h, r, added, job.out);
    if (job.tile.terms != 0) op.Apply(filters, job, scratch);
    if (++row == batch) {
      row = 0;
      ++job.filter_group;
    }
  }
}

const Level* OnlineConvolution::EvaluatedAt(size_t r) const noexcept {
  const Plan& plan = prepared_->plan();
  if (evaluated_ == nullptr || r >= plan.problem.length) return nullptr;
  const Level& level = plan.levels[DueLevel(plan.levels, r)];
  return level.spectra == Spectra::kEvaluated ? &level : nullptr;
}

void OnlineConvolution::EvaluatedWork(size_t mixer, const Level& level,
                                      size_t r) noexcept {
  const Problem& problem = prepared_->plan().problem;
  if (TileAt(problem, level, r).terms != 0) {
    evaluated_->Evaluate(mixer, level, *pool_);
  }
  const size_t first = HistoryGroup(mixer, 0, 0);
  pool_->ParallelFor(groups_ * problem.batch, Grain(r),
                     [&](size_t begin, size_t end, size_t worker) {
                       DueWork(first + begin, first + end, r, worker);
                     });
}

void OnlineConvolution::Gather(size_t begin, size_t end, size_t r) noexcept {
  const FilterBank& filters = prepared_->filters();
  const size_t batch = prepared_->plan().problem.batch;
  for (size_t h = begin; h < end; ++h) {
    kernels_->direct(view_.At(h, 0), filters.FlatGroup(h / batch),
                     filters.taps(), r, 1, view_.At(h, r));
  }
}

void OnlineConvolution::Scatter(size_t begin, size_t end, size_t r) noexcept {
  const FilterBank& filters = prepared_->filters();
  const Problem& problem = prepared_->plan().problem;
  const size_t coming = problem.length - r;
  // Output r is complete but for its red cell; every kSumBlock inputs the
  // others follow.
  const size_t lines = r % kSumBlock == 0 ? coming : 1;
  for (size_t h = begin; h < end; ++h) {
    float* const outputs = view_.At(h, r);
    float* const recent = recent_.data() + (outputs - histories_.data());
    kernels_->scatter(outputs - kLanes, filters.FlatGroup(h / problem.batch),
                      filters.taps(), coming, recent);
    for (size_t i = 0; i < lines * kLanes; ++i) outputs[i] += recent[i];
    std::memset(recent, 0, lines * kLanes * sizeof(float));
  }
}

size_t OnlineConvolution::Grain(size_t r) const noexcept {
  return GrainFor(EstimateNs(prepared_->plan(), r));
}

void OnlineConvolution::Step(size_t mixer, const float* x, float* y) noexcept {
  const Plan& plan = prepared_->plan();
  assert(position_ < plan.problem.length && mixer < plan.problem.mixers);
  for (size_t row = 0; row < plan.problem.batch; ++row) {
    const size_t offset = row * plan.problem.channels;
    RedCells(mixer, row, position_, x + offset, y + offset);
  }
  if (plan.schedule == Schedule::kPerLayer) {
    const size_t r = position_ + 1;
    if (const Level* const level = EvaluatedAt(r)) {
      EvaluatedWork(mixer, *level, r);
      return;
    }
    const size_t first = HistoryGroup(mixer, 0, 0);
    DueWork(first, first + groups_ * plan.problem.batch, r, 0);
  }
}

void OnlineConvolution::Advance() noexcept {
  ++position_;
  if (prepared_->plan().schedule == Schedule::kAcrossLayers) {
    RunDueWork(position_);
  }
}

void OnlineConvolution::Ahead(size_t mixer, float* y) const noexcept {
  const Problem& problem = prepared_->plan().problem;
  assert(prepared_->plan().schedule == Schedule::kPerLayer);
  if (position_ + 1 >= problem.length) {
    std::fill_n(y, problem.batch * problem.channels, 0.0f);
    return;
  }
  for (size_t row = 0; row < problem.batch; ++row) {
    for (size_t g = 0; g < groups_; ++g) {
      std::copy_n(view_.At(HistoryGroup(mixer, row, g), position_ + 1),
                  std::min(kLanes, problem.channels - g * kLanes),
                  y + row * problem.channels + g * kLanes);
    }
  }
}

void OnlineConvolution::RunDueWork(size_t r) noexcept {
  const Plan& plan = prepared_->plan();
  if (r >= plan.problem.length) return;
  const bool none = plan.method != Method::kLazy &&
                    plan.method != Method::kEager &&
                    (plan.levels.empty() ||
                     (folds_tiny_ && DueLevel(plan.levels, r) < kTinyLevels));
  if (const Level* const level = EvaluatedAt(r)) {
    // A mixer at a time: the taps of all would be what is not to be held.
    for (size_t mixer = 0; mixer < plan.problem.mixers; ++mixer) {
      EvaluatedWork(mixer, *level, r);
    }
  } else if (!none) {
    pool_->ParallelFor(HistoryGroups(plan.problem), Grain(r),
                       [&](size_t begin, size_t end, size_t worker) {
                         DueWork(begin, end, r, worker);
                       });
  }
  if (deferred_ != nullptr) deferred_->Step(r);
}

void OnlineConvolution::PretendHistory(size_t position, const float* rows,
                                       size_t num_rows) noexcept {
  const Problem& problem = prepared_->plan().problem;
  assert(position <= problem.length);
  // Pages that nobody has touched are all one page of zeros to the kernel: it
  // would be read from the nearest cache.
  for (FloatBuffer& kept : kept_) std::fill_n(kept.data(), kept.size(), 0.0f);
  const size_t width = problem.batch * problem.channels;
  pool_->ParallelFor(
      HistoryGroups(problem), 1, [&](size_t begin, size_t end, size_t) {
        for (size_t h = begin; h < end; ++h) {
          const size_t row = h % problem.batch;
          const size_t group = h / problem.batch % groups_;
          const float* column = rows + row * problem.channels + group * kLanes;
          const size_t lanes =
              std::min(kLanes, problem.channels - group * kLanes);
          for (size_t t = position - std::min(position, view_.ring);
               t < position; ++t) {
            std::copy_n(column + t % num_rows * width, lanes, view_.At(h, t));
          }
        }
      });
  PretendPosition(position);
}

void OnlineConvolution::PretendPosition(size_t position) noexcept {
  position_ = position;
  if (deferred_ != nullptr) deferred_->PretendPosition(position);
}

void OnlineConvolution::StepMany(size_t mixer, size_t count, const float* x,
                                 float* y) noexcept {
  assert(position_ + count <= length() && mixer < plan().problem.mixers);
  if (deferred_ != nullptr) deferred_->Finish();
  // Threads take histories through the positions on their own, but for taps
  // that they evaluate together.
  for (size_t begin = 0; begin < count;) {
    size_t end = evaluated_ == nullptr ? count : begin + 1;
    while (end < count && EvaluatedAt(position_ + end) == nullptr) ++end;
    StepPiece(mixer, begin, end, x, y);
    if (const Level* const level = EvaluatedAt(position_ + end)) {
      EvaluatedWork(mixer, *level, position_ + end);
    }
    begin = end;
  }
}

void OnlineConvolution::StepPiece(size_t mixer, size_t begin, size_t end,
                                  const float* x, float* y) noexcept {
  const Problem& problem = prepared_->plan().problem;
  const size_t width = problem.batch * problem.channels;
  const bool evaluated = EvaluatedAt(position_ + end) != nullptr;
  pool_->ParallelFor(
      problem.batch * groups_, 1,
      [&](size_t first_part, size_t last_part, size_t worker) {
        for (size_t part = first_part; part < last_part; ++part) {
          const size_t row = part % problem.batch;
          const size_t group = part / problem.batch;
          const size_t first = row * problem.channels + group * kLanes;
          const size_t lanes =
              std::min(kLanes, problem.channels - group * kLanes);
          const float* head =
              prepared_->filters().HeadTaps(mixer) + group * kHeadTaps * kLanes;
          const size_t history_group = HistoryGroup(mixer, row, group);
          for (size_t k = begin; k < end; ++k) {
            const size_t t = position_ + k;
            alignas(kCacheLineBytes) float line[kLanes] = {};
            std::copy_n(x + k * width + first, lanes, line);
            kernels_->red(line, head, 1, 0, TinyTile(t + 1),
                          view_.At(history_group, t), line);
            std::copy_n(line, lanes, y + k * width + first);
            if (!evaluated || k + 1 < end) {
              DueWork(history_group, history_group + 1, t + 1, worker);
            }
            if (deferred_ != nullptr) {
              deferred_->StepWhole(history_group, t + 1, worker);
            }
          }
        }
      });
}

void OnlineConvolution::AdvanceMany(size_t count) noexcept {
  position_ += count;
  if (deferred_ != nullptr && count != 0) deferred_->Took(position_);
}

void OnlineConvolution::Reset() noexcept {
  histories_.Zero();
  recent_.Zero();
  if (deferred_ != nullptr) deferred_->Reset();
  position_ = 0;
}

}  // namespace lcsm::conv
