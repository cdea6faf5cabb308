// Sessions that get a longer horizon than they were made for.
//
// What a session of the longer plan would hold at this position is a function
// of the inputs alone: of each level the tile that covers the coming outputs,
// and the spectra of the blocks that later tiles will meet. Both are made by
// the very calls that would have made them, in the same order, so that nobody
// can tell afterwards, by any bit, that the session has grown.
#include <fmt/format.h>

#include <algorithm>
#include <cassert>

#include "conv/layout.h"
#include "conv/online_convolution.h"
#include "conv/tiny_levels.h"

namespace lcsm::conv {
namespace {

// Taps that spectra of a plan for this problem may hold.
size_t TapsOf(const Problem& problem) {
  return std::min(problem.taps, problem.length);
}

}  // namespace

std::shared_ptr<const LevelOp> PreparedConvolution::Find(
    const Problem& problem, const Level& level) const {
  const auto same = std::find(plan_.levels.begin(), plan_.levels.end(), level);
  if (same == plan_.levels.end()) return nullptr;
  const auto& op = ops_[static_cast<size_t>(same - plan_.levels.begin())];
  switch (level.tau) {
    case Tau::kDirect:
    case Tau::kDirectBlocked:
      return op;  // Knows nothing but its block.
    case Tau::kFftPast:
    case Tau::kHybrid:
      return nullptr;  // Spectra for every length of the past.
    case Tau::kFftLibrary:
    case Tau::kFftFused:
      break;
  }
  const Slices here = SlicesOf(plan_.problem, level);
  const Slices there = SlicesOf(problem, level);
  if (here.first != there.first || here.count != there.count ||
      SlotsOf(plan_.problem, level) != SlotsOf(problem, level)) {
    return nullptr;
  }
  // Slice d ends with tap (d + 1) U, which must not be one that was cut off.
  const size_t end = (here.first + here.count) * level.block;
  const size_t taps = TapsOf(plan_.problem);
  if (taps != TapsOf(problem) && end > taps) return nullptr;
  return op;
}

Status OnlineConvolution::Reserve(
    std::shared_ptr<const PreparedConvolution> longer) {
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<OnlineConvolution> grown,
                        Grown(std::move(longer)));
  *this = std::move(*grown);
  return OkStatus();
}

StatusOr<std::unique_ptr<OnlineConvolution>> OnlineConvolution::Grown(
    std::shared_ptr<const PreparedConvolution> longer) const {
  const Problem& from = prepared_->plan().problem;
  const Problem& to = longer->plan().problem;
  if (from.mixers != to.mixers || from.channels != to.channels ||
      from.batch != to.batch) {
    return InvalidInput(fmt::format(
        "a convolution of {} mixers, {} channels and {} rows was given a plan "
        "for {}, {} and {} to grow by",
        from.mixers, from.channels, from.batch, to.mixers, to.channels,
        to.batch));
  }
  if (to.length < from.length) {
    return InvalidInput(fmt::format(
        "a convolution for {} positions was given a plan for {} to grow by, "
        "expected at least as many",
        from.length, to.length));
  }
  if (Evaluates(longer->plan())) {
    return Unsupported(fmt::format(
        "a convolution cannot grow by the plan '{}', which evaluates taps "
        "while it runs",
        longer->plan().Print()));
  }
  if (from.primed) {
    return InvalidInput(
        "a convolution that starts with contributions of earlier inputs cannot "
        "grow: what those inputs add to later positions is not known here");
  }
  if (position_ != 0 && view_.ring < from.length) {
    return InvalidInput(fmt::format(
        "the convolution keeps its last {} inputs only, and to grow it needs "
        "all {}; make it for a problem that says it is growable",
        view_.ring, position_));
  }
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<OnlineConvolution> grown,
                        Create(std::move(longer), *pool_));
  LCSM_RETURN_IF_ERROR(grown->Rebuild(view_, position_));
  return grown;
}

Status OnlineConvolution::Rebuild(const HistoryView& inputs, size_t position) {
  const Plan& plan = prepared_->plan();
  position_ = position;
  if (position == 0) return OkStatus();
  size_t lines = kTinyLevels + 2;
  for (const Level& level : plan.levels) {
    if (level.serves != Serves::kDistant) {
      lines = std::max(lines, std::min(level.block, plan.problem.length));
    }
  }
  LCSM_ASSIGN_OR_RETURN(
      FloatBuffer room,
      FloatBuffer::Allocate(pool_->NumThreads() * lines * kLanes,
                            "tiles done anew"));
  pool_->ParallelFor(HistoryGroups(plan.problem), 1,
                     [&](size_t begin, size_t end, size_t worker) {
                       for (size_t h = begin; h < end; ++h) {
                         RebuildHistory(h, inputs,
                                        room.data() + worker * lines * kLanes,
                                        worker);
                       }
                     });
  if (deferred_ != nullptr) deferred_->Took(position);
  return OkStatus();
}

void OnlineConvolution::RebuildHistory(size_t h, const HistoryView& inputs,
                                       float* room, size_t worker) noexcept {
  const Plan& plan = prepared_->plan();
  // Of a ring, the block that fills and those before it whose lines have not
  // been cleared for outputs.
  size_t first = 0;
  if (view_.ring < plan.problem.length) {
    const size_t top = plan.levels.back().block;
    const size_t blocks = view_.ring / top;
    const size_t filling = position_ / top;
    first = filling + 1 > blocks ? (filling + 1 - blocks) * top : 0;
  }
  for (size_t t = first; t < position_; ++t) {
    std::copy_n(inputs.At(h, t), kLanes, view_.At(h, t));
  }
  if (position_ >= plan.problem.length) return;
  if (plan.method == Method::kLazy) Gather(h, h + 1, position_);
  if (plan.method == Method::kEager) RebuildEager(h, inputs);
  if (deferred_ != nullptr) {
    deferred_->Rebuild(h, inputs, position_, worker);
  }
  // An output takes in the tiles of large levels first, and what distant ones
  // left when its kLines begin: before the tile that falls due there.
  const size_t begin = position_ / DeferredWork::kLines * DeferredWork::kLines;
  bool added = deferred_ == nullptr;
  const auto add = [&] {
    if (added) return;
    added = true;
    const size_t end =
        std::min(begin + DeferredWork::kLines, plan.problem.length);
    deferred_->AddOutputs(h, position_, end - position_,
                          view_.At(h, position_));
  };
  for (size_t k = plan.levels.size(); k-- > 0;) {
    const Level& level = plan.levels[k];
    if (level.serves == Serves::kDistant) continue;
    if (position_ / level.block * level.block >= begin) add();
    RebuildLevel(k, h, inputs, room, worker);
  }
  add();
}

void OnlineConvolution::RebuildEager(size_t h,
                                     const HistoryView& inputs) noexcept {
  const FilterBank& filters = prepared_->filters();
  const size_t coming = prepared_->plan().problem.length - position_;
  const float* const taps =
      filters.FlatGroup(h / prepared_->plan().problem.batch);
  float* const outputs = view_.At(h, position_);
  float* const recent = recent_.data() + (outputs - histories_.data());
  // As in Scatter, but for outputs that were given long ago.
  for (size_t r = 1; r <= position_; ++r) {
    const size_t skipped = std::min(position_ - r, filters.taps());
    kernels_->scatter(inputs.At(h, r - 1), taps + skipped * kLanes,
                      filters.taps() - skipped, coming, recent);
    const size_t lines = r % kSumBlock == 0 ? coming : r == position_ ? 1 : 0;
    for (size_t i = 0; i < lines * kLanes; ++i) outputs[i] += recent[i];
    std::fill_n(recent, lines * kLanes, 0.0f);
  }
}

void OnlineConvolution::RebuildLevel(size_t k, size_t h,
                                     const HistoryView& inputs, float* room,
                                     size_t worker) noexcept {
  const Plan& plan = prepared_->plan();
  const Problem& problem = plan.problem;
  const Level& level = plan.levels[k];
  const size_t target = position_ / level.block;
  const size_t r = target * level.block;
  // A tile of a larger level fell due instead, or none yet: then no spectra of
  // this one are wanted either.
  if (r == 0 || DueLevel(plan.levels, r) != k) return;
  if (folds_tiny_ && k < kTinyLevels) {
    RebuildTiny(r, h, inputs, room);
    return;
  }
  const LevelOp& op = *prepared_->ops()[k];
  LevelScratch& scratch = scratch_[worker * plan.levels.size() + k];
  scratch.remade_for = SIZE_MAX;
  LevelJob job;
  job.filter_group = h / problem.batch;
  job.kept = kept_[k].data() + h * (kept_[k].size() / HistoryGroups(problem));
  job.out = room;
  const auto apply = [&](size_t block) {
    job.tile = TileAt(problem, level, block * level.block);
    if (job.tile.terms == 0) return;
    if (block != target) job.tile.outputs = 1;  // For its spectrum alone.
    job.newest = inputs.At(h, job.tile.newest * level.block);
    op.Apply(prepared_->filters(), job, scratch);
  };
  if (const size_t slots = SlotsOf(problem, level); slots != 0) {
    const size_t child =
        level.radix == Level::kToTheEnd ? target : target % level.radix;
    // Pairs of tiles hand a sum on, so the first is an even one.
    const size_t before = child > slots + 2 ? (child - slots - 1) / 2 * 2 : 1;
    for (size_t c = before; c < child; ++c) apply(target - child + c);
  }
  // The tile adds to what larger ones left; of its outputs those before the
  // position were given, and inputs stand in their lines.
  const size_t lines = std::min(level.block, problem.length - r);
  const size_t given = position_ - r;
  float* const out = view_.At(h, position_);
  std::fill_n(room, given * kLanes, 0.0f);
  std::copy_n(out, (lines - given) * kLanes, room + given * kLanes);
  apply(target);
  std::copy_n(room + given * kLanes, (lines - given) * kLanes, out);
}

void OnlineConvolution::RebuildTiny(size_t r, size_t h,
                                    const HistoryView& inputs,
                                    float* room) noexcept {
  const Problem& problem = prepared_->plan().problem;
  const size_t filter_group = h / problem.batch;
  const float* const head =
      prepared_->filters().HeadTaps(filter_group / groups_) +
      filter_group % groups_ * kHeadTaps * kLanes;
  // Lines r - 2 to r + 1, as the pass over the red cells of r - 1 met them.
  std::fill_n(room, 4 * kLanes, 0.0f);
  if (r >= 2) std::copy_n(inputs.At(h, r - 2), kLanes, room);
  const size_t given = position_ - r;  // 0 or 1.
  const size_t lines = std::min(kTinyLevels, problem.length - r) - given;
  float* const out = view_.At(h, position_);
  float* const coming = room + (2 + given) * kLanes;
  std::copy_n(out, lines * kLanes, coming);
  alignas(kCacheLineBytes) float line[kLanes];
  std::copy_n(inputs.At(h, r - 1), kLanes, line);
  kernels_->red(line, head, 1, 0, TinyTile(r), room + kLanes, line);
  std::copy_n(coming, lines * kLanes, out);
}

}  // namespace lcsm::conv
