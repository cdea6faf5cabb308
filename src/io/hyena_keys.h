// Names of Hyena weights: every published flavour to the plain model's own
// ("canonical") names, e.g. backbone.layers.0.mixer.in_proj.weight.
//
// Thread safety: pure functions.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lcsm/status.h"

namespace lcsm::io {

struct KeyPlan {
  struct Kept {
    size_t index;      // Into the keys given.
    std::string name;  // Canonical.
  };
  struct Dropped {
    std::string key;
    std::string why;
  };
  std::vector<Kept> kept;  // In the order of the keys given.
  std::vector<Dropped> dropped;
};

// Strips the wrappers of training frameworks ("model.", "hyena.",
// ".mixer.layer.", ".mlp.layer."), renames what older safari and H3 files call
// otherwise, moves their norms (which stood after a sub-layer, not before the
// next) and drops what is no part of the language model or of a sequence
// classifier's head (score.weight, head.output_transform.weight and .bias).
// `file` is for messages only. Errors: two keys for one name, norms of the old
// placement that do not add up, no key of a Hyena model at all.
StatusOr<KeyPlan> CanonicalHyenaKeys(const std::vector<std::string>& keys,
                                     const std::string& file);

}  // namespace lcsm::io
