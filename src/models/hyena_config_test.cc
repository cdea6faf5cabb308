#include "models/hyena_config.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace lcsm {
namespace {

using Json = nlohmann::json;

StatusOr<HyenaConfig> Parse(const Json& json) {
  const auto config = io::ConfigJson::Parse(json.dump(), "config.json");
  if (!config.ok()) return config.status();
  return ParseHyenaConfig(*config);
}

Json HuggingFace() {
  return Json{{"model_type", "hyenadna"},
              {"vocab_size", 12},
              {"d_model", 128},
              {"n_layer", 2},
              {"emb_dim", 5},
              {"max_seq_len", 1026}};
}

Json Original() {
  return Json{{"d_model", 48},
              {"n_layer", 2},
              {"d_inner", 192},
              {"vocab_size", 12},
              {"pad_vocab_size_multiple", 8},
              {"layer",
               {{"_name_", "hyena"},
                {"emb_dim", 5},
                {"filter_order", 64},
                {"local_order", 3},
                {"l_max", 500},
                {"modulate", true},
                {"w", 10}}}};
}

// Fails with a sentence that contains all parts.
void ExpectRefused(const Json& json, const std::vector<std::string>& parts) {
  const auto config = Parse(json);
  ASSERT_FALSE(config.ok()) << json.dump();
  for (const std::string& part : parts) {
    EXPECT_NE(config.status().message().find(part), std::string::npos)
        << config.status().message();
  }
}

TEST(HyenaConfigTest, HuggingFace) {
  const auto config = Parse(HuggingFace());
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->padded_vocab, 16u);
  EXPECT_EQ(config->inner, 512u);  // 4 D unless said.
  EXPECT_EQ(config->order, 2u);
  EXPECT_EQ(config->max_length, 1026u);
  EXPECT_EQ(config->filter_width, 64u);
  EXPECT_EQ(config->filter_inner_layers, 2u);
  EXPECT_EQ(config->shift, 0.05);
  EXPECT_TRUE(config->modulate);
  EXPECT_EQ(config->eos_id, 1);
  Json json = HuggingFace();
  json.erase("emb_dim");
  json.erase("n_layer");
  EXPECT_EQ(Parse(json)->features, 3u);  // The class's defaults.
  EXPECT_EQ(Parse(json)->layers, 12u);
  // The blocks' norms ignore it.
  json["layer_norm_epsilon"] = 1e-3;
  EXPECT_EQ(Parse(json)->block_norm_eps, 1e-5);
  EXPECT_EQ(Parse(json)->final_norm_eps, 1e-3);
}

TEST(HyenaConfigTest, Original) {
  Json json = Original();
  auto config = Parse(json);
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->dialect, "hyenadna");
  EXPECT_EQ(config->width, 48u);
  EXPECT_EQ(config->shift, 0.05);
  EXPECT_EQ(config->layout, FilterLayout::kOrderSlowest);
  json["layer"]["order"] = 3;
  EXPECT_EQ(Parse(json)->filter_channels(), 96u);
  // Safari: another vocabulary, another window, another layout.
  json["vocab_size"] = 50257;
  config = Parse(json);
  EXPECT_EQ(config->dialect, "safari");
  EXPECT_EQ(config->padded_vocab, 50264u);
  EXPECT_EQ(config->shift, 0.0);
  EXPECT_EQ(config->layout, FilterLayout::kOrderFastest);
  EXPECT_EQ(config->eos_id, 50256);
  // What `lcsm convert` adds wins.
  json["filter_shift"] = 0.125;
  json["filter_layout"] = "order_slowest";
  EXPECT_EQ(Parse(json)->shift, 0.125);
  EXPECT_EQ(Parse(json)->layout, FilterLayout::kOrderSlowest);
  json["layer"]["modulate"] = false;
  EXPECT_FALSE(Parse(json)->modulate);
}

// The loader has no rule of its own: `lcsm convert` reads the same one.
TEST(HyenaConfigTest, FilterConventionsAreThoseOfTheConverter) {
  Json another = HuggingFace();  // HyenaDNA, though not with 12 ids.
  another["vocab_size"] = 20;
  Json safari = Original();
  safari["vocab_size"] = 256;
  safari["layer"]["shift"] = 0.125;
  for (const Json& json : {HuggingFace(), another, Original(), safari}) {
    const auto text = io::ConfigJson::Parse(json.dump(), "config.json");
    ASSERT_TRUE(text.ok());
    const auto conventions =
        io::ReadFilterConventions(*text, io::WeightContainer::kOther);
    const auto config = Parse(json);
    ASSERT_TRUE(config.ok() && conventions.ok());
    EXPECT_EQ(config->shift, conventions->shift) << json.dump();
    EXPECT_EQ(config->layout, conventions->layout) << json.dump();
  }
  EXPECT_EQ(Parse(another)->layout, FilterLayout::kOrderSlowest);
  EXPECT_EQ(Parse(another)->shift, 0.05);
  EXPECT_EQ(Parse(safari)->layout, FilterLayout::kOrderFastest);
  EXPECT_EQ(Parse(safari)->shift, 0.125);
}

TEST(HyenaConfigTest, MissingAndWrongFields) {
  for (const char* field : {"d_model", "vocab_size", "max_seq_len"}) {
    Json json = HuggingFace();
    json.erase(field);
    ExpectRefused(json, {"config.json", field});
    json[field] = "many";
    ExpectRefused(json, {field});
    json[field] = 0;
    ExpectRefused(json, {field});
  }
  Json json = Original();
  json.erase("layer");
  ExpectRefused(json, {"layer.l_max"});
  json = HuggingFace();
  json["emb_dim"] = 4;
  ExpectRefused(json, {"emb_dim", "odd"});
  json = HuggingFace();
  json["model_type"] = "mamba";
  ExpectRefused(json, {"model_type", "mamba"});
  json = Original();
  json["filter_layout"] = "sideways";
  ExpectRefused(json, {"filter_layout"});
}

TEST(HyenaConfigTest, UnsupportedOptions) {
  const std::pair<const char*, Json> options[] = {
      {"num_heads", 2},       {"num_blocks", 4},        {"inner_factor", 2},
      {"outer_mixing", true}, {"post_order_ffn", true}, {"activation", "gelu"},
      {"linear_mixer", true}, {"bidirectional", true},  {"bias", false},
      {"use_bias", false},    {"_name_", "mha"},
  };
  for (const auto& [field, value] : options) {
    Json json = Original();
    json["layer"][field] = value;
    ExpectRefused(json, {"layer.", field, "supported"});
  }
  Json json = Original();
  json["max_position_embeddings"] = 1024;
  ExpectRefused(json, {"max_position_embeddings"});
  json = HuggingFace();
  json["short_filter_order"] = 4;
  ExpectRefused(json, {"short_filter_order"});
}

}  // namespace
}  // namespace lcsm
