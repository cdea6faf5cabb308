// What a run would take, told before it starts.
#pragma once

#include <string>

#include "lcsm/status.h"
#include "runtime/model.h"

namespace lcsm::cli {

// Bytes of a run over prepare.horizon positions, and seconds: of the mixers as
// tuning foretells them (without tuning there is none), of everything else as
// a few steps without mixers show here and now. `samples` such runs, at most
// `batch` side by side.
StatusOr<std::string> DryRun(const Model& model, const PrepareOptions& prepare,
                             size_t samples, size_t batch);

}  // namespace lcsm::cli
