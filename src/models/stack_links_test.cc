// Blocks that read what others left one position ago: known tokens go through
// by blocks of positions where that is there beforehand, and one at a time
// where it is not.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/test_util.h"
#include "models/load_model.h"

namespace lcsm {
namespace {

constexpr size_t kLength = 300;  // Two blocks of positions, and some.

// The golden model in which block 1 reads block 0 ahead, with another link.
std::shared_ptr<const Model> Linked(const io::ScratchFolder& folder,
                                    size_t reader, const nlohmann::json& link) {
  namespace fs = std::filesystem;
  const fs::path from =
      fs::path(LCSM_SOURCE_DIR) / "tests" / "data" / "golden" / "stack-ahead";
  std::ifstream file(from / "config.json");
  nlohmann::json config = nlohmann::json::parse(file);
  config["max_length"] = kLength;
  nlohmann::json& blocks = config["blocks"];
  for (size_t b = 0; b < blocks.size(); ++b) {
    nlohmann::json& steps = blocks[b]["parts"][0]["steps"];
    if (steps[0]["do"] == "read") steps.erase(0);
    if (b == reader) steps.insert(steps.begin(), link);
    for (nlohmann::json& step : steps) {
      if (step.value("to", nlohmann::json()) == "gate" &&
          step["do"] == "linear") {
        step["from"] = b == reader ? "seen" : "input";
      }
    }
  }
  std::ofstream(folder / "config.json") << config.dump();
  fs::copy_file(from / "model.safetensors", folder / "model.safetensors",
                fs::copy_options::overwrite_existing);
  const auto model = LoadModel(folder.path());
  EXPECT_TRUE(model.ok()) << model.status().message();
  return model.ok() ? *model : nullptr;
}

std::string Detail(const Model& model, const std::string& label) {
  for (const auto& [name, value] : model.info().details) {
    if (name == label) return value;
  }
  return "";
}

// Logits of all positions, `chunk` at a time; 0: by steps.
std::vector<float> LogitsOf(ModelState& state, size_t chunk) {
  const size_t vocab = state.padded_vocab();
  std::vector<int32_t> tokens(kLength);
  for (size_t t = 0; t < kLength; ++t) {
    tokens[t] = static_cast<int32_t>((t * t + t / 3) % 17);
  }
  std::vector<float> all(kLength * vocab);
  state.Reset();
  if (chunk == 0) {
    for (size_t t = 0; t < kLength; ++t) {
      state.Step(tokens[t], all.data() + t * vocab);
    }
    return all;
  }
  for (size_t t = 0; t < kLength; t += chunk) {
    const Status status = state.Prefill(
        {tokens.data() + t, std::min(chunk, kLength - t)},
        {.on_logits = [&](size_t position, std::span<const float> logits) {
          std::copy(logits.begin(), logits.end(),
                    all.data() + position * vocab);
          return OkStatus();
        }});
    EXPECT_TRUE(status.ok()) << status.message();
  }
  return all;
}

// Three rows from the middle on, with tokens of their own.
void ExpectRowsAreForks(ModelState& trunk) {
  constexpr size_t kRows = 3, kFrom = 105;
  const size_t vocab = trunk.padded_vocab();
  std::vector<float> got(kRows * vocab), want(vocab);
  for (size_t t = 0; t < kFrom; ++t) {
    trunk.Step(static_cast<int32_t>(t % 17), want.data());
  }
  std::vector<std::unique_ptr<ModelState>> forks;
  for (size_t r = 0; r < kRows; ++r) forks.push_back(trunk.Fork().value());
  const auto batch = trunk.Spread(kRows).value();
  for (size_t t = kFrom; t < kLength; ++t) {
    int32_t tokens[kRows];
    for (size_t r = 0; r < kRows; ++r) {
      tokens[r] = static_cast<int32_t>((t * (t + r) + r) % 17);
    }
    batch->Step(tokens, got.data());
    for (size_t r = 0; r < kRows; ++r) {
      forks[r]->Step(tokens[r], want.data());
      ASSERT_EQ(std::memcmp(got.data() + r * vocab, want.data(),
                            vocab * sizeof(float)),
                0)
          << "row " << r << ", position " << t;
    }
  }
}

TEST(StackLinksTest, WhatAnEarlierBlockLeftGoesByBlocks) {
  const struct {
    size_t reader, block;
    const char* known;
  } cases[] = {{1, 0, "by blocks"},
               {2, 0, "by blocks"},
               {1, 1, "one at a time"},
               {0, 1, "one at a time"}};
  for (const auto& one : cases) {
    SCOPED_TRACE(std::to_string(one.reader) + " reads " +
                 std::to_string(one.block));
    const io::ScratchFolder folder;
    const auto model = Linked(
        folder, one.reader,
        {{"do", "read"}, {"block", one.block}, {"delay", 1}, {"to", "seen"}});
    ASSERT_NE(model, nullptr);
    EXPECT_NE(Detail(*model, "known tokens").find(one.known),
              std::string::npos);
    const auto memory =
        model->EstimateMemory({.horizon = kLength, .plan = {}}, 1);
    ASSERT_TRUE(memory.ok()) << memory.status().message();
    ThreadPool pool(2);
    const auto prepared =
        model->Prepare({.horizon = kLength, .plan = {}}, pool, nullptr);
    ASSERT_TRUE(prepared.ok()) << prepared.status().message();
    const auto state = std::move(*(*prepared)->NewState(pool));
    // One path for both, so the bits are the same.
    const std::vector<float> want = LogitsOf(*state, 0);
    for (const size_t chunk : {size_t{1}, size_t{5}, size_t{128}, kLength}) {
      const std::vector<float> got = LogitsOf(*state, chunk);
      ASSERT_EQ(
          std::memcmp(got.data(), want.data(), want.size() * sizeof(float)), 0)
          << chunk;
    }
    // And so they are for each row of a batch, tiles of distant levels that
    // are half done where it begins or not.
    for (const conv::Method method :
         {conv::Method::kPlanned, conv::Method::kGardner}) {
      const auto by = model->Prepare(
          {.horizon = kLength, .plan = {.method = method}}, pool, nullptr);
      ASSERT_TRUE(by.ok()) << by.status().message();
      EXPECT_EQ((*by)->plan().Deferred(), method == conv::Method::kGardner);
      ExpectRowsAreForks(*std::move(*(*by)->NewState(pool)));
    }
    // The link is there: other logits than without it, from position 1 on.
    const io::ScratchFolder other;
    const auto without = Linked(other, 99, {});
    ASSERT_NE(without, nullptr);
    const auto plain =
        without->Prepare({.horizon = kLength, .plan = {}}, pool, nullptr);
    ASSERT_TRUE(plain.ok());
    EXPECT_NE(LogitsOf(*std::move(*(*plain)->NewState(pool)), 0), want);
  }
}

}  // namespace
}  // namespace lcsm
