// Sequences that get a longer horizon than they were made for: their executors
// and mixers' states go on in those of a longer set.
#include <fmt/format.h>

#include <utility>

#include "mixers/mixer_set.h"

namespace lcsm {

Status PreparedMixers::CheckLonger(
    const std::vector<MixerSchedule::Group>& groups, size_t mixers,
    size_t horizon) const {
  const std::vector<MixerSchedule::Group>& before = schedule_.groups;
  bool same = mixers == size() && groups.size() == before.size();
  for (size_t g = 0; same && g < groups.size(); ++g) {
    const conv::Problem& a = groups[g].plan.problem;
    const conv::Problem& b = before[g].plan.problem;
    same = groups[g].mixers == before[g].mixers &&
           groups[g].phases == before[g].phases && a.channels == b.channels &&
           a.taps == b.taps && a.growable == b.growable;
  }
  if (!same) {
    return InvalidInput(
        "mixers were to grow from a set of others, expected the same ones that "
        "may grow to the same length");
  }
  if (horizon >= horizon_) return OkStatus();
  return InvalidInput(fmt::format(
      "mixers for {} positions were to grow to {}, expected at least as many",
      horizon_, horizon));
}

StatusOr<std::unique_ptr<MixerStates>> MixerStates::Grown(
    std::shared_ptr<const PreparedMixers> longer) const {
  LCSM_RETURN_IF_ERROR(prepared_->CheckLonger(
      longer->schedule().groups, longer->size(), longer->horizon()));
  if (rows_ != 1) {
    return Unsupported("several sequences together were to grow, expected one");
  }
  std::unique_ptr<MixerStates> grown(new MixerStates);
  grown->prepared_ = std::move(longer);
  grown->pool_ = pool_;
  for (size_t i = 0; i < convolutions_.size(); ++i) {
    const size_t group = grown->prepared_->executors_[i].group;
    LCSM_ASSIGN_OR_RETURN(
        std::unique_ptr<conv::OnlineConvolution> convolution,
        convolutions_[i]->Grown(grown->prepared_->groups_[group]));
    grown->convolutions_.push_back(std::move(convolution));
  }
  LCSM_RETURN_IF_ERROR(grown->MakeStates());
  for (size_t m = 0; m < states_.size(); ++m) {
    LCSM_RETURN_IF_ERROR(grown->states_[m]->GrowFrom(*states_[m]));
  }
  grown->position_ = position_;
  return grown;
}

}  // namespace lcsm
