// A loaded model: immutable weights and the tokenizer that belongs to them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lcsm/options.h"
#include "lcsm/status.h"

namespace lcsm {
inline namespace v0 {

class Engine;  // Opaque; what a Model shares with its sessions.

// A handle: copies share the weights, which live as long as any copy or session
// does. Thread safety: all members are const and may be called from any thread.
class Model {
 public:
  // `folder` holds a Hugging Face style model: config.json and weights as
  // safetensors. Everything is checked here: names, shapes, types, finite
  // values.
  static StatusOr<Model> Load(const std::string& folder,
                              const LoadOptions& options = {});

  const ModelInfo& info() const;

  // Text to ids and back. Without a tokenizer in the folder both fail, and the
  // model is used with ids alone. No special tokens are added.
  StatusOr<std::vector<int32_t>> Encode(std::string_view text) const;
  StatusOr<std::string> Decode(std::span<const int32_t> ids) const;

  // Bytes a session of `options` needs beside nothing else: weights, filters,
  // their transforms, histories and activations; of a GPU's memory where the
  // model runs on one (which may then measure, as making the session would), of
  // several that share it that of the one with the least to spare.
  StatusOr<size_t> EstimateMemoryBytes(const SessionOptions& options) const;

 private:
  friend class Session;
  explicit Model(std::shared_ptr<const Engine> engine);
  std::shared_ptr<const Engine> engine_;
};

}  // namespace v0
}  // namespace lcsm
