#include "models/hyena_config.h"

#include <fmt/format.h>

#include <string_view>
#include <vector>

namespace lcsm {
namespace {

// Far beyond anything sensible, near enough that products of sizes cannot
// overflow.
constexpr int64_t kMaxWidth = 1 << 17, kMaxLength = int64_t{1} << 30,
                  kMaxVocab = 1 << 24;

// HyenaDNA's characters, [SEP] and GPT-2's vocabulary.
constexpr size_t kDnaVocab = 12, kGpt2Vocab = 50257;
constexpr int32_t kDnaEos = 1, kGpt2Eos = 50256;

Status ReadInt(const io::ConfigJson& json, std::string_view field,
               int64_t fallback, int64_t lo, int64_t hi, size_t* out) {
  // A negative fallback: the field must be there.
  LCSM_ASSIGN_OR_RETURN(const int64_t value,
                        fallback < 0 ? json.GetInt(field, lo, hi)
                                     : json.GetIntOr(field, fallback, lo, hi));
  *out = static_cast<size_t>(value);
  return OkStatus();
}

Status RefuseInt(const io::ConfigJson& json, const std::string& field,
                 int64_t only) {
  LCSM_ASSIGN_OR_RETURN(const int64_t value,
                        json.GetIntOr(field, only, INT32_MIN, INT32_MAX));
  if (value == only) return OkStatus();
  return Unsupported(fmt::format("{}: {} is {}, and only {} is supported",
                                 json.file(), field, value, only));
}

Status RefuseBool(const io::ConfigJson& json, const std::string& field,
                  bool only) {
  LCSM_ASSIGN_OR_RETURN(const bool value, json.GetBoolOr(field, only));
  if (value == only) return OkStatus();
  return Unsupported(fmt::format("{}: {} is {}, and only {} is supported",
                                 json.file(), field, value, only));
}

// Options of the operator that change the mathematics; no released model uses
// them. `at` is "" or "layer.".
Status RefuseUnsupported(const io::ConfigJson& json, const std::string& at) {
  LCSM_RETURN_IF_ERROR(RefuseInt(json, at + "num_heads", 1));
  LCSM_RETURN_IF_ERROR(RefuseInt(json, at + "num_blocks", 1));
  LCSM_RETURN_IF_ERROR(RefuseInt(json, at + "inner_factor", 1));
  LCSM_RETURN_IF_ERROR(RefuseBool(json, at + "outer_mixing", false));
  LCSM_RETURN_IF_ERROR(RefuseBool(json, at + "post_order_ffn", false));
  LCSM_RETURN_IF_ERROR(RefuseBool(json, at + "linear_mixer", false));
  LCSM_RETURN_IF_ERROR(RefuseBool(json, at + "bidirectional", false));
  LCSM_RETURN_IF_ERROR(RefuseInt(json, "max_position_embeddings", 0));
  LCSM_ASSIGN_OR_RETURN(const std::string activation,
                        json.GetStringOr(at + "activation", "id"));
  if (activation != "id" && activation != "identity") {
    return Unsupported(
        fmt::format("{}: {}activation is \"{}\", and only \"id\" is supported",
                    json.file(), at, activation));
  }
  return OkStatus();
}

// Fields that stand in every dialect, in `at` those of the filter.
Status ReadShape(const io::ConfigJson& json, const std::string& at,
                 int64_t default_features, HyenaConfig* config) {
  const int64_t must = -1;
  LCSM_RETURN_IF_ERROR(
      ReadInt(json, "d_model", must, 1, kMaxWidth, &config->width));
  LCSM_RETURN_IF_ERROR(
      ReadInt(json, "vocab_size", must, 1, kMaxVocab, &config->vocab));
  size_t multiple = 1;
  LCSM_RETURN_IF_ERROR(
      ReadInt(json, "pad_vocab_size_multiple", 8, 1, 1 << 16, &multiple));
  config->padded_vocab = (config->vocab + multiple - 1) / multiple * multiple;
  LCSM_RETURN_IF_ERROR(ReadInt(json, "d_inner",
                               static_cast<int64_t>(4 * config->width), 1,
                               4 * kMaxWidth, &config->inner));
  LCSM_RETURN_IF_ERROR(ReadInt(json, at + "emb_dim", default_features, 3, 4097,
                               &config->features));
  if (config->features % 2 == 0) {
    return json.Wrong(at + "emb_dim", "an odd number of at least 3");
  }
  LCSM_RETURN_IF_ERROR(ReadInt(json, at + "filter_order", 64, 1, 1 << 14,
                               &config->filter_width));
  LCSM_RETURN_IF_ERROR(ReadInt(json, at + "num_inner_mlps", 2, 0, 64,
                               &config->filter_inner_layers));
  LCSM_RETURN_IF_ERROR(
      ReadInt(json, at + "short_filter_order", 3, 1, 256, &config->fir_taps));
  return OkStatus();
}

// What stands among the filter's fields (`at`), and what no published file
// says.
Status ReadConventions(const io::ConfigJson& json, const std::string& at,
                       HyenaConfig* config) {
  LCSM_ASSIGN_OR_RETURN(
      const io::FilterConventions conventions,
      io::ReadFilterConventions(json, io::WeightContainer::kOther));
  config->shift = conventions.shift;
  config->layout = conventions.layout;
  LCSM_ASSIGN_OR_RETURN(config->modulate,
                        json.GetBoolOr(at + "modulate", true));
  LCSM_ASSIGN_OR_RETURN(config->normalized,
                        json.GetBoolOr(at + "normalized", false));
  const int64_t eos = config->vocab == kDnaVocab    ? kDnaEos
                      : config->vocab == kGpt2Vocab ? kGpt2Eos
                                                    : -1;
  LCSM_ASSIGN_OR_RETURN(const int64_t eos_id,
                        json.GetIntOr("eos_token_id", eos, -1,
                                      static_cast<int64_t>(config->vocab) - 1));
  config->eos_id = static_cast<int32_t>(eos_id);
  return OkStatus();
}

Status ReadNormEps(const io::ConfigJson& json, double* eps) {
  LCSM_ASSIGN_OR_RETURN(*eps, json.GetNumberOr("layer_norm_epsilon", 1e-5));
  // The kernels hold it in float32, where less would be zero.
  if (!(*eps >= 1e-30 && *eps < 1)) {
    return json.Wrong("layer_norm_epsilon", "a number from 1e-30 to below 1");
  }
  return OkStatus();
}

StatusOr<HyenaConfig> ParseHuggingFace(const io::ConfigJson& json) {
  HyenaConfig config;
  config.dialect = "hugging face";
  LCSM_RETURN_IF_ERROR(ReadShape(json, "", 3, &config));
  LCSM_RETURN_IF_ERROR(ReadInt(json, "n_layer", 12, 1, 4096, &config.layers));
  LCSM_RETURN_IF_ERROR(
      ReadInt(json, "max_seq_len", -1, 2, kMaxLength, &config.max_length));
  LCSM_RETURN_IF_ERROR(ReadInt(json, "hyena_order", 2, 2, 64, &config.order));
  LCSM_RETURN_IF_ERROR(RefuseUnsupported(json, ""));
  if (config.fir_taps != 3) {
    // Their code pads by 2 whatever the length, which shifts other filters.
    return Unsupported(fmt::format(
        "{}: short_filter_order is {}, and only 3 is supported in this format",
        json.file(), config.fir_taps));
  }
  LCSM_RETURN_IF_ERROR(ReadConventions(json, "", &config));
  // Their blocks' norms ignore the field and use 1e-5.
  LCSM_RETURN_IF_ERROR(ReadNormEps(json, &config.final_norm_eps));
  return config;
}

StatusOr<HyenaConfig> ParseOriginal(const io::ConfigJson& json) {
  HyenaConfig config;
  const std::string at = "layer.";
  LCSM_ASSIGN_OR_RETURN(const std::string kind,
                        json.GetStringOr("layer._name_", "hyena"));
  if (kind != "hyena") {
    return Unsupported(
        fmt::format("{}: layer._name_ is \"{}\", and only \"hyena\" is "
                    "supported",
                    json.file(), kind));
  }
  LCSM_RETURN_IF_ERROR(ReadShape(json, at, 3, &config));
  LCSM_RETURN_IF_ERROR(ReadInt(json, "n_layer", -1, 1, 4096, &config.layers));
  LCSM_RETURN_IF_ERROR(
      ReadInt(json, "layer.l_max", -1, 2, kMaxLength, &config.max_length));
  LCSM_RETURN_IF_ERROR(ReadInt(json, "layer.order", 2, 2, 64, &config.order));
  LCSM_RETURN_IF_ERROR(RefuseUnsupported(json, at));
  // In some of the code bases this drops the skip, in others it is ignored.
  LCSM_RETURN_IF_ERROR(RefuseBool(json, "layer.bias", true));
  LCSM_RETURN_IF_ERROR(RefuseBool(json, "layer.use_bias", true));
  config.dialect = io::IsHyenaDna(json) ? "hyenadna" : "safari";
  LCSM_RETURN_IF_ERROR(ReadConventions(json, at, &config));
  LCSM_RETURN_IF_ERROR(ReadNormEps(json, &config.block_norm_eps));
  config.final_norm_eps = config.block_norm_eps;
  return config;
}

}  // namespace

const char* Name(FilterLayout layout) {
  return io::FilterLayoutName(layout).data();
}

StatusOr<HyenaConfig> ParseHyenaConfig(const io::ConfigJson& json) {
  // Not LCSM_ASSIGN_OR_RETURN: GCC 12 takes a moved short string for
  // uninitialised.
  StatusOr<std::string> type = json.GetStringOr("model_type", "");
  if (!type.ok()) return type.status();
  if (*type == "hyenadna") return ParseHuggingFace(json);
  if (type->empty() || *type == "hyena") return ParseOriginal(json);
  return Unsupported(fmt::format(
      "{}: model_type is \"{}\", and only hyenadna, hyena, FlashSTU, h3, "
      "stripedhyena and lcsm-stack are supported",
      json.file(), *type));
}

}  // namespace lcsm
