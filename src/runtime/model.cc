#include "runtime/model.h"

#include <algorithm>
#include <utility>

namespace lcsm {

Status ModelState::PrefillBranches(
    std::span<const int32_t> trunk,
    std::span<const std::span<const int32_t>> branches,
    const BranchRequest& request) {
  size_t all = trunk.size(), longest = 0;
  for (const auto& branch : branches) {
    all += branch.size();
    longest = std::max(longest, branch.size());
  }
  size_t done = 0;
  const auto take = [&](ModelState& state, size_t which,
                        std::span<const int32_t> tokens, size_t following) {
    PrefillRequest part;
    part.following = following;
    part.on_logits = [&](size_t position, std::span<const float> logits) {
      return request.on_logits(which, position, logits);
    };
    if (request.progress) {
      part.progress = [&](double share) {
        return request.progress((static_cast<double>(done) +
                                 share * static_cast<double>(tokens.size())) /
                                static_cast<double>(all));
      };
    }
    Status status = state.Prefill(tokens, part);
    done += tokens.size();
    return status;
  };
  LCSM_RETURN_IF_ERROR(take(*this, BranchRequest::kTrunk, trunk, longest));
  for (size_t i = 0; i < branches.size(); ++i) {
    if (branches[i].empty()) continue;
    LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<ModelState> fork, Fork());
    LCSM_RETURN_IF_ERROR(take(*fork, i, branches[i], 0));
  }
  return OkStatus();
}

}  // namespace lcsm
