// Steps of descriptions in few words, for translators.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "io/config_json.h"
#include "io/safetensors.h"
#include "models/stack_description.h"

namespace lcsm {

using StreamNames = std::vector<std::string>;

class PartBuilder {
 public:
  // `path` is what messages call the part, e.g. "layers.0.stu".
  PartBuilder(const io::WeightSet& weights, std::string name, std::string path,
              StackNorm norm)
      : weights_(weights), path_(std::move(path)) {
    part_.name = std::move(name);
    part_.norm = std::move(norm);
  }

  // The returned step may be refined until the next one is added. PREFIX.weight
  // and, where the file has it, PREFIX.bias.
  StackStep& Linear(const std::string& from, StreamNames to,
                    const std::string& prefix, size_t width = 0) {
    StackStep& step = Add(StackStepKind::kLinear, {from}, std::move(to));
    step.weight = prefix + ".weight";
    if (weights_.Find(prefix + ".bias") != nullptr) {
      step.bias = prefix + ".bias";
    }
    if (width != 0) step.widths = {width};
    return step;
  }
  StackStep& Convolve(StreamNames streams, StackFilter filter) {
    StackStep& step = Add(StackStepKind::kConvolve, streams, streams);
    step.filter = std::move(filter);
    return step;
  }
  StackStep& Multiply(const std::string& a, const std::string& b,
                      const std::string& to) {
    return Add(StackStepKind::kMultiply, {a, b}, {to});
  }
  StackStep& Sum(const std::string& a, const std::string& b,
                 const std::string& to) {
    return Add(StackStepKind::kAdd, {a, b}, {to});
  }
  void Activate(const std::string& stream, StackActivation activation) {
    Add(StackStepKind::kActivate, {stream}, {stream}).activation = activation;
  }
  StackStep& Attention(size_t heads, size_t kv_heads) {
    StackStep& step = Add(StackStepKind::kAttention, {"q", "k", "v"}, {"y"});
    step.heads = heads;
    step.kv_heads = kv_heads;
    return step;
  }
  StackPart Take() { return std::move(part_); }

 private:
  StackStep& Add(StackStepKind kind, StreamNames from, StreamNames to) {
    StackStep& step = part_.steps.emplace_back();
    step.kind = kind;
    step.path = path_ + "." + Name(kind);
    step.from = std::move(from);
    step.to = std::move(to);
    return step;
  }

  const io::WeightSet& weights_;
  const std::string path_;
  StackPart part_;
};

// Explicit taps as a framework's depthwise convolution has them.
inline StackFilter ShortFilter(const std::string& tensor) {
  StackFilter filter;
  filter.tensor = tensor;
  filter.now_last = true;
  return filter;
}

// A list of layers' numbers; those from `layers` on are left out, as published
// configs name some that do not exist.
inline StatusOr<std::vector<bool>> ReadLayerSet(const io::ConfigJson& json,
                                                const std::string& field,
                                                size_t layers) {
  std::vector<bool> set(layers);
  if (!json.Has(field)) return set;
  LCSM_ASSIGN_OR_RETURN(const size_t count, json.ListSize(field));
  for (size_t i = 0; i < count; ++i) {
    LCSM_ASSIGN_OR_RETURN(
        const int64_t layer,
        json.GetInt(field + "." + std::to_string(i), 0, 1 << 20));
    if (static_cast<size_t>(layer) < layers) {
      set[static_cast<size_t>(layer)] = true;
    }
  }
  return set;
}

inline StatusOr<size_t> ReadSize(const io::ConfigJson& json,
                                 const std::string& field, int64_t fallback,
                                 int64_t lo, int64_t hi) {
  LCSM_ASSIGN_OR_RETURN(const int64_t value,
                        fallback < lo ? json.GetInt(field, lo, hi)
                                      : json.GetIntOr(field, fallback, lo, hi));
  return static_cast<size_t>(value);
}

// The rows of the embedding, which a vocabulary may be padded to.
inline StatusOr<size_t> EmbeddingRows(const io::ConfigJson& json,
                                      const io::WeightSet& weights,
                                      const std::string& name, size_t vocab) {
  const io::TensorView* const view = weights.Find(name);
  if (view == nullptr || view->shape.empty()) {
    return InvalidInput(weights.path().string() + ": tensor " + name +
                        " is missing, which " + json.file() + " calls for");
  }
  if (view->shape[0] < vocab) {
    return json.Wrong("vocab_size", "at most the " +
                                        std::to_string(view->shape[0]) +
                                        " rows of the tensor " + name);
  }
  return view->shape[0];
}

}  // namespace lcsm
