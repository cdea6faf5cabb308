// What the contract of mixers costs over calling the executor of long
// convolutions directly, and what the generic tiling gains over lazy.
#pragma once

#include <cstddef>
#include <string>

#include "bench/timing.h"
#include "lcsm/status.h"

namespace lcsm::bench {

// Nanoseconds a token and channel.
struct ContractResult {
  Spread direct, contract;
  double ratio = 0;  // The median of contract / direct of runs side by side.
  std::string plan;
};
struct ContractCase {
  size_t channels = 256, mixers = 8, length = 65536, threads = 1, repeats = 5;
};
// `mixers` long convolutions in one executor, stepped over the whole length
// both ways, which take turns. Answers of the two are compared first, bit by
// bit: InternalError where they differ.
StatusOr<ContractResult> RunContract(const ContractCase& wanted);

struct TiledCase {
  size_t channels = 4, length = 65536, repeats = 3;
};
struct TiledResult {
  Spread tiled, lazy;
  double ratio = 0;  // Of the medians, lazy / tiled.
  double error = 0;  // Of tiled against lazy, at most.
};
// Max-plus convolution with concave filters, on one thread. InternalError where
// the two differ by more than rounding.
StatusOr<TiledResult> RunTiled(const TiledCase& wanted);

}  // namespace lcsm::bench
