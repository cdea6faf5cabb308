#include "io/hyena_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <string_view>

#include "io/errors.h"

namespace lcsm::io {
namespace {

// The norm before the first layer in old files.
constexpr std::string_view kOldFirstNorm = "backbone.ln_0.";

void StripPrefix(std::string_view prefix, std::string* key) {
  if (key->starts_with(prefix)) key->erase(0, prefix.size());
}

void Replace(std::string_view from, std::string_view to, std::string* key) {
  const size_t at = key->find(from);
  if (at != std::string::npos) key->replace(at, from.size(), to);
}

void ReplacePrefix(std::string_view from, std::string_view to,
                   std::string* key) {
  if (key->starts_with(from)) key->replace(0, from.size(), to);
}

// The heads of sequence classifiers: Hugging Face's, and HyenaDNA's own under
// its standalone name.
bool IsClassifierHead(std::string_view name) {
  return name == "score.weight" || name.starts_with("head.output_transform.");
}

std::string Canonical(std::string key) {
  ReplacePrefix("decoder.0.output_transform.", "head.output_transform.", &key);
  StripPrefix("model.", &key);
  StripPrefix("hyena.", &key);
  ReplacePrefix("s4seq.encoder.", "backbone.", &key);
  ReplacePrefix("embedding.", "backbone.embeddings.word_embeddings.", &key);
  ReplacePrefix("backbone.norm.", kOldFirstNorm, &key);
  Replace(".mixer.layer.", ".mixer.", &key);
  Replace(".mlp.layer.", ".mlp.", &key);
  Replace(".mixer.output_linear.", ".mixer.out_proj.", &key);
  return key;
}

// backbone.layers.LAYER.normWHICH.REST
struct NormKey {
  size_t layer;
  int which;  // 1 or 2
  std::string rest;
};

std::optional<NormKey> ParseNormKey(std::string_view key) {
  constexpr std::string_view kPrefix = "backbone.layers.";
  if (!key.starts_with(kPrefix)) return std::nullopt;
  key.remove_prefix(kPrefix.size());
  NormKey norm;
  const auto [end, error] =
      std::from_chars(key.data(), key.data() + key.size(), norm.layer);
  if (error != std::errc()) return std::nullopt;
  key.remove_prefix(static_cast<size_t>(end - key.data()));
  if (key.starts_with(".norm1.")) {
    norm.which = 1;
  } else if (key.starts_with(".norm2.")) {
    norm.which = 2;
  } else {
    return std::nullopt;
  }
  norm.rest = key.substr(7);
  return norm;
}

// Old files normalise after each sub-layer: ln_0, then mixer and norm1, MLP and
// norm2. New ones before it. So every norm moves one place on, and the last one
// becomes ln_f.
void MoveOldNorms(std::vector<KeyPlan::Kept>* kept) {
  const auto is_first = [](const KeyPlan::Kept& k) {
    return k.name.starts_with(kOldFirstNorm);
  };
  if (std::none_of(kept->begin(), kept->end(), is_first)) return;
  size_t last = 0;
  for (const KeyPlan::Kept& k : *kept) {
    if (const auto norm = ParseNormKey(k.name)) {
      last = std::max(last, norm->layer);
    }
  }
  for (KeyPlan::Kept& k : *kept) {
    if (is_first(k)) {
      k.name = "backbone.layers.0.norm1." + k.name.substr(kOldFirstNorm.size());
    } else if (const auto norm = ParseNormKey(k.name)) {
      if (norm->which == 1) {
        k.name =
            fmt::format("backbone.layers.{}.norm2.{}", norm->layer, norm->rest);
      } else if (norm->layer < last) {
        k.name = fmt::format("backbone.layers.{}.norm1.{}", norm->layer + 1,
                             norm->rest);
      } else {
        k.name = "backbone.ln_f." + norm->rest;
      }
    }
  }
}

}  // namespace

StatusOr<KeyPlan> CanonicalHyenaKeys(const std::vector<std::string>& keys,
                                     const std::string& file) {
  KeyPlan plan;
  bool has_backbone = false;
  for (size_t i = 0; i < keys.size(); ++i) {
    const std::string& key = keys[i];
    if (key.find("torchmetrics") != std::string::npos) {
      plan.dropped.push_back({key, "a metric of training"});
    } else if (key.starts_with("encoder.") ||
               (key.starts_with("decoder.") &&
                !IsClassifierHead(Canonical(key)))) {
      plan.dropped.push_back({key, "part of a task's encoder or decoder"});
    } else {
      std::string name = Canonical(key);
      if (name.starts_with("backbone.") || name.starts_with("lm_head.") ||
          IsClassifierHead(name)) {
        has_backbone |= name.starts_with("backbone.");
        plan.kept.push_back({i, std::move(name)});
      } else {
        plan.dropped.push_back({key, "not a weight of a Hyena language model"});
      }
    }
  }
  if (!has_backbone) {
    return InvalidInput(fmt::format(
        "{}: has {} tensors, the first {}, expected those of a Hyena language "
        "model, such as backbone.embeddings.word_embeddings.weight",
        file, keys.size(), keys.empty() ? "none" : Quoted(keys[0], 200)));
  }
  MoveOldNorms(&plan.kept);
  std::map<std::string, size_t> sources;
  for (const KeyPlan::Kept& k : plan.kept) {
    const auto [it, fresh] = sources.emplace(k.name, k.index);
    if (!fresh) {
      return InvalidInput(fmt::format(
          "{}: its keys {} and {} both mean {}, expected one of them", file,
          Quoted(keys[it->second], 200), Quoted(keys[k.index], 200),
          Quoted(k.name, 200)));
    }
  }
  return plan;
}

}  // namespace lcsm::io
