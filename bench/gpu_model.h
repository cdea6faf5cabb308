// Whole models on a device: decode steps at chosen positions, with the host or
// the device sampling, and known tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "cuda/device.h"
#include "lcsm/status.h"
#include "runtime/model.h"

namespace lcsm::bench {

// Any tokens below `vocab`, and the logits of what follows each of them by
// steps of a new state, [tokens][padded_vocab]. Errors: the device's.
std::vector<int32_t> SomeTokens(size_t n, size_t vocab);
StatusOr<std::vector<float>> LogitsBySteps(const Model& model,
                                           ModelState& state,
                                           std::span<const int32_t> tokens);
// The largest difference. Error: one of more than 1e-4.
StatusOr<double> CompareLogits(std::span<const float> want,
                               std::span<const float> got);

struct GpuModelCase {
  std::string shape = "hyenadna-large-1m";  // Of hyena_synthetic.h.
  size_t horizon = size_t{1} << 17;
  std::vector<size_t> positions = {1024, size_t{1} << 16};
  size_t steps = 512;       // At each position.
  size_t score_tokens = 0;  // Known tokens with all logits; 0: none.
  // What the device was opened with (cuda::CudaOptions::overlap), to be told.
  bool launches_overlap = true;
};

// Answers are compared with the CPU's first (logits of a short text, by steps
// and by known tokens, within 1e-4). JSON: for each position microseconds a
// token (median, min, max of rounds) with the host sampling, with the device
// sampling, and without mixers; weights' bytes over that time; seconds of the
// known tokens, and of preparing for them. Errors: memory, the device's, a
// wrong answer.
StatusOr<nlohmann::ordered_json> MeasureGpuModel(
    const std::shared_ptr<cuda::Device>& device, const GpuModelCase& wanted);

}  // namespace lcsm::bench
