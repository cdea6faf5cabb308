#include "conv/tap_source.h"

#include <algorithm>

#include "kernels/lanes.h"

namespace lcsm::conv {
namespace {

// A bank of one mixer for the level that wants most.
Problem RoomOf(const Plan& plan) {
  Problem room;
  room.channels = plan.problem.channels;
  size_t taps = 0;
  for (const Level& level : plan.levels) {
    if (level.spectra != Spectra::kEvaluated) continue;
    taps = std::max(taps, TapsOfTile(plan.problem, level));
  }
  room.length = room.taps = taps;
  return room;
}

size_t ScratchFloats(const Plan& plan, size_t threads) {
  return threads * plan.problem.evaluation.scratch_floats;
}

}  // namespace

size_t TapsOfTile(const Problem& problem, const Level& level) {
  return std::min({problem.taps, problem.length, 2 * level.block});
}

size_t EvaluatedTaps::BytesFor(const Plan& plan, size_t threads) {
  if (!Evaluates(plan)) return 0;
  const Problem room = RoomOf(plan);
  return FilterBank::BytesFor(room, room.taps) +
         ScratchFloats(plan, threads) * sizeof(float);
}

StatusOr<std::unique_ptr<EvaluatedTaps>> EvaluatedTaps::Create(
    const Plan& plan, std::shared_ptr<const TapSource> source, size_t threads) {
  std::unique_ptr<EvaluatedTaps> taps(new EvaluatedTaps);
  taps->problem_ = plan.problem;
  taps->source_ = std::move(source);
  LCSM_ASSIGN_OR_RETURN(taps->bank_, FilterBank::Create(RoomOf(plan)));
  LCSM_ASSIGN_OR_RETURN(
      taps->scratch_,
      FloatBuffer::Allocate(ScratchFloats(plan, threads),
                            "scratch memory of the filters' networks"));
  return taps;
}

void EvaluatedTaps::Evaluate(size_t mixer, const Level& level,
                             ThreadPool& pool) noexcept {
  const size_t taps = TapsOfTile(problem_, level);
  const size_t floats = problem_.evaluation.scratch_floats;
  constexpr size_t kLags = kLagsAtATime;
  pool.ParallelFor((taps + kLags - 1) / kLags, 1,
                   [&](size_t begin, size_t end, size_t worker) {
                     float* const scratch = scratch_.data() + worker * floats;
                     for (size_t first = begin * kLags;
                          first < std::min(taps, end * kLags); first += kLags) {
                       source_->Evaluate(mixer, first,
                                         std::min(kLags, taps - first), scratch,
                                         *bank_);
                     }
                   });
  source_->Rest(mixer, taps);
}

}  // namespace lcsm::conv
