// The door to all families names the engine's Model, so it comes first too.
#include "cuda/hyena_device_model.h"
#include "models/load_model.h"

#include "api/engine.h"
#include "api/execution.h"

#include <utility>

namespace lcsm {
inline namespace v0 {

StatusOr<std::shared_ptr<const Engine>> Engine::Load(
    const std::string& folder, const LoadOptions& options) {
  std::shared_ptr<Engine> engine(new Engine());
  api::EngineWeightFormat format = api::EngineWeightFormat::kFloat32;
  switch (options.weights) {
    case v0::WeightFormat::kFloat32:
      break;
    case v0::WeightFormat::kBf16:
      format = api::EngineWeightFormat::kBf16;
      break;
    case v0::WeightFormat::kInt8:
      format = api::EngineWeightFormat::kInt8;
      break;
    default:
      return InvalidInput("LoadOptions::weights is no known format");
  }
  LCSM_ASSIGN_OR_RETURN(const auto device, cuda::ParseDevice(options.device));
  LCSM_ASSIGN_OR_RETURN(auto model, LoadModel(folder, format));
  LCSM_ASSIGN_OR_RETURN(engine->model_,
                        cuda::PlaceModel(std::move(model), device));
  const auto& info = engine->model_->info();
  auto tokenizer = io::LoadTokenizer(folder, info.vocab);
  engine->tokenizer_status_ = tokenizer.status();
  if (tokenizer.ok()) engine->tokenizer_ = std::move(tokenizer).value();
  engine->info_ = {.family = info.family,
                   .name = info.name,
                   .hash = info.hash,
                   .layers = info.layers,
                   .width = info.width,
                   .vocab = info.vocab,
                   .padded_vocab = info.padded_vocab,
                   .max_length = info.max_length,
                   .eos_id = info.eos_id,
                   .parameters = info.parameters,
                   .weight_bytes = info.weight_bytes,
                   .details = info.details};
  return std::shared_ptr<const Engine>(std::move(engine));
}

StatusOr<api::EnginePrepareOptions> Engine::ToPrepareOptions(
    const SessionOptions& options) const {
  api::EnginePrepareOptions prepare;
  prepare.horizon =
      options.max_length == 0 ? info_.max_length : options.max_length;
  if (prepare.horizon > info_.max_length) {
    return InvalidInput(
        "SessionOptions::max_length is " + std::to_string(prepare.horizon) +
        ", expected at most " + std::to_string(info_.max_length) +
        ", the length limit of the model " + info_.name);
  }
  if (options.max_steps != 0) prepare.steps = options.max_steps;
  prepare.growable = options.growable;
  if (prepare.growable && options.max_steps != 0 &&
      options.max_steps < prepare.horizon) {
    return InvalidInput(
        "SessionOptions::growable keeps what the tokens so far add to later "
        "positions, and max_steps " +
        std::to_string(options.max_steps) +
        " lets go of it: expected max_steps 0");
  }
  LCSM_ASSIGN_OR_RETURN(prepare.plan, api::ToPlanOptions(options.execution));
  prepare.device_costs = options.execution.measure
                             ? DeviceCostSource::kMeasured
                             : DeviceCostSource::kEstimates;
  return prepare;
}

}  // namespace v0
}  // namespace lcsm
