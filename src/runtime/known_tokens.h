// States for sequences that are known from the start, of all lengths.
//
// A state made for many positions costs memory and time that a short sequence
// does not need, and a plan for another horizon may round otherwise. So the
// horizon here is a function of the length alone, the next power of two: what
// comes out for a sequence depends, in no bit, on which others there are.
//
// Thread safety: one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/thread_pool.h"
#include "lcsm/status.h"
#include "runtime/model.h"

namespace lcsm {

class KnownTokenStates {
 public:
  // `options` but for the horizon. `progress` is told of filters being
  // evaluated and may be empty. The model and pool must outlive this and the
  // states.
  KnownTokenStates(const Model& model, ThreadPool& pool, PrepareOptions options,
                   ModelState::Progress progress = {});

  // A state at position 0 with room for `positions`, valid until the next call.
  // Errors: more than the model takes, memory, kCancelled.
  StatusOr<ModelState*> For(size_t positions);

  // That of the last state. Precondition: there was one.
  const PreparedModel& prepared() const { return *last_; }

  // What For makes room for.
  static size_t Horizon(size_t positions, size_t max_length);

 private:
  struct Entry {
    size_t horizon;
    std::shared_ptr<const PreparedModel> prepared;
    std::unique_ptr<ModelState> state;
  };

  const Model& model_;
  ThreadPool& pool_;
  PrepareOptions options_;
  ModelState::Progress progress_;
  std::vector<Entry> entries_;
  const PreparedModel* last_ = nullptr;
};

}  // namespace lcsm
