// Whole models on a device: decode steps at chosen positions, with the host or
// the device sampling, and known tokens.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cuda/device.h"
#include "lcsm/status.h"

namespace lcsm::bench {

struct GpuModelCase {
  std::string shape = "hyenadna-large-1m";  // Of hyena_synthetic.h.
  size_t horizon = size_t{1} << 17;
  std::vector<size_t> positions = {1024, size_t{1} << 16};
  size_t steps = 512;       // At each position.
  size_t score_tokens = 0;  // Known tokens with all logits; 0: none.
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
