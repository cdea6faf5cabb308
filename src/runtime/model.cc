#include "runtime/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/byte_text.h"

namespace lcsm {
namespace {

// Rows that have nothing in common.
class Forks : public BatchState {
 public:
  Forks(std::vector<std::unique_ptr<ModelState>> rows, size_t logits)
      : rows_(std::move(rows)), logits_(logits) {}

  size_t rows() const override { return rows_.size(); }
  void Step(const int32_t* tokens, float* logits) noexcept override {
    times_ = StepTimes();
    for (size_t r = 0; r < rows_.size(); ++r) {
      rows_[r]->Step(tokens[r], logits + r * logits_);
      const StepTimes& row = rows_[r]->times();
      times_.mixers += row.mixers;
      times_.blocks += row.blocks;
      times_.head += row.head;
    }
  }
  size_t position() const override { return rows_[0]->position(); }
  size_t StepRoom() const override { return rows_[0]->StepRoom(); }
  const StepTimes& times() const override { return times_; }

 private:
  const std::vector<std::unique_ptr<ModelState>> rows_;
  const size_t logits_;  // Of a row.
  StepTimes times_;
};

}  // namespace

StatusOr<size_t> LeftForPlan(const std::string& model, size_t others,
                             size_t limit) {
  if (others < limit) return limit - others;
  return InvalidInput(fmt::format(
      "{}: weights and activations alone take {}, and the memory limit is {}",
      model, ByteText(others), ByteText(limit)));
}

Status CheckOneExecutor(const std::string& model,
                        const PrepareOptions& options) {
  if (options.levels.empty()) return OkStatus();
  return InvalidInput(fmt::format(
      "{}: levels for {} executors of long convolutions were given, "
      "expected those for the one that it has",
      model, options.levels.size()));
}

StatusOr<std::unique_ptr<BatchState>> ModelState::Spread(size_t rows) const {
  std::vector<std::unique_ptr<ModelState>> forks;
  for (size_t r = 0; r < rows; ++r) {
    LCSM_ASSIGN_OR_RETURN(std::unique_ptr<ModelState> fork, Fork());
    forks.push_back(std::move(fork));
  }
  return std::unique_ptr<BatchState>(
      std::make_unique<Forks>(std::move(forks), padded_vocab()));
}

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
