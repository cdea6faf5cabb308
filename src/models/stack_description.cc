#include "models/stack_description.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "io/errors.h"
#include "models/stack_layout.h"
#include "models/stack_reader.h"

namespace lcsm {
namespace {

using As = StackStep::As;
using Feature = StackStep::Feature;
using FilterKind = StackFilter::Kind;
using Lags = StackFilter::Lags;
using NormKind = StackNorm::Kind;

constexpr int64_t kMaxWidth = 1 << 20;
constexpr int64_t kMaxVocab = 1 << 24;
constexpr int64_t kMaxLength = int64_t{1} << 32;
constexpr size_t kMaxBlocks = 4096;
constexpr size_t kMaxParts = 64;
constexpr size_t kMaxSteps = 256;
constexpr size_t kMaxAllSteps = 1 << 16;

constexpr Choice<StackStepKind> kStepKinds[] = {
    {"linear", StackStepKind::kLinear},
    {"convolve", StackStepKind::kConvolve},
    {"multiply", StackStepKind::kMultiply},
    {"add", StackStepKind::kAdd},
    {"activate", StackStepKind::kActivate},
    {"norm", StackStepKind::kNorm},
    {"read", StackStepKind::kRead},
    {"attention", StackStepKind::kAttention},
    {"linear-attention", StackStepKind::kLinearAttention},
    {"selective-scan", StackStepKind::kSelectiveScan},
    {"relaxed-convolve", StackStepKind::kRelaxedConvolve},
};
constexpr Choice<StackActivation> kActivations[] = {
    {"relu", StackActivation::kRelu},
    {"silu", StackActivation::kSilu},
    {"gelu", StackActivation::kGelu},
    {"gelu-tanh", StackActivation::kGeluTanh},
    {"sigmoid", StackActivation::kSigmoid},
    {"tanh", StackActivation::kTanh},
    {"softplus", StackActivation::kSoftplus},
};
constexpr Choice<FilterKind> kFilterKinds[] = {
    {"taps", FilterKind::kTaps},
    {"basis", FilterKind::kBasis},
    {"poles", FilterKind::kPoles},
    {"log-poles", FilterKind::kLogPoles},
    {"s4d", FilterKind::kS4d},
    {"shift", FilterKind::kShift},
    {"multiscale", FilterKind::kMultiscale},
    {"toeplitz", FilterKind::kToeplitz},
};
constexpr Choice<Lags> kLags[] = {
    {"all", Lags::kAll},
    {"even", Lags::kEven},
    {"alternating", Lags::kAlternating},
};
constexpr Choice<As> kAs[] = {
    {"auto", As::kAuto},
    {"fir", As::kFir},
    {"recurrence", As::kRecurrence},
    {"convolution", As::kConvolution},
    {"half-rate", As::kHalfRate},
};
constexpr Choice<Feature> kFeatures[] = {
    {"identity", Feature::kIdentity},
    {"relu", Feature::kRelu},
    {"elu+1", Feature::kEluPlusOne},
};
constexpr Choice<NormKind> kNormKinds[] = {
    {"none", NormKind::kNone},
    {"layer", NormKind::kLayer},
    {"rms", NormKind::kRms},
};
constexpr Choice<bool> kEpsPlaces[] = {{"inside", false}, {"outside", true}};
constexpr Choice<bool> kNow[] = {{"first", false}, {"last", true}};
constexpr Choice<bool> kDiscretizations[] = {{"bilinear", false},
                                             {"zoh", true}};

Status ReadNorm(const StackReader& at, bool with_weights, StackNorm* norm) {
  std::vector<std::string_view> fields = {"kind", "eps", "eps_at"};
  if (with_weights) fields.insert(fields.end(), {"weight", "bias"});
  LCSM_RETURN_IF_ERROR(at.CheckFields("a norm", fields));
  LCSM_RETURN_IF_ERROR(
      at.Choose<NormKind>("kind", kNormKinds, true, &norm->kind));
  LCSM_RETURN_IF_ERROR(at.Number("eps", 0, 1, &norm->eps));
  LCSM_RETURN_IF_ERROR(
      at.Choose<bool>("eps_at", kEpsPlaces, false, &norm->eps_outside));
  if (norm->eps_outside && norm->kind != NormKind::kRms) {
    return at.Wrong("eps_at", "\"inside\" for what is no RMS norm");
  }
  LCSM_RETURN_IF_ERROR(at.Tensor("weight", &norm->weight));
  return at.Tensor("bias", &norm->bias);
}

Status ReadToeplitz(const StackReader& at, StackFilter* filter) {
  LCSM_RETURN_IF_ERROR(at.CheckFields(
      "a toeplitz filter", {"kind", "first", "hidden", "last", "width", "gamma",
                            "norm", "par_type"}));
  size_t par_type = 1;
  LCSM_RETURN_IF_ERROR(at.Size("par_type", 1, 3, &par_type));
  if (par_type != 1) {
    return Unsupported(fmt::format(
        "{}: {} is {}, and only 1 is supported: the others make the filter "
        "depend on the sequence's length",
        at.json().file(), at.At("par_type"), par_type));
  }
  LCSM_RETURN_IF_ERROR(at.NeededTensor("first", &filter->first));
  LCSM_RETURN_IF_ERROR(at.NeededTensor("last", &filter->last));
  if (at.Has("hidden")) {
    LCSM_RETURN_IF_ERROR(at.Tensors("hidden", &filter->hidden));
  }
  if (!at.Has("width")) return at.Wrong("width", "a whole number");
  LCSM_RETURN_IF_ERROR(at.Size("width", 1, 1 << 16, &filter->width));
  LCSM_RETURN_IF_ERROR(at.Number("gamma", 0, 1, &filter->gamma));
  if (!at.Has("norm")) return OkStatus();
  return ReadNorm(at.Under("norm"), false, &filter->norm);
}

Status ReadFilter(const StackReader& at, StackFilter* filter) {
  LCSM_RETURN_IF_ERROR(
      at.Choose<FilterKind>("kind", kFilterKinds, true, &filter->kind));
  switch (filter->kind) {
    case FilterKind::kTaps:
      LCSM_RETURN_IF_ERROR(at.CheckFields(
          "a filter of taps",
          {"kind", "tensor", "time_first", "now", "soft_threshold", "lags"}));
      LCSM_RETURN_IF_ERROR(at.NeededTensor("tensor", &filter->tensor));
      LCSM_RETURN_IF_ERROR(at.Flag("time_first", &filter->time_first));
      LCSM_RETURN_IF_ERROR(
          at.Choose<bool>("now", kNow, false, &filter->now_last));
      LCSM_RETURN_IF_ERROR(
          at.Number("soft_threshold", 0, 1e30, &filter->soft_threshold));
      return at.Choose<Lags>("lags", kLags, false, &filter->lags);
    case FilterKind::kBasis:
      LCSM_RETURN_IF_ERROR(at.CheckFields("a filter of a basis",
                                          {"kind", "tensor", "mix", "lags"}));
      LCSM_RETURN_IF_ERROR(at.NeededTensor("tensor", &filter->tensor));
      LCSM_RETURN_IF_ERROR(at.NeededTensor("mix", &filter->mix));
      return at.Choose<Lags>("lags", kLags, false, &filter->lags);
    case FilterKind::kPoles:
      LCSM_RETURN_IF_ERROR(
          at.CheckFields("a filter of poles", {"kind", "poles", "residues"}));
      LCSM_RETURN_IF_ERROR(at.NeededTensor("poles", &filter->poles));
      return at.NeededTensor("residues", &filter->residues);
    case FilterKind::kLogPoles:
      LCSM_RETURN_IF_ERROR(at.CheckFields("a filter of log-poles",
                                          {"kind", "log_poles", "residues"}));
      LCSM_RETURN_IF_ERROR(at.NeededTensor("log_poles", &filter->poles));
      return at.NeededTensor("residues", &filter->residues);
    case FilterKind::kS4d:
      LCSM_RETURN_IF_ERROR(at.CheckFields(
          "an s4d filter", {"kind", "log_dt", "log_a_real", "a_imag", "b", "c",
                            "discretization"}));
      LCSM_RETURN_IF_ERROR(at.NeededTensor("log_dt", &filter->log_dt));
      LCSM_RETURN_IF_ERROR(at.NeededTensor("log_a_real", &filter->log_a_real));
      LCSM_RETURN_IF_ERROR(at.NeededTensor("a_imag", &filter->a_imag));
      LCSM_RETURN_IF_ERROR(at.Tensor("b", &filter->b));
      LCSM_RETURN_IF_ERROR(at.NeededTensor("c", &filter->c));
      return at.Choose<bool>("discretization", kDiscretizations, false,
                             &filter->zero_order_hold);
    case FilterKind::kShift:
      LCSM_RETURN_IF_ERROR(
          at.CheckFields("a shift filter", {"kind", "b", "c"}));
      LCSM_RETURN_IF_ERROR(at.NeededTensor("b", &filter->b));
      return at.NeededTensor("c", &filter->c);
    case FilterKind::kMultiscale:
      LCSM_RETURN_IF_ERROR(at.CheckFields(
          "a multiscale filter",
          {"kind", "tensors", "multiplier", "init_scale", "divisor"}));
      LCSM_RETURN_IF_ERROR(at.Tensors("tensors", &filter->tensors));
      if (filter->tensors.size() > 32) {
        return at.Wrong("tensors", "1 to 32 kernels");
      }
      LCSM_RETURN_IF_ERROR(
          at.Number("multiplier", 0, 1e6, &filter->multiplier));
      LCSM_RETURN_IF_ERROR(at.Size("init_scale", 0, 20, &filter->init_scale));
      return at.Tensor("divisor", &filter->divisor);
    case FilterKind::kToeplitz:
      return ReadToeplitz(at, filter);
  }
  return OkStatus();
}

Status ReadAttention(const StackReader& at, StackStep* step) {
  LCSM_RETURN_IF_ERROR(
      at.CheckFields("an attention step",
                     {"do", "from", "to", "causal", "bidirectional", "heads",
                      "kv_heads", "rotary", "window", "alibi", "soft_cap"}));
  LCSM_RETURN_IF_ERROR(at.Causal());
  if (!at.Has("heads")) return at.Wrong("heads", "a whole number");
  LCSM_RETURN_IF_ERROR(at.Size("heads", 1, kMaxWidth, &step->heads));
  step->kv_heads = step->heads;
  LCSM_RETURN_IF_ERROR(at.Size("kv_heads", 1, kMaxWidth, &step->kv_heads));
  LCSM_RETURN_IF_ERROR(at.Size("window", 1, kMaxLength, &step->window));
  LCSM_RETURN_IF_ERROR(at.Number("alibi", 0, 1e6, &step->alibi));
  LCSM_RETURN_IF_ERROR(at.Number("soft_cap", 0, 1e6, &step->soft_cap));
  if (!at.Has("rotary")) return OkStatus();
  const StackReader rotary = at.Under("rotary");
  LCSM_RETURN_IF_ERROR(rotary.CheckFields(
      "rotary positions", {"width", "base", "scale", "frequencies"}));
  step->rotary = kWholeHead;
  LCSM_RETURN_IF_ERROR(rotary.Size("width", 2, kMaxWidth, &step->rotary));
  LCSM_RETURN_IF_ERROR(rotary.Number("base", 1, 1e12, &step->rotary_base));
  LCSM_RETURN_IF_ERROR(rotary.Number("scale", 1e-6, 1e12, &step->rotary_scale));
  return rotary.Tensor("frequencies", &step->rotary_frequencies);
}

Status ReadOthers(const StackReader& at, StackStep* step) {
  switch (step->kind) {
    case StackStepKind::kLinear:
      LCSM_RETURN_IF_ERROR(at.CheckFields(
          "a linear step", {"do", "from", "to", "width", "weight", "bias",
                            "transposed", "run"}));
      LCSM_RETURN_IF_ERROR(at.Sizes("width", 1, kMaxWidth, &step->widths));
      LCSM_RETURN_IF_ERROR(at.NeededTensor("weight", &step->weight));
      LCSM_RETURN_IF_ERROR(at.Flag("transposed", &step->transposed));
      LCSM_RETURN_IF_ERROR(at.Tensor("bias", &step->bias));
      return at.Size("run", 1, kMaxWidth, &step->run);
    case StackStepKind::kConvolve:
      LCSM_RETURN_IF_ERROR(
          at.CheckFields("a convolve step",
                         {"do", "from", "to", "causal", "bidirectional",
                          "repeat", "filter", "skip", "bias", "as", "run"}));
      LCSM_RETURN_IF_ERROR(at.Causal());
      LCSM_RETURN_IF_ERROR(at.Size("repeat", 1, 1024, &step->repeat));
      if (!at.Has("filter")) return at.Wrong("filter", "an object");
      LCSM_RETURN_IF_ERROR(ReadFilter(at.Under("filter"), &step->filter));
      LCSM_RETURN_IF_ERROR(at.Tensor("skip", &step->skip));
      LCSM_RETURN_IF_ERROR(at.Tensor("bias", &step->bias));
      LCSM_RETURN_IF_ERROR(at.Choose<As>("as", kAs, false, &step->as));
      return at.Size("run", 1, kMaxWidth, &step->run);
    case StackStepKind::kMultiply:
    case StackStepKind::kAdd:
      return at.CheckFields("such a step", {"do", "from", "to"});
    case StackStepKind::kActivate:
      LCSM_RETURN_IF_ERROR(
          at.CheckFields("an activate step", {"do", "from", "to", "with"}));
      return at.Choose<StackActivation>("with", kActivations, true,
                                        &step->activation);
    case StackStepKind::kNorm:
      LCSM_RETURN_IF_ERROR(
          at.CheckFields("a norm step", {"do", "from", "to", "norm"}));
      if (!at.Has("norm")) return at.Wrong("norm", "an object");
      return ReadNorm(at.Under("norm"), true, &step->norm);
    case StackStepKind::kRead:
      LCSM_RETURN_IF_ERROR(at.CheckFields(
          "a read step", {"do", "block", "delay", "ahead", "to"}));
      if (!at.Has("block")) return at.Wrong("block", "a block's number");
      LCSM_RETURN_IF_ERROR(at.Size("block", 0, kMaxBlocks, &step->block));
      LCSM_RETURN_IF_ERROR(at.Flag("ahead", &step->ahead));
      LCSM_RETURN_IF_ERROR(at.Size("delay", 0, 1, &step->delay));
      if (step->ahead && step->delay != 0) {
        return at.Wrong("delay", "none of what is read ahead");
      }
      return OkStatus();
    case StackStepKind::kAttention:
      return ReadAttention(at, step);
    case StackStepKind::kLinearAttention:
      LCSM_RETURN_IF_ERROR(
          at.CheckFields("a linear-attention step",
                         {"do", "from", "to", "causal", "bidirectional",
                          "heads", "feature", "normalise", "scale"}));
      LCSM_RETURN_IF_ERROR(at.Causal());
      LCSM_RETURN_IF_ERROR(at.Size("heads", 1, kMaxWidth, &step->heads));
      LCSM_RETURN_IF_ERROR(
          at.Choose<Feature>("feature", kFeatures, false, &step->feature));
      LCSM_RETURN_IF_ERROR(at.Flag("normalise", &step->normalise));
      return at.Number("scale", 1e-6, 1e6, &step->scale);
    case StackStepKind::kSelectiveScan:
      LCSM_RETURN_IF_ERROR(at.CheckFields(
          "a selective-scan step",
          {"do", "from", "to", "causal", "bidirectional", "a_log", "skip"}));
      LCSM_RETURN_IF_ERROR(at.Causal());
      LCSM_RETURN_IF_ERROR(at.NeededTensor("a_log", &step->a_log));
      return at.Tensor("skip", &step->skip);
    case StackStepKind::kRelaxedConvolve:
      LCSM_RETURN_IF_ERROR(
          at.CheckFields("a relaxed-convolve step",
                         {"do", "from", "to", "causal", "bidirectional"}));
      return at.Causal();
  }
  return OkStatus();
}

Status ReadStep(const StackReader& at, StackStep* step) {
  step->path = at.path();
  LCSM_RETURN_IF_ERROR(
      at.Choose<StackStepKind>("do", kStepKinds, true, &step->kind));
  if (step->kind != StackStepKind::kRead) {
    if (!at.Has("from")) return at.Wrong("from", "a stream's name");
    LCSM_RETURN_IF_ERROR(at.Streams("from", &step->from));
  }
  if (at.Has("to")) {
    LCSM_RETURN_IF_ERROR(at.Streams("to", &step->to));
  } else if (step->kind == StackStepKind::kConvolve ||
             step->kind == StackStepKind::kActivate ||
             step->kind == StackStepKind::kNorm) {
    step->to = step->from;
  } else {
    return at.Wrong("to", "a stream's name");
  }
  return ReadOthers(at, step);
}

Status ReadPart(const StackReader& at, StackPart* part) {
  LCSM_RETURN_IF_ERROR(at.CheckFields("a part", {"name", "norm", "steps"}));
  StatusOr<std::string> name = at.json().GetStringOr(at.At("name"), "");
  if (!name.ok()) return name.status();
  part->name = io::Quoted(*name, 40);
  part->name = part->name.substr(1, part->name.size() - 2);
  if (at.Has("norm")) {
    LCSM_RETURN_IF_ERROR(ReadNorm(at.Under("norm"), true, &part->norm));
  }
  LCSM_ASSIGN_OR_RETURN(const size_t count, at.json().ListSize(at.At("steps")));
  if (count == 0 || count > kMaxSteps) {
    return at.Wrong("steps", fmt::format("1 to {} steps", kMaxSteps));
  }
  part->steps.resize(count);
  for (size_t i = 0; i < count; ++i) {
    LCSM_RETURN_IF_ERROR(
        ReadStep(at.Under(fmt::format("steps.{}", i)), &part->steps[i]));
  }
  return OkStatus();
}

Status ReadBlocks(const io::ConfigJson& json, StackDescription* stack) {
  LCSM_ASSIGN_OR_RETURN(const size_t count, json.ListSize("blocks"));
  size_t steps = 0;
  for (size_t i = 0; i < count; ++i) {
    const std::string path = fmt::format("blocks.{}", i);
    const StackReader head(json, path, stack->blocks.size());
    LCSM_RETURN_IF_ERROR(head.CheckFields("a block", {"repeat", "parts"}));
    size_t repeat = 1;
    LCSM_RETURN_IF_ERROR(head.Size("repeat", 1, kMaxBlocks, &repeat));
    LCSM_ASSIGN_OR_RETURN(const size_t parts, json.ListSize(path + ".parts"));
    if (parts == 0 || parts > kMaxParts) {
      return head.Wrong("parts", fmt::format("1 to {} parts", kMaxParts));
    }
    for (size_t copy = 0; copy < repeat; ++copy) {
      if (stack->blocks.size() == kMaxBlocks || steps > kMaxAllSteps) {
        return json.Wrong(
            "blocks", fmt::format("at most {} blocks and {} steps with their "
                                  "repetitions",
                                  kMaxBlocks, kMaxAllSteps));
      }
      const StackReader at(json, path, stack->blocks.size());
      StackBlock& block = stack->blocks.emplace_back();
      block.parts.resize(parts);
      for (size_t p = 0; p < parts; ++p) {
        LCSM_RETURN_IF_ERROR(
            ReadPart(at.Under(fmt::format("parts.{}", p)), &block.parts[p]));
        steps += block.parts[p].steps.size();
      }
    }
  }
  if (stack->blocks.empty()) return json.Wrong("blocks", "at least one block");
  return OkStatus();
}

}  // namespace

const char* Name(StackStepKind kind) {
  for (const auto& choice : kStepKinds) {
    if (choice.value == kind) return choice.name;
  }
  return "";
}

const char* Name(StackActivation activation) {
  for (const auto& choice : kActivations) {
    if (choice.value == activation) return choice.name;
  }
  return "";
}

const char* Name(StackFilter::Kind kind) {
  for (const auto& choice : kFilterKinds) {
    if (choice.value == kind) return choice.name;
  }
  return "";
}

StatusOr<StackDescription> ParseStackDescription(const io::ConfigJson& json) {
  StackDescription stack;
  stack.file = json.file();
  stack.text = json.Dump();
  const StackReader at(json, "", 0);
  for (const std::string& key : json.Keys("")) {
    static constexpr std::string_view kKnown[] = {
        "model_type", "vocab_size", "padded_vocab_size",
        "width",      "max_length", "eos_token_id",
        "embedding",  "blocks",     "final_norm",
        "head",       "comment"};
    if (std::find(std::begin(kKnown), std::end(kKnown), key) ==
        std::end(kKnown)) {
      return InvalidInput(fmt::format(
          "{}: has the field {}, which a description does not have; expected "
          "{}",
          json.file(), io::Quoted(key), fmt::join(kKnown, ", ")));
    }
  }
  LCSM_ASSIGN_OR_RETURN(const int64_t vocab,
                        json.GetInt("vocab_size", 1, kMaxVocab));
  LCSM_ASSIGN_OR_RETURN(
      const int64_t padded,
      json.GetIntOr("padded_vocab_size", vocab, vocab, kMaxVocab));
  LCSM_ASSIGN_OR_RETURN(const int64_t width,
                        json.GetInt("width", 1, kMaxWidth));
  LCSM_ASSIGN_OR_RETURN(const int64_t length,
                        json.GetInt("max_length", 1, kMaxLength));
  LCSM_ASSIGN_OR_RETURN(const int64_t eos,
                        json.GetIntOr("eos_token_id", -1, -1, vocab - 1));
  stack.vocab = static_cast<size_t>(vocab);
  stack.padded_vocab = static_cast<size_t>(padded);
  stack.width = static_cast<size_t>(width);
  stack.max_length = static_cast<size_t>(length);
  stack.eos_id = static_cast<int32_t>(eos);
  LCSM_RETURN_IF_ERROR(at.NeededTensor("embedding", &stack.embedding));
  LCSM_RETURN_IF_ERROR(at.Tensor("head", &stack.head));
  if (at.Has("final_norm")) {
    LCSM_RETURN_IF_ERROR(
        ReadNorm(at.Under("final_norm"), true, &stack.final_norm));
  }
  LCSM_RETURN_IF_ERROR(ReadBlocks(json, &stack));
  LCSM_RETURN_IF_ERROR(LayOut(stack).status());
  return stack;
}

}  // namespace lcsm
