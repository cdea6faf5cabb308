// For tests: a Hyena model in float64, written from model-formats.md with
// nothing but loops over definitions. The oracle.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "models/hyena_config.h"
#include "models/hyena_weights.h"

namespace lcsm {

struct TestTensor {
  std::vector<size_t> shape;
  std::vector<float> values;
};
using TestTensors = std::map<std::string, TestTensor>;

// Hands out the tensors of a map, which must outlive it.
std::unique_ptr<TensorSource> MakeMapSource(const TestTensors* tensors);

// Random tensors of a model of this shape under their canonical names, without
// positions, decays and head.
TestTensors RandomTensors(const HyenaConfig& config, uint64_t seed);

// Filter h[n][channel] of one layer for n < count, without skip.
std::vector<double> ReferenceFilter(const HyenaConfig& config,
                                    const TestTensors& tensors, size_t layer,
                                    size_t count);

// Logits [T][padded_vocab] of a whole sequence.
std::vector<double> ReferenceLogits(const HyenaConfig& config,
                                    const TestTensors& tensors,
                                    const std::vector<int32_t>& tokens);

}  // namespace lcsm
