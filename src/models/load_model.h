// The one door to all model families.
#pragma once

#include <filesystem>
#include <memory>

#include "kernels/dense_weights.h"
#include "lcsm/status.h"
#include "runtime/model.h"

namespace lcsm {

// Reads `folder`/config.json, recognises the family, maps the weights
// (model.safetensors, or model.safetensors.index.json and its shards) and binds
// them. Errors, one sentence each: missing or damaged files, a family or an
// option that is not supported, tensors that are missing, misshapen or not
// finite, a config that contradicts them. A folder that holds only an original
// checkpoint is told about `lcsm convert`. `format` is that of the matrices of
// blocks in memory, whatever the file's.
StatusOr<std::shared_ptr<const Model>> LoadModel(
    const std::filesystem::path& folder,
    WeightFormat format = WeightFormat::kFloat32);

}  // namespace lcsm
