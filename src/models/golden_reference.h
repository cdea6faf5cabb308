// For tests: the checkpoints of tests/data/golden, and what their reference
// code gives for them.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/safetensors.h"

namespace lcsm {

// A checkpoint's folder.
inline std::filesystem::path Golden(const std::string& name) {
  // A GPU's machine may have got this program from elsewhere (bench/gpu.sh).
  const char* const here = std::getenv("LCSM_SOURCE_DIR");
  return std::filesystem::path(here != nullptr ? here : LCSM_SOURCE_DIR) /
         "tests" / "data" / "golden" / name;
}

struct GoldenReference {
  std::vector<int32_t> tokens;
  std::vector<double> logits;           // [tokens][padded vocabulary]
  std::vector<int32_t> prompt, greedy;  // The likeliest tokens behind a prompt.
};

// Empty, and the test has failed, if the folder has none.
inline GoldenReference ReadGolden(const std::filesystem::path& folder) {
  GoldenReference reference;
  const auto set = io::WeightSet::Open(folder / "reference.safetensors");
  if (!set.ok()) {
    ADD_FAILURE() << set.status().message();
    return {};
  }
  const io::TensorView* const ids = (*set)->Find("input_ids");
  for (size_t i = 0; i < ids->elements(); ++i) {
    int64_t id = 0;
    std::memcpy(&id, ids->data + 8 * i, 8);
    reference.tokens.push_back(static_cast<int32_t>(id));
  }
  const io::TensorView* const logits = (*set)->Find("logits");
  reference.logits.resize(logits->elements());
  EXPECT_TRUE(io::CopyToFloat64(*logits, reference.logits.data()).ok());
  std::ifstream file(folder / "greedy.json");
  const nlohmann::json json = nlohmann::json::parse(file);
  reference.prompt = json["prompt_tokens"].get<std::vector<int32_t>>();
  reference.greedy = json["greedy_tokens"].get<std::vector<int32_t>>();
  return reference;
}

}  // namespace lcsm
