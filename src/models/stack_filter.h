// Filters of a description, bound to their tensors.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "lcsm/status.h"
#include "mixers/diagonal_ssm.h"
#include "mixers/long_convolution.h"
#include "models/stack_description.h"
#include "models/stack_tensors.h"

namespace lcsm {

struct BoundFilter {
  // Taps per channel; MixerConvolutions::kEndless for what never ends.
  size_t taps = 0;
  // Null where there are modes.
  LongConvolution::TapSource source;
  // Without a skip.
  std::optional<DiagonalModes> modes;
};

// `stored` says which channel of the file's each of ours is; empty: the same.
// Errors: tensors missing or misshapen, poles or kernels that are none.
StatusOr<BoundFilter> BindFilter(const StackFilter& filter,
                                 const std::string& where, size_t channels,
                                 const std::vector<size_t>& stored,
                                 StackTensors& tensors);

}  // namespace lcsm
