// Public execution options in the engine's words.
#pragma once

#include "conv/plan.h"
#include "lcsm/options.h"
#include "lcsm/status.h"

namespace lcsm::api {

// Checks all of `options`. Errors: an enumerator that is none, a tau for a
// method without tiles, more threads than a pool takes.
StatusOr<conv::PlanOptions> ToPlanOptions(const ExecutionOptions& options);

// Runs `body`, which gives a Status or StatusOr, and turns what it throws (only
// the standard library running out of memory can) into that.
template <typename Body>
auto NoThrow(Body&& body) noexcept -> decltype(body()) {
  try {
    return body();
  } catch (...) {
    return ResourceExhausted("out of memory");
  }
}

}  // namespace lcsm::api
