#include "io/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <span>
#include <system_error>
#include <utility>

#include "io/atomic_file.h"
#include "io/config_json.h"
#include "io/errors.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "io/stack_config.h"
#include "io/torch_checkpoint.h"

namespace lcsm::io {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr size_t kMaxConfigBytes = size_t{16} << 20;
constexpr size_t kMaxTokenizerBytes = size_t{256} << 20;
constexpr const char* kWeightNames[] = {"weights.ckpt", "pytorch_model.bin",
                                        "model.pt"};
constexpr const char* kTokenizerFiles[] = {
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "vocab.json", "merges.txt"};

StatusOr<fs::path> FindWeights(const fs::path& given) {
  std::error_code error;
  if (!fs::is_directory(given, error)) return given;
  for (const char* name : kWeightNames) {
    if (fs::exists(given / name, error)) return given / name;
  }
  if (fs::exists(given / "model.safetensors", error) ||
      fs::exists(given / "model.safetensors.index.json", error)) {
    return InvalidInput(fmt::format(
        "{}: holds safetensors already, expected a torch checkpoint (lcsm "
        "reads this folder as it is)",
        given.string()));
  }
  return NotFound(
      fmt::format("{}: holds no weights to convert, expected weights.ckpt, "
                  "pytorch_model.bin or model.pt",
                  given.string()));
}

// Removes again what was made of the output folder's path if nothing came of
// it.
class FolderGuard {
 public:
  static StatusOr<FolderGuard> Make(const fs::path& folder) {
    std::error_code error;
    FolderGuard guard;
    for (fs::path p = folder; !p.empty() && !fs::exists(p, error);
         p = p.parent_path()) {
      guard.made_.push_back(p);
    }
    fs::create_directories(folder, error);
    if (error) return FileError(folder, "made", error.value());
    return guard;
  }
  FolderGuard(FolderGuard&& other) noexcept
      : made_(std::exchange(other.made_, {})) {}
  FolderGuard& operator=(FolderGuard&& other) noexcept {
    std::swap(made_, other.made_);
    return *this;
  }
  ~FolderGuard() {
    std::error_code error;  // Only empty folders can be removed.
    for (const fs::path& folder : made_) fs::remove(folder, error);
  }
  void Keep() { made_.clear(); }

 private:
  FolderGuard() = default;
  std::vector<fs::path> made_;  // Innermost first.
};

// One tensor of the output.
struct Item {
  size_t index;  // In the checkpoint.
  std::string name;
  DType dtype;  // As written.
};

bool IsFloat(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 ||
         dtype == DType::kBF16 || dtype == DType::kF64;
}

// A head that is the embedding itself, not a copy: models fall back on the
// embedding, so writing it twice would only hide that it is tied.
bool SameMemory(const TorchCheckpoint::Tensor& a,
                const TorchCheckpoint::Tensor& b) {
  return a.storage == b.storage && a.offset == b.offset && a.shape == b.shape &&
         a.strides == b.strides && a.dtype == b.dtype;
}

// Wider types first keeps every tensor aligned.
void SortByWidth(std::vector<Item>& items) {
  std::stable_sort(items.begin(), items.end(),
                   [](const Item& a, const Item& b) {
                     return DTypeSize(a.dtype) > DTypeSize(b.dtype);
                   });
}

void DropOthers(const TorchCheckpoint& checkpoint, ConvertReport* report) {
  for (const std::string& key : checkpoint.other_keys()) {
    report->dropped.push_back({key, "not a tensor"});
  }
}

// Of a model that runs as a stack: all tensors, but for a head that is the
// embedding.
StatusOr<std::vector<Item>> PlanStackItems(const TorchCheckpoint& checkpoint,
                                           const std::string& file,
                                           StackFamily family,
                                           ConvertReport* report) {
  const auto& tensors = checkpoint.tensors();
  DropOthers(checkpoint, report);
  std::map<std::string, size_t> index;
  std::vector<std::string> names;
  for (size_t i = 0; i < tensors.size(); ++i) {
    names.push_back(StackTensorName(family, tensors[i].name));
    const auto [other, added] = index.emplace(names[i], i);
    if (!added) {
      return InvalidInput(
          fmt::format("{}: keys {} and {} both mean {}, expected one of them",
                      file, Quoted(tensors[other->second].name, 200),
                      Quoted(tensors[i].name, 200), Quoted(names[i], 200)));
    }
  }
  const auto is_tied = [&](size_t i) {
    if (family == StackFamily::kDescribed ||
        (!names[i].ends_with("lm_head.weight") &&
         !names[i].ends_with("unembed.weight"))) {
      return false;
    }
    return std::any_of(index.begin(), index.end(), [&](const auto& other) {
      return other.second != i && SameMemory(tensors[other.second], tensors[i]);
    });
  };
  std::vector<Item> items;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (is_tied(i)) {
      report->dropped.push_back({tensors[i].name, "tied to the embedding"});
      continue;
    }
    // Nothing reads more than float32.
    items.push_back(
        {i, names[i],
         tensors[i].dtype == DType::kF64 ? DType::kF32 : tensors[i].dtype});
  }
  SortByWidth(items);
  return items;
}

StatusOr<std::vector<Item>> PlanItems(const TorchCheckpoint& checkpoint,
                                      const std::string& file,
                                      ConvertReport* report) {
  const auto& tensors = checkpoint.tensors();
  std::vector<std::string> keys;
  keys.reserve(tensors.size());
  for (const auto& tensor : tensors) keys.push_back(tensor.name);
  LCSM_ASSIGN_OR_RETURN(KeyPlan plan, CanonicalHyenaKeys(keys, file));
  report->dropped = std::move(plan.dropped);
  DropOthers(checkpoint, report);
  const auto embedding = std::find_if(
      plan.kept.begin(), plan.kept.end(), [](const KeyPlan::Kept& k) {
        return k.name == "backbone.embeddings.word_embeddings.weight";
      });
  std::vector<Item> items;
  for (const KeyPlan::Kept& kept : plan.kept) {
    const auto& tensor = tensors[kept.index];
    if (kept.name == "lm_head.weight" && embedding != plan.kept.end() &&
        SameMemory(tensor, tensors[embedding->index])) {
      report->dropped.push_back({tensor.name, "tied to the embedding"});
      continue;
    }
    items.push_back({kept.index, kept.name,
                     IsFloat(tensor.dtype) ? DType::kF32 : tensor.dtype});
  }
  SortByWidth(items);
  return items;
}

Status WriteItem(TorchCheckpoint& checkpoint, const Item& item,
                 const std::string& file, SafetensorsWriter* writer,
                 ConvertReport* report) {
  const TorchCheckpoint::Tensor& tensor = checkpoint.tensors()[item.index];
  LCSM_ASSIGN_OR_RETURN(std::vector<std::byte> bytes,
                        checkpoint.Read(item.index));
  report->kept.push_back(item.name);
  if (!IsFloat(tensor.dtype)) {
    report->bytes += bytes.size();
    return writer->Write(bytes);
  }
  std::vector<float> values(tensor.elements);
  LCSM_RETURN_IF_ERROR(
      CopyToFloat32(TensorView{tensor.name, tensor.dtype, tensor.shape,
                               bytes.data(), bytes.size()},
                    values.data()));
  const auto bad = std::find_if(values.begin(), values.end(),
                                [](float x) { return !std::isfinite(x); });
  if (bad != values.end()) {
    return InvalidInput(fmt::format(
        "{}: element {} of {} is {} as float32, expected a finite number", file,
        bad - values.begin(), Quoted(tensor.name, 200), *bad));
  }
  if (item.dtype == tensor.dtype && item.dtype != DType::kF32) {
    report->bytes += bytes.size();
    return writer->Write(bytes);
  }
  if (tensor.dtype != DType::kF32)
    report->converted.push_back({item.name, tensor.dtype});
  report->bytes += values.size() * sizeof(float);
  return writer->Write(std::as_bytes(std::span(values)));
}

// The original config with the two fields that no original has.
StatusOr<std::string> MakeConfig(const std::string& text,
                                 const ConfigJson& config, bool lightning,
                                 const ConvertOptions& options,
                                 ConvertReport* report) {
  LCSM_ASSIGN_OR_RETURN(
      const FilterConventions usual,
      ReadFilterConventions(config, lightning ? WeightContainer::kLightning
                                              : WeightContainer::kOther));
  report->filter_shift = options.filter_shift.value_or(usual.shift);
  if (!std::isfinite(report->filter_shift)) {
    return InvalidInput(fmt::format(
        "filter_shift is {}, expected a finite number", report->filter_shift));
  }
  report->filter_layout = options.filter_layout.value_or(usual.layout);
  LCSM_ASSIGN_OR_RETURN(Json json, ParseJson(text, config.file()));
  json["filter_shift"] = report->filter_shift;
  json["filter_layout"] = std::string(FilterLayoutName(report->filter_layout));
  return json.dump(2) + "\n";
}

Status RefuseExisting(const fs::path& output, bool overwrite) {
  std::error_code error;
  for (const char* name :
       {"model.safetensors", "model.safetensors.index.json", "config.json"}) {
    // An index would shadow nothing, but two models in a folder are a trap.
    const bool index = std::string_view(name).ends_with("index.json");
    if (fs::exists(output / name, error) && (!overwrite || index)) {
      return InvalidInput(fmt::format(
          "{}: exists already, expected an output folder without a model{}",
          (output / name).string(), index ? "" : " (or --overwrite)"));
    }
  }
  return OkStatus();
}

StatusOr<ConvertReport> Convert(const fs::path& given, const fs::path& output,
                                const ConvertOptions& options) {
  ConvertReport report;
  LCSM_ASSIGN_OR_RETURN(report.weights, FindWeights(given));
  LCSM_RETURN_IF_ERROR(RefuseExisting(output, options.overwrite));
  const std::string file = report.weights.string();
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<TorchCheckpoint> checkpoint,
                        TorchCheckpoint::Open(report.weights));
  const fs::path source = report.weights.parent_path();
  const fs::path config_path =
      options.config.empty() ? source / "config.json" : options.config;
  LCSM_ASSIGN_OR_RETURN(std::string config,
                        ReadFile(config_path, kMaxConfigBytes));
  LCSM_ASSIGN_OR_RETURN(const ConfigJson json,
                        ConfigJson::Parse(config, config_path.string()));
  const std::optional<StackFamily> family = StackFamilyOf(json);
  report.is_stack = family.has_value();
  std::vector<Item> items;
  if (family.has_value()) {
    if (options.filter_shift.has_value() || options.filter_layout.has_value()) {
      return InvalidInput(
          fmt::format("{} is the config of a stack, whose filters its tensors "
                      "say, expected "
                      "no filter shift and no filter layout",
                      config_path.string()));
    }
    LCSM_ASSIGN_OR_RETURN(items,
                          PlanStackItems(*checkpoint, file, *family, &report));
  } else {
    LCSM_ASSIGN_OR_RETURN(
        config, MakeConfig(config, json, checkpoint->from_lightning(), options,
                           &report));
    LCSM_ASSIGN_OR_RETURN(items, PlanItems(*checkpoint, file, &report));
  }

  // Everything is written under temporary names first and renamed last, the
  // weights before the config: a folder with a config has its weights.
  LCSM_ASSIGN_OR_RETURN(FolderGuard folder, FolderGuard::Make(output));
  std::vector<SafetensorsWriter::Declaration> declarations;
  declarations.reserve(items.size());
  for (const Item& item : items) {
    declarations.push_back(
        {item.name, item.dtype, checkpoint->tensors()[item.index].shape});
  }
  LCSM_ASSIGN_OR_RETURN(
      SafetensorsWriter writer,
      SafetensorsWriter::Create(output / "model.safetensors", declarations,
                                {{"format", "pt"}}));
  for (const Item& item : items) {
    LCSM_RETURN_IF_ERROR(WriteItem(*checkpoint, item, file, &writer, &report));
  }
  LCSM_ASSIGN_OR_RETURN(AtomicFile config_file,
                        AtomicFile::Create(output / "config.json"));
  LCSM_RETURN_IF_ERROR(config_file.Write(config));
  std::vector<AtomicFile> extra;
  std::error_code error;
  for (const char* name : kTokenizerFiles) {
    if (!fs::exists(source / name, error) ||
        fs::equivalent(source, output, error)) {
      continue;
    }
    LCSM_ASSIGN_OR_RETURN(const std::string text,
                          ReadFile(source / name, kMaxTokenizerBytes));
    LCSM_ASSIGN_OR_RETURN(AtomicFile copy, AtomicFile::Create(output / name));
    LCSM_RETURN_IF_ERROR(copy.Write(text));
    extra.push_back(std::move(copy));
    report.copied.push_back(name);
  }
  for (AtomicFile& copy : extra) LCSM_RETURN_IF_ERROR(copy.Commit());
  LCSM_RETURN_IF_ERROR(writer.Finish());
  LCSM_RETURN_IF_ERROR(config_file.Commit());
  folder.Keep();
  return report;
}

}  // namespace

StatusOr<ConvertReport> ConvertCheckpoint(const fs::path& weights_or_folder,
                                          const fs::path& output,
                                          const ConvertOptions& options) {
  return CatchAll(weights_or_folder,
                  [&] { return Convert(weights_or_folder, output, options); });
}

}  // namespace lcsm::io
