#include "models/load_model.h"

#include <fmt/format.h>

#include <string>
#include <system_error>
#include <utility>

#include "io/config_json.h"
#include "io/safetensors.h"
#include "models/hyena_config.h"
#include "models/hyena_model.h"
#include "models/hyena_weights.h"
#include "models/stack_description.h"
#include "models/stack_families.h"
#include "models/stack_model.h"

namespace lcsm {
namespace {

bool Exists(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

// A folder as frameworks leave it, not yet converted.
bool HoldsOnlyCheckpoint(const std::filesystem::path& folder) {
  return !Exists(folder / "model.safetensors") &&
         !Exists(folder / "model.safetensors.index.json") &&
         (Exists(folder / "weights.ckpt") ||
          Exists(folder / "pytorch_model.bin") || Exists(folder / "model.pt"));
}

std::string LastComponent(const std::filesystem::path& folder) {
  std::error_code error;
  const std::filesystem::path whole = std::filesystem::canonical(folder, error);
  return (error ? folder : whole).filename().string();
}

Status NotConverted(const std::filesystem::path& folder) {
  return InvalidInput(fmt::format(
      "{} holds a PyTorch checkpoint, which must be converted first: lcsm "
      "convert {} --output DIR",
      folder.string(), folder.string()));
}

// A model that is run as a stack of steps.
StatusOr<std::shared_ptr<const Model>> LoadStack(
    const std::filesystem::path& folder, const io::ConfigJson& json,
    StackTranslator translate, WeightFormat format) {
  if (HoldsOnlyCheckpoint(folder)) return NotConverted(folder);
  LCSM_ASSIGN_OR_RETURN(std::shared_ptr<const io::WeightSet> file,
                        io::WeightSet::Open(folder));
  LCSM_ASSIGN_OR_RETURN(StackDescription description,
                        translate == nullptr ? ParseStackDescription(json)
                                             : translate(json, *file));
  description.file = json.file();
  description.text = json.Dump();
  LCSM_ASSIGN_OR_RETURN(
      std::shared_ptr<const StackWeights> weights,
      StackWeights::Bind(std::move(description), std::move(file), format));
  for (const std::string& name : weights->tensors().Unused()) {
    // As below; a description of one's own may leave out what it likes.
    if (translate != nullptr &&
        (name.find("layers.") != std::string::npos ||
         name.find("blocks.") != std::string::npos) &&
        (name.ends_with(".weight") || name.ends_with(".bias") ||
         name.ends_with(".scale"))) {
      return InvalidInput(fmt::format(
          "{} holds tensor {}, which its config.json does not call for; the "
          "two do not belong together",
          folder.string(), name));
    }
  }
  return std::shared_ptr<const Model>(
      std::make_shared<StackModel>(std::move(weights), LastComponent(folder)));
}

}  // namespace

StatusOr<std::shared_ptr<const Model>> LoadModel(
    const std::filesystem::path& folder, WeightFormat format) {
  LCSM_ASSIGN_OR_RETURN(const io::ConfigJson json,
                        io::ConfigJson::Read(folder / "config.json"));
  // Families are told apart by what only their configs have.
  StatusOr<std::string> type = json.GetStringOr("model_type", "");
  if (!type.ok()) return type.status();
  const StackTranslator translate = FindStackTranslator(json);
  if (translate != nullptr || *type == "lcsm-stack") {
    return LoadStack(folder, json, translate, format);
  }
  LCSM_ASSIGN_OR_RETURN(const HyenaConfig config, ParseHyenaConfig(json));
  if (HoldsOnlyCheckpoint(folder)) return NotConverted(folder);
  LCSM_ASSIGN_OR_RETURN(std::shared_ptr<const io::WeightSet> file,
                        io::WeightSet::Open(folder));
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<TensorSource> source,
                        MakeFileSource(std::move(file)));
  LCSM_ASSIGN_OR_RETURN(std::shared_ptr<const HyenaWeights> weights,
                        HyenaWeights::Bind(config, std::move(source), format));
  for (const std::string& name : weights->source().Unused()) {
    // Buffers may be left over (deltas of a model without modulation), and what
    // belongs to a training run; a trained layer may not.
    if (name.find("backbone.layers.") != std::string::npos &&
        (name.ends_with(".weight") || name.ends_with(".bias"))) {
      return InvalidInput(fmt::format(
          "{} holds tensor {}, which its config.json does not call for ({} "
          "layers of order {}); the two do not belong together",
          folder.string(), name, config.layers, config.order));
    }
  }
  LCSM_RETURN_IF_ERROR(weights->source().CheckIntact());
  return std::shared_ptr<const Model>(
      std::make_shared<HyenaModel>(std::move(weights), LastComponent(folder)));
}

}  // namespace lcsm
