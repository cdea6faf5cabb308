// Flash-STU: spectral filters (even layers) and sliding-window attention (odd
// ones) in turn.
#include <fmt/format.h>

#include <utility>

#include "models/stack_builder.h"
#include "models/stack_families.h"

namespace lcsm {
namespace {

struct StuConfig {
  size_t width = 0, heads = 0, layers = 0, length = 0, window = 0, vocab = 0;
  size_t inner = 0, filters = 0;
  bool hankel_l = false, approximate = true, attention = true;
  double soft_cap = 0, eps = 0;
  StackActivation activation = StackActivation::kSilu;
};

StatusOr<StuConfig> ReadStuConfig(const io::ConfigJson& json) {
  StuConfig config;
  LCSM_ASSIGN_OR_RETURN(config.width, ReadSize(json, "n_embd", -1, 1, 1 << 20));
  LCSM_ASSIGN_OR_RETURN(config.heads, ReadSize(json, "n_heads", 8, 1, 1 << 16));
  LCSM_ASSIGN_OR_RETURN(config.layers, ReadSize(json, "n_layers", -1, 1, 4096));
  LCSM_ASSIGN_OR_RETURN(config.length,
                        ReadSize(json, "seq_len", -1, 1, int64_t{1} << 32));
  LCSM_ASSIGN_OR_RETURN(
      config.window, ReadSize(json, "window_size", 1024, 1, int64_t{1} << 32));
  LCSM_ASSIGN_OR_RETURN(config.vocab,
                        ReadSize(json, "vocab_size", -1, 1, 1 << 24));
  LCSM_ASSIGN_OR_RETURN(const size_t scale,
                        ReadSize(json, "mlp_scale", 12, 1, 256));
  config.inner = config.width * scale;
  LCSM_ASSIGN_OR_RETURN(config.filters,
                        ReadSize(json, "num_eigh", 24, 1, 1024));
  LCSM_ASSIGN_OR_RETURN(config.hankel_l, json.GetBoolOr("use_hankel_L", false));
  LCSM_ASSIGN_OR_RETURN(config.approximate, json.GetBoolOr("use_approx", true));
  LCSM_ASSIGN_OR_RETURN(config.attention, json.GetBoolOr("use_attn", true));
  LCSM_ASSIGN_OR_RETURN(config.soft_cap, json.GetNumberOr("softcap", 50));
  if (!(config.soft_cap >= 0)) {
    return json.Wrong("softcap", "a number from 0 on");
  }
  // Neither is in the published config: both follow what was installed when
  // the model was trained. These are the fused kernels'.
  LCSM_ASSIGN_OR_RETURN(config.eps, json.GetNumberOr("rms_norm_eps", 1e-6));
  StatusOr<std::string> act = json.GetChoiceOr(
      "hidden_act", "swish", {"swish", "silu", "gelu_tanh", "gelu"});
  if (!act.ok()) return act.status();
  config.activation = *act == "gelu_tanh" ? StackActivation::kGeluTanh
                      : *act == "gelu"    ? StackActivation::kGelu
                                          : StackActivation::kSilu;
  return config;
}

StackNorm RmsNorm(const StuConfig& config, const std::string& prefix) {
  StackNorm norm;
  norm.kind = StackNorm::Kind::kRms;
  norm.eps = config.eps;
  norm.weight = prefix + ".weight";
  return norm;
}

StatusOr<StackPart> SpectralPart(const StuConfig& config,
                                 const io::WeightSet& weights,
                                 const std::string& layer) {
  const std::string stu = layer + "stu.";
  PartBuilder part(weights, config.approximate ? "STU" : "STU, full",
                   layer + "stu", RmsNorm(config, layer + "stu_norm"));
  StackFilter filter;
  filter.tensor = stu + "phi";
  if (weights.Find(filter.tensor) == nullptr) filter.tensor = "phi";
  if (weights.Find(filter.tensor) == nullptr) {
    return InvalidInput(fmt::format(
        "{}: tensor {}phi is missing: the spectral filters come from an "
        "eigendecomposition whose smallest values are rounding and whose signs "
        "are free, so they must be those that the model was trained with",
        weights.path().string(), stu));
  }
  if (config.approximate) {
    // Both branches together: twice the filter on even lags.
    filter.kind = StackFilter::Kind::kBasis;
    filter.mix = stu + "M_filters";
    filter.lags =
        config.hankel_l ? StackFilter::Lags::kAll : StackFilter::Lags::kEven;
    StackStep& in = part.Linear("input", {"u"}, stu + "M_inputs");
    in.weight = stu + "M_inputs";
    in.transposed = true;
    part.Convolve({"u"}, filter).to = {"output"};
    return part.Take();
  }
  // Each input through all filters, then one map for all of them.
  filter.time_first = true;
  const auto branch = [&](const char* matrix, StackFilter::Lags lags,
                          const std::string& to) {
    filter.lags = lags;
    StackStep& spread = part.Convolve({"input"}, filter);
    spread.repeat = config.filters;
    spread.to = {"spread"};
    StackStep& map = part.Linear("spread", {to}, stu + matrix);
    map.weight = stu + matrix;
    map.transposed = true;
  };
  branch("M_phi_plus", StackFilter::Lags::kAll, "output");
  if (!config.hankel_l) {
    branch("M_phi_minus", StackFilter::Lags::kAlternating, "minus");
    part.Sum("output", "minus", "output");
  }
  return part.Take();
}

StackPart AttentionPart(const StuConfig& config, const io::WeightSet& weights,
                        const std::string& layer) {
  PartBuilder part(weights, "attention", layer + "attn",
                   RmsNorm(config, layer + "attn_norm"));
  part.Linear("input", {"q", "k", "v"}, layer + "attn.c_attn");
  StackStep& attention = part.Attention(config.heads, config.heads);
  attention.window = config.window + 1;  // Theirs does not count the present.
  attention.alibi = 0.25;
  attention.soft_cap = config.soft_cap;
  part.Linear("y", {"output"}, layer + "attn.c_proj");
  return part.Take();
}

}  // namespace

StatusOr<StackDescription> TranslateStu(const io::ConfigJson& json,
                                        const io::WeightSet& weights) {
  LCSM_ASSIGN_OR_RETURN(const StuConfig config, ReadStuConfig(json));
  StackDescription stack;
  stack.family = "stu";
  stack.width = config.width;
  stack.vocab = config.vocab;
  stack.max_length = config.length;
  stack.embedding = "tok_emb.weight";
  if (weights.Find("lm_head.weight") != nullptr) stack.head = "lm_head.weight";
  if (weights.Find(stack.embedding) == nullptr) {
    stack.embedding = "lm_head.weight";  // The two are one in memory.
  }
  LCSM_ASSIGN_OR_RETURN(
      stack.padded_vocab,
      EmbeddingRows(json, weights, stack.embedding, config.vocab));
  for (size_t l = 0; l < config.layers; ++l) {
    const std::string layer = fmt::format("layers.{}.", l);
    StackBlock& block = stack.blocks.emplace_back();
    if (l % 2 == 0 || !config.attention) {
      LCSM_ASSIGN_OR_RETURN(StackPart part,
                            SpectralPart(config, weights, layer));
      block.parts.push_back(std::move(part));
    } else {
      block.parts.push_back(AttentionPart(config, weights, layer));
    }
    PartBuilder mlp(weights, "MLP", layer + "mlp",
                    RmsNorm(config, layer + "mlp_norm"));
    mlp.Linear("input", {"gate"}, layer + "mlp.gate_proj", config.inner);
    mlp.Linear("input", {"up"}, layer + "mlp.up_proj", config.inner);
    mlp.Activate("gate", config.activation);
    mlp.Multiply("gate", "up", "up");
    mlp.Linear("up", {"output"}, layer + "mlp.down_proj");
    block.parts.push_back(mlp.Take());
  }
  stack.final_norm = RmsNorm(config, "norm");
  return stack;
}

}  // namespace lcsm
