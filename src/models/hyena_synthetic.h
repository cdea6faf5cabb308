// Hyena models of published shapes with random weights, for benchmarks and
// tests: the cost of a step depends on shapes alone.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/dense_weights.h"
#include "lcsm/status.h"
#include "models/hyena_config.h"
#include "runtime/model.h"

namespace lcsm {

// "hyenadna-tiny-1k", "hyenadna-tiny-1k-d256", "hyenadna-tiny-16k",
// "hyenadna-small-32k", "hyenadna-medium-160k", "hyenadna-medium-450k",
// "hyenadna-large-1m", "hyena-150m".
std::vector<std::string> SyntheticShapes();

// Error: an unknown shape, answered with the list of known ones.
StatusOr<HyenaConfig> SyntheticConfig(const std::string& shape);

// Weights from a fixed generator: the same seed gives the same model
// everywhere. Error: an unknown shape, memory.
StatusOr<std::shared_ptr<const Model>> MakeSyntheticModel(
    const std::string& shape, uint64_t seed,
    WeightFormat format = WeightFormat::kFloat32);

// The same for any shape.
StatusOr<std::shared_ptr<const Model>> MakeSyntheticModel(
    const HyenaConfig& config, const std::string& name, uint64_t seed,
    WeightFormat format = WeightFormat::kFloat32);

}  // namespace lcsm
