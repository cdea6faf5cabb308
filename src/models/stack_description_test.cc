#include "models/stack_description.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "models/stack_layout.h"

namespace lcsm {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

// One block of one part, which tests then spoil.
Json Small() {
  return Json::parse(R"({
    "model_type": "lcsm-stack", "vocab_size": 12, "width": 8,
    "max_length": 100, "embedding": "e",
    "blocks": [{"parts": [{
      "norm": {"kind": "rms", "eps": 1e-6, "weight": "b{i}.norm"},
      "steps": [
        {"do": "linear", "from": "input", "to": ["a", "b"], "width": 16,
         "weight": "b{i}.in", "bias": "b{i}.in{i}"},
        {"do": "convolve", "from": "a",
         "filter": {"kind": "taps", "tensor": "b{i}.taps"}},
        {"do": "multiply", "from": ["a", "b"], "to": "a"},
        {"do": "linear", "from": "a", "to": "output", "weight": "b{i}.out"}
      ]}]}]})");
}

StatusOr<StackDescription> Parse(const Json& json) {
  return ParseStackDescription(
      io::ConfigJson::Parse(json.dump(), "config.json").value());
}

TEST(StackDescriptionTest, ReadsFieldsAndRepeatsBlocks) {
  Json json = Small();
  json["blocks"][0]["repeat"] = 3;
  json["padded_vocab_size"] = 16;
  const auto stack = Parse(json);
  ASSERT_TRUE(stack.ok()) << stack.status().message();
  EXPECT_EQ(stack->vocab, 12u);
  EXPECT_EQ(stack->padded_vocab, 16u);
  EXPECT_EQ(stack->max_length, 100u);
  EXPECT_EQ(stack->eos_id, -1);
  EXPECT_TRUE(stack->head.empty());
  ASSERT_EQ(stack->blocks.size(), 3u);
  const StackPart& part = stack->blocks[2].parts[0];
  EXPECT_EQ(part.norm.weight, "b2.norm");
  EXPECT_EQ(part.steps[0].weight, "b2.in");
  EXPECT_EQ(part.steps[0].bias, "b2.in2");
  EXPECT_EQ(part.steps[1].filter.tensor, "b2.taps");
  EXPECT_EQ(part.steps[1].to, std::vector<std::string>{"a"});
  EXPECT_EQ(part.steps[1].path, "blocks.0.parts.0.steps.1");

  const auto layout = LayOut(*stack);
  ASSERT_TRUE(layout.ok());
  const StackPartLayout& at = layout->blocks[1][0];
  // Streams written together are neighbours: one product fills them.
  EXPECT_EQ(at.steps[0].to[0].end(), at.steps[0].to[1].offset);
  EXPECT_EQ(at.steps[0].in, 8u);
  EXPECT_EQ(at.steps[0].out, 32u);
  EXPECT_EQ(at.output.width, 8u);
  EXPECT_LE(at.output.end(), layout->row);
}

// A change to the small description, as a JSON merge patch of one step, and
// what the sentence has to say.
struct Spoiled {
  const char* pointer;
  const char* value;
  const char* message;
};

class StackDescriptionErrorTest : public testing::TestWithParam<Spoiled> {};

TEST_P(StackDescriptionErrorTest, IsOneSentenceWithThePath) {
  Json json = Small();
  json[Json::json_pointer(GetParam().pointer)] = Json::parse(GetParam().value);
  const auto stack = Parse(json);
  ASSERT_FALSE(stack.ok());
  EXPECT_THAT(stack.status().message(), HasSubstr(GetParam().message));
  EXPECT_THAT(stack.status().message(), HasSubstr("config.json: "));
  EXPECT_EQ(stack.status().message().find('\n'), std::string::npos);
}

const Spoiled kSpoiled[] = {
    {"/vocab_size", "0", "vocab_size is 0, expected a whole number from 1"},
    {"/blocks", "[]", "blocks is a list, expected at least one block"},
    {"/blocks/0/parts/0/steps/1/do", "\"konvolve\"",
     "blocks.0.parts.0.steps.1.do is \"konvolve\", expected \"linear\" or "},
    {"/blocks/0/parts/0/steps/1/filter/kind", "\"magic\"",
     "steps.1.filter.kind is \"magic\", expected \"taps\" or "},
    {"/blocks/0/parts/0/steps/1/filter/tensr", "\"t\"",
     "steps.1.filter has the field \"tensr\", which a filter of taps does not"},
    {"/blocks/0/parts/0/steps/1/causal", "false",
     "blocks.0.parts.0.steps.1 is not causal"},
    {"/blocks/0/parts/0/steps/1/bidirectional", "true", "is not causal"},
    {"/blocks/0/parts/0/steps/2/from/1", "\"c\"",
     "steps.2.from reads the stream \"c\", which nothing has written"},
    {"/blocks/0/parts/0/steps/0/width", "[16, 17]",
     "steps.2.from \"a\" has 16 channels and \"b\" has 17, expected the same"},
    {"/blocks/0/parts/0/steps/0/width", "[16, 17, 18]",
     "steps.0.to names 2 streams, expected 3"},
    {"/blocks/0/parts/0/steps/0/run", "5", "steps.0.run is 5, expected a"},
    {"/blocks/0/parts/0/steps/3/width", "9",
     "steps.3.to writes 9 channels into \"output\", expected the model's"},
    {"/blocks/0/parts/0/steps/3/to", "\"a\"",
     "steps.3.to writes 8 channels into the stream \"a\", expected the 16"},
    {"/blocks/0/parts/0/steps/3/to", "\"z\"",
     "no step after blocks.0.parts.0.steps.3 writes the stream \"output\""},
    {"/blocks/0/parts/0/steps/2", R"({"do": "read", "block": 0, "to": "r"})",
     "steps.2.block is 0 in block 0, a cycle"},
    {"/blocks/0/parts/0/steps/2", R"({"do": "read", "block": 7, "to": "r"})",
     "steps.2.block is 7, expected one of the blocks 0 to 0"},
    {"/blocks/0/parts/0/steps/2",
     R"({"do": "attention", "from": ["a", "a", "a"], "to": "y", "heads": 3})",
     "steps.2.heads is 3, which does not divide the 16 channels of \"a\""},
    {"/blocks/0/parts/0/steps/2",
     R"({"do": "attention", "from": ["a", "input", "a"], "to": "y",
         "heads": 2})",
     "\"a\" has heads of 8 channels and \"input\" of 4"},
    {"/blocks/0/parts/0/steps/2",
     R"({"do": "attention", "from": ["a", "a", "a"], "to": "y", "heads": 4,
         "rotary": {"width": 6}})",
     "steps.2.rotary.width is 6, expected an even number up to the 4"},
    {"/blocks/0/parts/0/steps/2",
     R"({"do": "read", "block": 0, "ahead": true, "to": "r"})",
     "steps.2.block is 0 in block 0, a cycle"},
    {"/blocks/0/parts/0/steps/2",
     R"({"do": "read", "block": 0, "ahead": true, "delay": 1, "to": "r"})",
     "steps.2.delay is 1, expected none of what is read ahead"},
    {"/blocks/0/parts/0/steps/2",
     R"({"do": "relaxed-convolve", "from": "a", "to": "y"})",
     "steps.2.from names 1 streams, expected 2"},
    {"/blocks/0/parts/0/steps/2",
     R"({"do": "relaxed-convolve", "from": ["a", "input"], "to": "y"})",
     "\"a\" has 16 channels and \"input\" has 8, expected the same"},
    {"/blocks/0/parts/0/steps/2",
     R"({"do": "relaxed-convolve", "from": ["a", "a"], "to": "y",
         "filter": {}})",
     "steps.2 has the field \"filter\""},
    {"/blocks/0/parts/0/norm/kind", "\"batch\"",
     "norm.kind is \"batch\", expected \"none\" or \"layer\" or \"rms\""},
    {"/blocks/0/parts/0/norm/weight", "3",
     "blocks.0.parts.0.norm.weight is 3, expected a string"},
    {"/blocks/0/repeat", "5000", "blocks.0.repeat is 5000"},
    {"/colour", "1", "has the field \"colour\""},
    {"/blocks/0/parts/0/steps/1/filter",
     R"({"kind": "toeplitz", "first": "f", "last": "l", "width": 4,
         "par_type": 2})",
     "filter.par_type is 2, and only 1 is supported"},
};

INSTANTIATE_TEST_SUITE_P(All, StackDescriptionErrorTest,
                         testing::ValuesIn(kSpoiled));

TEST(StackDescriptionTest, BlocksMayReadEarlierOnesAndThePast) {
  Json json = Small();
  json["blocks"].push_back(json["blocks"][0]);
  json["blocks"][1]["parts"][0]["steps"][2] = {
      {"do", "read"}, {"block", 0}, {"to", "r"}};
  ASSERT_TRUE(Parse(json).ok());
  json["blocks"][0]["parts"][0]["steps"][2] = {
      {"do", "read"}, {"block", 1}, {"delay", 1}, {"to", "r"}};
  const auto stack = Parse(json);
  ASSERT_TRUE(stack.ok()) << stack.status().message();
  EXPECT_EQ(stack->blocks[0].parts[0].steps[2].delay, 1u);
}

TEST(StackDescriptionTest, WhatIsReadAheadIsAsWideAsItsConvolution) {
  Json json = Small();
  json["blocks"].push_back(json["blocks"][0]);
  Json& step = json["blocks"][1]["parts"][0]["steps"][2];
  step = {{"do", "read"}, {"block", 0}, {"ahead", true}, {"to", "b"}};
  const auto stack = Parse(json);
  ASSERT_TRUE(stack.ok()) << stack.status().message();
  EXPECT_TRUE(stack->blocks[1].parts[0].steps[2].ahead);
  step["to"] = "input";
  EXPECT_THAT(Parse(json).status().message(),
              HasSubstr("blocks.1.parts.0.steps.2.to writes 16 channels into "
                        "the stream \"input\", expected the 8"));
  step["to"] = "r";
  json["blocks"][0]["parts"][0]["steps"][1] = {
      {"do", "activate"}, {"from", "a"}, {"with", "relu"}};
  EXPECT_THAT(Parse(json).status().message(),
              HasSubstr("steps.2.block is 0, in which nothing convolves"));
}

// Each doubles what it is given: the widths of a short document would overflow.
TEST(StackDescriptionTest, WidthsHaveALimit) {
  Json json = Small();
  json["blocks"][0]["parts"][0]["steps"][1] = {
      {"do", "convolve"},
      {"from", "a"},
      {"to", "w0"},
      {"repeat", 1024},
      {"filter", {{"kind", "taps"}, {"tensor", "t"}}}};
  json["blocks"][0]["parts"][0]["steps"][2] = {
      {"do", "convolve"},
      {"from", "w0"},
      {"to", "w1"},
      {"repeat", 1024 * 1},
      {"filter", {{"kind", "taps"}, {"tensor", "t"}}}};
  json["blocks"][0]["parts"][0]["steps"].push_back(
      {{"do", "convolve"},
       {"from", "w1"},
       {"to", "w2"},
       {"repeat", 1024},
       {"filter", {{"kind", "taps"}, {"tensor", "t"}}}});
  const auto stack = Parse(json);
  ASSERT_FALSE(stack.ok());
  EXPECT_THAT(stack.status().message(),
              HasSubstr("steps.4.to writes 17179869184 channels, expected at"));
}

}  // namespace
}  // namespace lcsm
