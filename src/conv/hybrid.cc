#include "conv/hybrid.h"

namespace lcsm::conv {
namespace {

// Blocks from here on are transformed, smaller ones are blocked direct sums.
constexpr size_t kFirstTransformed = 32;

}  // namespace

Tau HybridTau(size_t block) {
  return block >= kFirstTransformed ? Tau::kFftFused : Tau::kDirectBlocked;
}

}  // namespace lcsm::conv
