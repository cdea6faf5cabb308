#include "conv/deferred.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

#include "conv/layout.h"

namespace lcsm::conv {

StatusOr<std::unique_ptr<DeferredWork>> DeferredWork::Create(
    const Plan& plan, const std::vector<std::shared_ptr<const LevelOp>>& ops,
    const FilterBank& filters, const HistoryView& histories,
    const std::vector<float*>& kept, ThreadPool& pool) {
  std::unique_ptr<DeferredWork> work(new DeferredWork(plan.problem));
  work->histories_ = histories;
  work->filters_ = &filters;
  work->pool_ = &pool;
  size_t floats = 0;
  for (size_t k = 0; k < plan.levels.size(); ++k) {
    const Level& level = plan.levels[k];
    if (level.serves != Serves::kDistant ||
        SlicesOf(plan.problem, level).count == 0) {
      continue;
    }
    work->levels_.push_back({level, static_cast<const SlicedOp*>(ops[k].get()),
                             kept[k], KeptFloats(plan.problem, level), 0,
                             Tile()});
    floats += ScratchFloats(plan.problem, level);
  }
  const size_t threads = pool.NumThreads();
  LCSM_ASSIGN_OR_RETURN(
      work->scratch_,
      FloatBuffer::Allocate(threads * floats, "deferred tiles"));
  const size_t all = HistoryGroups(plan.problem);
  float* scratch = work->scratch_.data();
  for (size_t p = 0; p < threads; ++p) {
    Part part;
    part.first_history = all * p / threads;
    part.last_history = all * (p + 1) / threads;
    for (const OneLevel& one : work->levels_) {
      part.scratch.push_back(scratch);
      part.done.push_back(0);
      scratch += ScratchFloats(plan.problem, one.level);
    }
    work->parts_.push_back(std::move(part));
  }
  return work;
}

LevelJob DeferredWork::Job(const OneLevel& one, const Tile& tile,
                           size_t history) const noexcept {
  LevelJob job;
  job.filter_group = history / problem_.batch;
  job.tile = tile;
  job.newest = histories_.At(history, tile.newest * one.level.block);
  job.kept = one.kept + history * one.kept_stride;
  job.out = job.kept + OutputOffset(problem_, one.level, tile.target);
  return job;
}

size_t DeferredWork::Goal(size_t l, size_t share, size_t of,
                          const Part& part) const noexcept {
  const OneLevel& one = levels_[l];
  const size_t histories = part.last_history - part.first_history;
  const size_t pieces = one.op->NumPieces();
  if (share >= of) return histories * pieces;
  // In double: the product may pass 64 bits, and a share that is off by a few
  // units of work still ends at the total.
  const uint64_t work = one.op->Work(one.tile.terms);
  const double goal = static_cast<double>(work) *
                      static_cast<double>(histories) *
                      static_cast<double>(share) / static_cast<double>(of);
  const double whole = std::floor(goal / static_cast<double>(work));
  const double rest = std::max(0.0, goal - whole * static_cast<double>(work));
  return static_cast<size_t>(whole) * pieces +
         one.op->PiecesIn(static_cast<uint64_t>(rest), one.tile.terms);
}

void DeferredWork::Run(size_t l, size_t share, size_t of, Part& part) noexcept {
  const OneLevel& one = levels_[l];
  if (one.tile.terms == 0) return;
  const size_t pieces = one.op->NumPieces();
  const size_t goal = Goal(l, share, of, part);
  size_t& done = part.done[l];
  while (done < goal) {
    const LevelJob job = Job(one, one.tile, part.first_history + done / pieces);
    const size_t begin = done % pieces;
    const size_t end = std::min(pieces, begin + (goal - done));
    for (size_t piece = begin; piece < end; ++piece) {
      one.op->Piece(piece, job, part.scratch[l]);
    }
    done += end - begin;
  }
}

void DeferredWork::RunAll(size_t known, bool to_the_end) noexcept {
  pool_->ParallelFor(parts_.size(), 1, [&](size_t begin, size_t end, size_t) {
    for (size_t p = begin; p < end; ++p) {
      for (size_t l = 0; l < levels_.size(); ++l) {
        const size_t block = levels_[l].level.block;
        const size_t share = known - levels_[l].begun + 1;
        Run(l, to_the_end ? block : share, block, parts_[p]);
      }
    }
  });
}

void DeferredWork::Step(size_t known) noexcept {
  bool open = false;
  for (size_t l = 0; l < levels_.size(); ++l) {
    OneLevel& one = levels_[l];
    if (known % one.level.block == 0) {
      one.begun = known;
      one.tile = TileAt(problem_, one.level, known);
      for (Part& part : parts_) part.done[l] = 0;
    }
    open |= one.tile.terms != 0;
  }
  if (open) RunAll(known, false);
}

void DeferredWork::Finish() noexcept { RunAll(0, true); }

void DeferredWork::StepWhole(size_t history, size_t known,
                             size_t worker) noexcept {
  for (size_t l = 0; l < levels_.size(); ++l) {
    const OneLevel& one = levels_[l];
    if (known % one.level.block != 0) continue;
    const Tile tile = TileAt(problem_, one.level, known);
    if (tile.terms == 0) continue;
    RunWhole(l, Job(one, tile, history), worker);
  }
}

void DeferredWork::RunWhole(size_t l, const LevelJob& job,
                            size_t worker) noexcept {
  const SlicedOp& op = *levels_[l].op;
  for (size_t piece = 0; piece < op.NumPieces(); ++piece) {
    op.Piece(piece, job, parts_[worker].scratch[l]);
  }
}

void DeferredWork::Rebuild(size_t history, const HistoryView& inputs,
                           size_t position, size_t worker) noexcept {
  for (size_t l = 0; l < levels_.size(); ++l) {
    const OneLevel& one = levels_[l];
    const size_t block = one.level.block;
    const size_t complete = position / block;
    // Wanted are the outputs of the last two tiles, and the spectra that those
    // and later ones read: older tiles would only be written over.
    const size_t wanted = SlotsOf(problem_, one.level) + 1;
    for (size_t k = complete > wanted ? complete - wanted : 1; k <= complete;
         ++k) {
      const Tile tile = TileAt(problem_, one.level, k * block);
      if (tile.terms == 0) continue;
      LevelJob job = Job(one, tile, history);
      job.newest = inputs.At(history, tile.newest * block);
      RunWhole(l, job, worker);
    }
  }
}

void DeferredWork::Took(size_t known) noexcept {
  for (OneLevel& one : levels_) {
    const size_t begun = known / one.level.block * one.level.block;
    if (begun == one.begun && begun != 0) continue;  // Open or done as it was.
    one.begun = begun;
    one.tile = Tile();
  }
}

void DeferredWork::AddOutputs(size_t history, size_t position, size_t count,
                              float* acc) const noexcept {
  for (const OneLevel& one : levels_) {
    const size_t block = one.level.block;
    const size_t target = position / block;
    if (target < 2 ||
        TileAt(problem_, one.level, (target - 1) * block).terms == 0) {
      continue;
    }
    const float* out = one.kept + history * one.kept_stride +
                       OutputOffset(problem_, one.level, target) +
                       position % block * kLanes;
    for (size_t i = 0; i < count * kLanes; ++i) acc[i] += out[i];
  }
}

void DeferredWork::PretendPosition(size_t position) noexcept {
  for (size_t l = 0; l < levels_.size(); ++l) {
    OneLevel& one = levels_[l];
    const size_t block = one.level.block;
    one.begun = position / block * block;
    one.tile = TileAt(problem_, one.level, one.begun);
    for (Part& part : parts_) {
      part.done[l] = Goal(l, position - one.begun + 1, block, part);
    }
  }
}

void DeferredWork::CopyFrom(const DeferredWork& other) noexcept {
  for (size_t l = 0; l < levels_.size(); ++l) {
    levels_[l].begun = other.levels_[l].begun;
    levels_[l].tile = other.levels_[l].tile;
  }
  for (size_t p = 0; p < parts_.size(); ++p) {
    std::copy(other.parts_[p].done.begin(), other.parts_[p].done.end(),
              parts_[p].done.begin());
  }
  std::copy_n(other.scratch_.data(), scratch_.size(), scratch_.data());
}

void DeferredWork::SpreadFrom(const DeferredWork& one) noexcept {
  for (size_t l = 0; l < levels_.size(); ++l) {
    levels_[l].begun = one.levels_[l].begun;
    levels_[l].tile = one.levels_[l].tile;
    for (Part& part : parts_) part.done[l] = Goal(l, 1, 1, part);
  }
}

Status DeferredWork::Save(io::SectionWriter& writer) noexcept {
  Finish();
  for (const OneLevel& one : levels_) {
    const uint64_t numbers[] = {one.begun, one.tile.terms != 0};
    LCSM_RETURN_IF_ERROR(
        writer.PutArray(kSection, std::span<const uint64_t>(numbers)));
  }
  return OkStatus();
}

Status DeferredWork::Load(io::SectionReader& reader) noexcept {
  for (size_t l = 0; l < levels_.size(); ++l) {
    OneLevel& one = levels_[l];
    uint64_t numbers[2] = {};
    LCSM_RETURN_IF_ERROR(
        reader.GetArray(kSection, std::span<uint64_t>(numbers)));
    if (numbers[0] > problem_.length || numbers[0] % one.level.block != 0) {
      return InvalidInput(reader.name() +
                          ": a deferred level stands where it cannot, expected "
                          "a multiple of its block");
    }
    one.begun = numbers[0];
    one.tile = numbers[1] != 0 && one.begun != 0
                   ? TileAt(problem_, one.level, one.begun)
                   : Tile();
    for (Part& part : parts_) part.done[l] = Goal(l, 1, 1, part);
  }
  return OkStatus();
}

void DeferredWork::Reset() noexcept {
  for (OneLevel& one : levels_) {
    one.begun = 0;
    one.tile = Tile();
  }
}

}  // namespace lcsm::conv
