// StripedHyena 1 (SH-7B, Evo 1) and 2 (Evo 2): x2 * (h * (x1 v) + D x1 v) with
// modal or explicit filters, and attention.
#include <fmt/format.h>

#include <utility>

#include "models/stack_builder.h"
#include "models/stack_families.h"

namespace lcsm {
namespace {

struct StripedConfig {
  bool second = false;  // StripedHyena 2.
  size_t width = 0, layers = 0, heads = 0, kv_heads = 0, vocab = 0, inner = 0;
  size_t length = 0;
  std::vector<bool> attention, se, mr, li;  // By layer; 1 has `li` alone.
  double eps = 1e-6, rotary_base = 10000, rotary_scale = 1;
  bool eps_outside = true;
  bool evo2_activations = false;
  StackActivation activation = StackActivation::kSilu;
  // Channels that the three streams of a Hyena layer, and q, k, v, take turns
  // with; 0: one after another.
  size_t hyena_run = 0, attention_run = 0;
  bool flip = false;  // The first two streams of Hyena layers.
  std::string prefix;

  size_t head_width() const { return width / heads; }
};

Status ReadLayers(const io::ConfigJson& json, StripedConfig* config) {
  const size_t layers = config->layers;
  LCSM_ASSIGN_OR_RETURN(config->attention,
                        ReadLayerSet(json, "attn_layer_idxs", layers));
  if (!config->second) {
    LCSM_ASSIGN_OR_RETURN(config->li,
                          ReadLayerSet(json, "hyena_layer_idxs", layers));
    config->se.resize(layers);
    config->mr.resize(layers);
  } else {
    LCSM_ASSIGN_OR_RETURN(config->se,
                          ReadLayerSet(json, "hcs_layer_idxs", layers));
    LCSM_ASSIGN_OR_RETURN(config->mr,
                          ReadLayerSet(json, "hcm_layer_idxs", layers));
    LCSM_ASSIGN_OR_RETURN(config->li,
                          ReadLayerSet(json, "hcl_layer_idxs", layers));
  }
  for (size_t l = 0; l < layers; ++l) {
    const int kinds =
        config->attention[l] + config->se[l] + config->mr[l] + config->li[l];
    if (kinds != 1) {
      return InvalidInput(fmt::format(
          "{}: {} of its lists of layers name layer {}, expected one",
          json.file(), kinds, l));
    }
  }
  return OkStatus();
}

// What would change the mathematics and no release has.
Status RefuseOthers(const io::ConfigJson& json, const StripedConfig& config) {
  LCSM_ASSIGN_OR_RETURN(
      const size_t filters,
      ReadSize(json, "num_filters", static_cast<int64_t>(config.width), 1,
               1 << 20));
  if (filters != config.width) {
    return Unsupported(
        fmt::format("{}: num_filters is {}, and only the hidden_size of {} is "
                    "supported",
                    json.file(), filters, config.width));
  }
  LCSM_ASSIGN_OR_RETURN(const size_t groups,
                        ReadSize(json, "hyena_filter_groups", 1, 1, 1 << 20));
  if (groups != 1) {
    return Unsupported(
        fmt::format("{}: hyena_filter_groups is {}, and only 1 is supported",
                    json.file(), groups));
  }
  for (const char* field : {"smeared_gqa", "use_laughing_hyena"}) {
    LCSM_ASSIGN_OR_RETURN(const bool wanted, json.GetBoolOr(field, false));
    if (wanted) {
      return Unsupported(fmt::format("{}: {} is true, which is not supported",
                                     json.file(), field));
    }
  }
  LCSM_ASSIGN_OR_RETURN(const bool final_norm,
                        json.GetBoolOr("final_norm", true));
  if (!final_norm) {
    return Unsupported(fmt::format(
        "{}: final_norm is false, which is not supported", json.file()));
  }
  return OkStatus();
}

Status ReadTurns(const io::ConfigJson& json, StripedConfig* config) {
  LCSM_ASSIGN_OR_RETURN(const bool split_hyena,
                        json.GetBoolOr("column_split_hyena", !config->second));
  LCSM_ASSIGN_OR_RETURN(const bool interleave,
                        json.GetBoolOr("interleave", config->second));
  LCSM_ASSIGN_OR_RETURN(const bool split,
                        json.GetBoolOr("column_split", config->second));
  LCSM_ASSIGN_OR_RETURN(config->flip, json.GetBoolOr("hyena_flip_x1x2", false));
  config->hyena_run = config->second && interleave ? 1
                      : split_hyena                ? config->head_width()
                                                   : 0;
  config->attention_run = split ? config->head_width() : 0;
  if (split && config->kv_heads != config->heads) {
    return Unsupported(fmt::format(
        "{}: column_split is true beside proj_groups of more than 1, which is "
        "not supported",
        json.file()));
  }
  return OkStatus();
}

StatusOr<StripedConfig> ReadStripedConfig(const io::ConfigJson& json,
                                          const io::WeightSet& weights) {
  StripedConfig config;
  config.second = json.Has("hcl_layer_idxs") || json.Has("hcs_layer_idxs");
  LCSM_ASSIGN_OR_RETURN(config.width,
                        ReadSize(json, "hidden_size", -1, 1, 1 << 20));
  LCSM_ASSIGN_OR_RETURN(config.layers,
                        ReadSize(json, "num_layers", -1, 1, 4096));
  LCSM_ASSIGN_OR_RETURN(config.heads,
                        ReadSize(json, "num_attention_heads", -1, 1, 1 << 16));
  if (config.width % config.heads != 0) {
    return json.Wrong("num_attention_heads", "a divisor of hidden_size");
  }
  LCSM_ASSIGN_OR_RETURN(const size_t groups,
                        ReadSize(json, "proj_groups", 1, 1, 1 << 16));
  if (config.heads % groups != 0) {
    return json.Wrong("proj_groups", "a divisor of num_attention_heads");
  }
  config.kv_heads = config.heads / groups;
  LCSM_ASSIGN_OR_RETURN(config.vocab,
                        ReadSize(json, "vocab_size", -1, 1, 1 << 24));
  LCSM_ASSIGN_OR_RETURN(config.length,
                        ReadSize(json, "max_seqlen", -1, 1, int64_t{1} << 32));
  LCSM_RETURN_IF_ERROR(ReadLayers(json, &config));
  LCSM_RETURN_IF_ERROR(RefuseOthers(json, config));
  LCSM_RETURN_IF_ERROR(ReadTurns(json, &config));
  LCSM_ASSIGN_OR_RETURN(config.eps,
                        json.GetNumberOr("eps", config.second ? 1e-6 : 1e-5));
  // The fused kernel has eps inside the root, the plain code outside.
  LCSM_ASSIGN_OR_RETURN(const bool fused,
                        json.GetBoolOr("use_flash_rmsnorm", false));
  config.eps_outside = config.second || !fused;
  LCSM_ASSIGN_OR_RETURN(config.rotary_base,
                        json.GetNumberOr("rotary_emb_base", 10000));
  LCSM_ASSIGN_OR_RETURN(
      const bool interpolated,
      json.GetBoolOr("use_interpolated_rotary_pos_emb", false));
  if (interpolated) {
    LCSM_ASSIGN_OR_RETURN(config.rotary_scale,
                          json.GetNumberOr("rotary_emb_scaling_factor", 1));
  }
  LCSM_ASSIGN_OR_RETURN(config.evo2_activations,
                        json.GetBoolOr("evo2_style_activations", false));
  StatusOr<std::string> act = json.GetChoiceOr(
      "mlp_activation", config.second ? "gelu" : "silu", {"gelu", "silu"});
  if (!act.ok()) return act.status();
  config.activation =
      *act == "gelu" ? StackActivation::kGelu : StackActivation::kSilu;
  if (weights.Find("backbone.embedding_layer.weight") != nullptr) {
    config.prefix = "backbone.";
  }
  // Some configs leave the MLP's width to a rule, so the tensor says it.
  const std::string l1 = config.prefix + "blocks.0.mlp.l1.weight";
  const io::TensorView* const view = weights.Find(l1);
  if (view == nullptr || view->shape.empty() || view->shape[0] == 0) {
    return InvalidInput(
        fmt::format("{}: tensor {} is missing, which {} calls "
                    "for",
                    weights.path().string(), l1, json.file()));
  }
  config.inner = view->shape[0];
  return config;
}

StackNorm RmsNorm(const StripedConfig& config, const std::string& prefix) {
  StackNorm norm;
  norm.kind = StackNorm::Kind::kRms;
  norm.eps = config.eps;
  norm.eps_outside = config.eps_outside;
  norm.weight = prefix + ".scale";
  return norm;
}

StackPart HyenaPart(const StripedConfig& config, const io::WeightSet& weights,
                    size_t layer, const std::string& block) {
  const std::string filter = block + "filter.";
  const char* const name = !config.second     ? "Hyena"
                           : config.se[layer] ? "Hyena SE"
                           : config.mr[layer] ? "Hyena MR"
                                              : "Hyena LI";
  PartBuilder part(weights, name, block + "hyena",
                   RmsNorm(config, block + "pre_norm"));
  const StreamNames streams =
      config.flip ? StreamNames{"x1", "x2", "v"} : StreamNames{"x2", "x1", "v"};
  part.Linear("input", streams, block + "projections").run = config.hyena_run;
  StackStep& fir =
      part.Convolve(streams, ShortFilter(filter + "short_filter_weight"));
  fir.run = config.hyena_run;
  if (weights.Find(filter + "short_filter_bias") != nullptr) {
    fir.bias = filter + "short_filter_bias";
  }
  part.Multiply("x1", "v", "u");
  StackFilter mixing;
  if (config.se[layer] || config.mr[layer]) {
    mixing.tensor = filter + "h";
    // A cross-correlation (SE), and a true convolution (MR).
    mixing.now_last = config.se[layer];
  } else if (config.second) {
    mixing.kind = StackFilter::Kind::kLogPoles;
    mixing.poles = filter + "log_poles";
    mixing.residues = filter + "residues";
  } else {
    mixing.kind = StackFilter::Kind::kPoles;
    mixing.poles = filter + "poles";
    mixing.residues = filter + "residues";
  }
  StackStep& long_filter = part.Convolve({"u"}, mixing);
  if (!config.se[layer]) long_filter.skip = filter + "D";
  part.Multiply("x2", "u", "u");
  part.Linear("u", {"output"}, block + "out_filter_dense");
  return part.Take();
}

StackPart AttentionPart(const StripedConfig& config,
                        const io::WeightSet& weights,
                        const std::string& block) {
  PartBuilder part(weights, "attention", block + "attention",
                   RmsNorm(config, block + "pre_norm"));
  const std::string mha = block + "inner_mha_cls.";
  StackStep& qkv = part.Linear("input", {"q", "k", "v"}, mha + "Wqkv");
  const size_t kv = config.kv_heads * config.head_width();
  qkv.widths = {config.width, kv, kv};
  qkv.run = config.attention_run;
  StackStep& attention = part.Attention(config.heads, config.kv_heads);
  attention.rotary = kWholeHead;
  attention.rotary_base = config.rotary_base;
  attention.rotary_scale = config.rotary_scale;
  // In the second they are a saved buffer that overrides the base; in the
  // first their bfloat16 is too coarse, and the base is right.
  const std::string frequencies = mha + "rotary_emb.inv_freq";
  if (config.second && weights.Find(frequencies) != nullptr) {
    attention.rotary_frequencies = frequencies;
  }
  part.Linear("y", {"output"}, mha + "out_proj");
  return part.Take();
}

}  // namespace

StatusOr<StackDescription> TranslateStripedHyena(const io::ConfigJson& json,
                                                 const io::WeightSet& weights) {
  LCSM_ASSIGN_OR_RETURN(const StripedConfig config,
                        ReadStripedConfig(json, weights));
  StackDescription stack;
  stack.family = config.second ? "stripedhyena2" : "stripedhyena";
  stack.width = config.width;
  stack.vocab = config.vocab;
  stack.max_length = config.length;
  // Evo's bytes end documents with 0, SH-7B's tokens with </s>.
  stack.eos_id = config.vocab == 512 ? 0 : config.vocab == 32000 ? 2 : -1;
  stack.embedding = config.prefix + "embedding_layer.weight";
  const std::string head = config.prefix + "unembed.weight";
  if (weights.Find(head) != nullptr) stack.head = head;
  LCSM_ASSIGN_OR_RETURN(
      stack.padded_vocab,
      EmbeddingRows(json, weights, stack.embedding, config.vocab));
  for (size_t l = 0; l < config.layers; ++l) {
    const std::string at = fmt::format("{}blocks.{}.", config.prefix, l);
    StackBlock& block = stack.blocks.emplace_back();
    block.parts.push_back(config.attention[l]
                              ? AttentionPart(config, weights, at)
                              : HyenaPart(config, weights, l, at));
    PartBuilder mlp(weights, "MLP", at + "mlp",
                    RmsNorm(config, at + "post_norm"));
    mlp.Linear("input", {"gate"}, at + "mlp.l1", config.inner);
    mlp.Linear("input", {"up"}, at + "mlp.l2", config.inner);
    if (!config.evo2_activations || l == 0) {
      mlp.Activate("gate", config.activation);
    }
    mlp.Multiply("gate", "up", "up");
    mlp.Linear("up", {"output"}, at + "mlp.l3");
    block.parts.push_back(mlp.Take());
  }
  stack.final_norm = RmsNorm(config, config.prefix + "norm");
  return stack;
}

}  // namespace lcsm
