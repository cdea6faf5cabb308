#include "runtime/known_tokens.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace lcsm {
namespace {

// Below this, preparing and resetting cost next to nothing.
constexpr size_t kMinHorizon = 256;

// States up to this are kept, one of each size: together they hold fewer than
// twice as many positions. Of larger ones there is one at a time, so that long
// sequences take no more memory together than the longest.
constexpr size_t kMaxKept = size_t{1} << 16;

}  // namespace

KnownTokenStates::KnownTokenStates(const Model& model, ThreadPool& pool,
                                   PrepareOptions options,
                                   ModelState::Progress progress)
    : model_(model),
      pool_(pool),
      options_(std::move(options)),
      progress_(std::move(progress)) {}

size_t KnownTokenStates::Horizon(size_t positions, size_t max_length) {
  if (positions > max_length) return positions;  // Prepare says what is wrong.
  return std::min(max_length, std::max(kMinHorizon, std::bit_ceil(positions)));
}

StatusOr<ModelState*> KnownTokenStates::For(size_t positions) {
  const size_t horizon = Horizon(positions, model_.info().max_length);
  auto found =
      std::find_if(entries_.begin(), entries_.end(),
                   [&](const Entry& e) { return e.horizon == horizon; });
  if (found != entries_.end()) {
    found->state->Reset();
    last_ = found->prepared.get();
    return found->state.get();
  }
  if (horizon > kMaxKept) {  // Before the new one asks for memory.
    std::erase_if(entries_,
                  [](const Entry& e) { return e.horizon > kMaxKept; });
  }
  PrepareOptions options = options_;
  options.horizon = horizon;
  Entry entry;
  entry.horizon = horizon;
  LCSM_ASSIGN_OR_RETURN(entry.prepared,
                        model_.Prepare(options, pool_, progress_));
  LCSM_ASSIGN_OR_RETURN(entry.state, entry.prepared->NewState(pool_));
  last_ = entry.prepared.get();
  entries_.push_back(std::move(entry));
  return entries_.back().state.get();
}

}  // namespace lcsm
