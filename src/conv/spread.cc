// One row of a session becomes many.
#include <algorithm>

#include "conv/layout.h"
#include "conv/online_convolution.h"

namespace lcsm::conv {

StatusOr<std::shared_ptr<const PreparedConvolution>>
PreparedConvolution::ForBatch(size_t rows) const {
  Problem problem = plan_.problem;
  problem.batch = rows;
  std::shared_ptr<PreparedConvolution> prepared(new PreparedConvolution);
  LCSM_RETURN_IF_ERROR(CheckProblem(problem));
  prepared->plan_ = plan_;
  prepared->plan_.problem = problem;
  prepared->filters_ = filters_;
  prepared->source_ = source_;
  prepared->ops_ = ops_;
  return std::shared_ptr<const PreparedConvolution>(std::move(prepared));
}

StatusOr<std::unique_ptr<OnlineConvolution>> OnlineConvolution::Spread(
    size_t rows) const {
  const Plan& plan = prepared_->plan();
  if (plan.problem.batch != 1) {
    return Unsupported(
        "only a convolution of one row can be spread over several");
  }
  LCSM_ASSIGN_OR_RETURN(
      const std::shared_ptr<const PreparedConvolution> prepared,
      prepared_->ForBatch(rows));
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<OnlineConvolution> batch,
                        Create(prepared, *pool_));
  // A tile that is open stands at some piece of some history, with more of it
  // in scratch memory. Whole it is outputs alone, which are wanted later: what
  // is done of it by now shows in no bit.
  if (deferred_ != nullptr) {
    deferred_->Finish();
    batch->deferred_->SpreadFrom(*deferred_);
  }
  // Rows are neighbours within a group.
  const size_t histories = HistoryGroups(plan.problem);
  const auto spread = [&](const FloatBuffer& from, FloatBuffer& to) {
    const size_t each = from.size() / histories;
    for (size_t h = 0; h < histories; ++h) {
      for (size_t row = 0; row < rows; ++row) {
        std::copy_n(from.data() + h * each, each,
                    to.data() + (h * rows + row) * each);
      }
    }
  };
  spread(histories_, batch->histories_);
  spread(recent_, batch->recent_);
  for (size_t k = 0; k < kept_.size(); ++k) spread(kept_[k], batch->kept_[k]);
  batch->position_ = position_;
  return batch;
}

}  // namespace lcsm::conv
