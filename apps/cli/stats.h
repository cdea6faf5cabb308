// Figures of a run of `lcsm generate`: for --stats as JSON, for a person as two
// lines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "lcsm/status.h"

namespace lcsm::cli {

struct RunFigures {
  std::string model, model_hash;
  std::string method, tau, schedule;  // As asked for; the plan says what came.
  std::string plan;
  std::string weights;  // Format of the matrices of blocks.
  std::string simd_target;
  size_t threads = 0;
  uint64_t seed = 0;
  size_t samples = 0;
  size_t prompt_tokens = 0;
  std::string finish_reason;  // Of the last sample.

  size_t tokens = 0;           // New ones, of all samples.
  double load_seconds = 0;     // Reading and checking the weights.
  double prepare_seconds = 0;  // Filters, plan, spectra, memory.
  double prefill_seconds = 0;  // Of all samples.
  double seconds = 0;          // Generating, all samples, after prefill.
  std::vector<float> token_ms;
  double mixer_seconds = 0, block_seconds = 0, head_seconds = 0,
         sampler_seconds = 0;  // Of `seconds`.
};

// Writes the file whole or not at all.
Status WriteStats(const RunFigures& figures, const std::string& path);

std::string Summary(const RunFigures& figures);

}  // namespace lcsm::cli
