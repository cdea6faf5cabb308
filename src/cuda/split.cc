#include "cuda/split.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/lanes.h"

namespace lcsm::cuda {

StatusOr<Split> MakeSplit(const SplitProblem& problem, size_t ranks) {
  if (ranks == 0 || problem.rows == 0 || problem.channels == 0 ||
      problem.inner == 0) {
    return InvalidInput(fmt::format(
        "a model of {} rows, {} channels and an MLP of {} cannot be split "
        "among {} devices, expected at least one of each",
        problem.rows, problem.channels, problem.inner, ranks));
  }
  Split split;
  split.parts = std::min(ranks, problem.rows);
  while (ranks % split.parts != 0) --split.parts;
  split.ranks_in_part = ranks / split.parts;
  const size_t groups = GroupsFor(problem.channels);
  const size_t inner_groups = GroupsFor(problem.inner);
  if (split.ranks_in_part > std::min(groups, inner_groups)) {
    const bool inner = inner_groups < groups;
    return InvalidInput(fmt::format(
        "{} devices are more than the {} groups of {} channels that {} of {} "
        "can be shared out in",
        split.ranks_in_part, inner ? inner_groups : groups, kLanes,
        inner ? "an MLP" : "a width",
        inner ? problem.inner : problem.channels));
  }
  const auto bound = [](size_t n, size_t k, size_t of) { return n * k / of; };
  for (size_t rank = 0; rank < ranks; ++rank) {
    const size_t k = rank % split.ranks_in_part, of = split.ranks_in_part;
    Share share;
    share.part = rank / of;
    share.leads = k == 0;
    share.first_row = bound(problem.rows, share.part, split.parts);
    share.rows =
        bound(problem.rows, share.part + 1, split.parts) - share.first_row;
    share.first_channel = bound(groups, k, of) * kLanes;
    share.channels =
        std::min(problem.channels, bound(groups, k + 1, of) * kLanes) -
        share.first_channel;
    share.first_inner = bound(inner_groups, k, of) * kLanes;
    share.inner =
        std::min(problem.inner, bound(inner_groups, k + 1, of) * kLanes) -
        share.first_inner;
    split.shares.push_back(share);
    split.floats_a_sum =
        std::max(split.floats_a_sum, share.rows * problem.channels);
  }
  split.sums = split.ranks_in_part == 1 ? 0 : 2 * problem.layers + 1;
  if (split.sums == 0) split.floats_a_sum = 0;
  return split;
}

}  // namespace lcsm::cuda
