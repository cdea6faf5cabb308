// H3: q * S4D((shift(k) + D k) * v), attention in some layers; the rest is as
// in Hyena.
#include <fmt/format.h>

#include <utility>

#include "models/stack_builder.h"
#include "models/stack_families.h"

namespace lcsm {
namespace {

struct H3Config {
  size_t width = 0, layers = 0, inner = 0, vocab = 0, heads = 1, rotary = 0;
  size_t length = 0;
  std::vector<bool> attention;  // By layer.
  bool zero_order_hold = false;
  double eps = 1e-5;
};

StatusOr<H3Config> ReadH3Config(const io::ConfigJson& json) {
  H3Config config;
  LCSM_ASSIGN_OR_RETURN(config.width,
                        ReadSize(json, "d_model", -1, 1, 1 << 20));
  LCSM_ASSIGN_OR_RETURN(config.layers, ReadSize(json, "n_layer", -1, 1, 4096));
  LCSM_ASSIGN_OR_RETURN(
      config.inner,
      ReadSize(json, "d_inner", static_cast<int64_t>(4 * config.width), 1,
               1 << 24));
  LCSM_ASSIGN_OR_RETURN(config.vocab,
                        ReadSize(json, "vocab_size", -1, 1, 1 << 24));
  LCSM_ASSIGN_OR_RETURN(config.attention,
                        ReadLayerSet(json, "attn_layer_idx", config.layers));
  LCSM_ASSIGN_OR_RETURN(config.heads,
                        ReadSize(json, "attn_cfg.num_heads", 1, 1, 1 << 16));
  LCSM_ASSIGN_OR_RETURN(
      config.rotary, ReadSize(json, "attn_cfg.rotary_emb_dim", 0, 0, 1 << 16));
  // Recurrences have no end, and rotary positions none either.
  LCSM_ASSIGN_OR_RETURN(config.length, ReadSize(json, "layer.l_max", 1 << 20, 1,
                                                int64_t{1} << 32));
  LCSM_ASSIGN_OR_RETURN(config.eps,
                        json.GetNumberOr("layer_norm_epsilon", 1e-5));
  LCSM_ASSIGN_OR_RETURN(const size_t head_dim,
                        ReadSize(json, "layer.head_dim", 1, 1, 1 << 16));
  LCSM_ASSIGN_OR_RETURN(
      const size_t positions,
      ReadSize(json, "max_position_embeddings", 0, 0, int64_t{1} << 32));
  if (head_dim != 1) {
    return Unsupported(
        fmt::format("{}: layer.head_dim is {}, and only 1 is supported, as in "
                    "the releases",
                    json.file(), head_dim));
  }
  if (positions != 0) {
    return Unsupported(fmt::format(
        "{}: max_position_embeddings is {}, and learned positions are not "
        "supported",
        json.file(), positions));
  }
  StatusOr<std::string> mode = json.GetChoiceOr("layer.mode", "diag", {"diag"});
  if (!mode.ok()) return mode.status();
  StatusOr<std::string> disc =
      json.GetChoiceOr("layer.disc", "bilinear", {"bilinear", "zoh"});
  if (!disc.ok()) return disc.status();
  config.zero_order_hold = *disc == "zoh";
  return config;
}

StackNorm LayerNorm(const H3Config& config, const std::string& prefix) {
  StackNorm norm;
  norm.kind = StackNorm::Kind::kLayer;
  norm.eps = config.eps;
  norm.weight = prefix + ".weight";
  norm.bias = prefix + ".bias";
  return norm;
}

StackPart H3Part(const H3Config& config, const io::WeightSet& weights,
                 const std::string& layer) {
  const std::string mixer = layer + "mixer.";
  PartBuilder part(weights, "H3", layer + "mixer",
                   LayerNorm(config, layer + "norm1"));
  for (const char* stream : {"q", "k", "v"}) {
    part.Linear("input", {stream}, fmt::format("{}{}_proj", mixer, stream));
  }
  StackFilter shift;
  shift.kind = StackFilter::Kind::kShift;
  shift.b = mixer + "ssm_k_kernel.kernel.B";
  shift.c = mixer + "ssm_k_kernel.kernel.C";
  part.Convolve({"k"}, shift).skip = mixer + "ssm_k_D";
  part.Multiply("k", "v", "u");
  StackFilter diagonal;
  diagonal.kind = StackFilter::Kind::kS4d;
  const std::string kernel = mixer + "kernel.kernel.";
  diagonal.log_dt = kernel + "log_dt";
  diagonal.log_a_real = kernel + "inv_A_real";
  diagonal.a_imag = kernel + "A_imag";
  diagonal.b = kernel + "B";
  diagonal.c = kernel + "C";
  diagonal.zero_order_hold = config.zero_order_hold;
  part.Convolve({"u"}, diagonal).skip = mixer + "D";
  part.Multiply("q", "u", "u");
  part.Linear("u", {"output"}, mixer + "output_linear");
  return part.Take();
}

StackPart AttentionPart(const H3Config& config, const io::WeightSet& weights,
                        const std::string& layer) {
  PartBuilder part(weights, "attention", layer + "mixer",
                   LayerNorm(config, layer + "norm1"));
  part.Linear("input", {"q", "k", "v"}, layer + "mixer.Wqkv");
  part.Attention(config.heads, config.heads).rotary = config.rotary;
  part.Linear("y", {"output"}, layer + "mixer.out_proj");
  return part.Take();
}

}  // namespace

StatusOr<StackDescription> TranslateH3(const io::ConfigJson& json,
                                       const io::WeightSet& weights) {
  LCSM_ASSIGN_OR_RETURN(const H3Config config, ReadH3Config(json));
  StackDescription stack;
  stack.family = "h3";
  stack.width = config.width;
  stack.vocab = config.vocab;
  stack.max_length = config.length;
  // GPT-2's vocabulary, as for Hyena.
  if (config.vocab == 50257) stack.eos_id = 50256;
  std::string prefix = "backbone.";
  if (weights.Find("model.backbone.ln_f.weight") != nullptr) {
    prefix = "model.backbone.";
  }
  stack.embedding = prefix + "embeddings.word_embeddings.weight";
  const std::string head =
      prefix.substr(0, prefix.size() - std::string("backbone.").size()) +
      "lm_head.weight";
  if (weights.Find(head) != nullptr) stack.head = head;
  LCSM_ASSIGN_OR_RETURN(
      stack.padded_vocab,
      EmbeddingRows(json, weights, stack.embedding, config.vocab));
  for (size_t l = 0; l < config.layers; ++l) {
    const std::string layer = fmt::format("{}layers.{}.", prefix, l);
    StackBlock& block = stack.blocks.emplace_back();
    block.parts.push_back(config.attention[l]
                              ? AttentionPart(config, weights, layer)
                              : H3Part(config, weights, layer));
    PartBuilder mlp(weights, "MLP", layer + "mlp",
                    LayerNorm(config, layer + "norm2"));
    mlp.Linear("input", {"hidden"}, layer + "mlp.fc1", config.inner);
    mlp.Activate("hidden", StackActivation::kGeluTanh);
    mlp.Linear("hidden", {"output"}, layer + "mlp.fc2");
    block.parts.push_back(mlp.Take());
  }
  stack.final_norm = LayerNorm(config, prefix + "ln_f");
  return stack;
}

}  // namespace lcsm
