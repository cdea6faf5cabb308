// What the facades share: a loaded model with its tokenizer.
//
// The engine's headers come first and get aliases here, because the facades
// have some of the same names (lcsm::Model and lcsm::v0::Model): after the
// public headers the plain names are ambiguous. Include this before any of
// them.
#pragma once

#include "conv/plan.h"
#include "io/tokenizer.h"
#include "kernels/dense_weights.h"
#include "runtime/generator.h"
#include "runtime/model.h"
#include "runtime/session_file.h"

namespace lcsm::api {

using EngineModel = ::lcsm::Model;
using EngineState = ::lcsm::ModelState;
using EngineGenerator = ::lcsm::Generator;
using EngineGenerateOptions = ::lcsm::GenerateOptions;
using EngineFinishReason = ::lcsm::FinishReason;
using EngineHooks = ::lcsm::GenerateHooks;
using EngineSample = ::lcsm::GeneratedSample;
using EnginePrepareOptions = ::lcsm::PrepareOptions;
using EngineWeightFormat = ::lcsm::WeightFormat;
using EnginePreparedModel = ::lcsm::PreparedModel;
using EngineSessionRecord = ::lcsm::SessionRecord;
using EngineOpenedSession = ::lcsm::OpenedSession;

}  // namespace lcsm::api

#include <memory>
#include <string>

#include "lcsm/model.h"
#include "lcsm/options.h"

namespace lcsm {
inline namespace v0 {

// Immutable after construction; shared by a Model's copies and its sessions.
class Engine {
 public:
  static StatusOr<std::shared_ptr<const Engine>> Load(
      const std::string& folder, const LoadOptions& options);

  const api::EngineModel& model() const { return *model_; }
  const ModelInfo& info() const { return info_; }
  // Null if the folder has none; tokenizer_status() says why.
  const io::Tokenizer* tokenizer() const { return tokenizer_.get(); }
  Status tokenizer_status() const { return tokenizer_status_; }

  // Checks the length against the model's limit; 0 becomes that limit.
  StatusOr<api::EnginePrepareOptions> ToPrepareOptions(
      const SessionOptions& options) const;

 private:
  Engine() = default;
  std::shared_ptr<const api::EngineModel> model_;
  std::unique_ptr<io::Tokenizer> tokenizer_;
  Status tokenizer_status_;
  ModelInfo info_;
};

}  // namespace v0
}  // namespace lcsm
