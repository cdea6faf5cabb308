#include "io/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <set>
#include <utility>

#include "io/errors.h"
#include "io/json.h"

namespace lcsm::io {
namespace {

using Json = nlohmann::json;

constexpr size_t kLengthBytes = 8;
// The reference implementation's own limit.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxIndexBytes = size_t{64} << 20;

// A list of whole numbers >= 0 that fit a size_t.
bool ReadSizes(const Json& value, std::vector<size_t>* out) {
  if (!value.is_array()) return false;
  for (const Json& item : value) {
    if (!item.is_number_unsigned()) return false;
    out->push_back(item.get<size_t>());
  }
  return true;
}

// Everything about one tensor that can be checked without the others.
// `data_bytes`: what the file holds after its header.
StatusOr<TensorView> ParseTensor(const std::string& name, const Json& entry,
                                 std::span<const std::byte> data,
                                 const std::string& file) {
  const auto wrong = [&](std::string_view field, std::string_view found,
                         std::string_view expected) {
    return InvalidInput(fmt::format("{}: {} of tensor {} is {}, expected {}",
                                    file, field, Quoted(name, 200), found,
                                    expected));
  };
  const auto member = [&](const char* key) -> const Json* {
    const auto it = entry.find(key);
    return it == entry.end() ? nullptr : &*it;
  };
  if (!entry.is_object()) {
    return InvalidInput(
        fmt::format("{}: the entry of tensor {} is {}, expected an object",
                    file, Quoted(name, 200), DescribeJson(entry)));
  }
  TensorView tensor;
  tensor.name = name;

  const Json* dtype = member("dtype");
  if (dtype == nullptr || !dtype->is_string() ||
      !ParseDType(dtype->get_ref<const std::string&>(), &tensor.dtype)) {
    return wrong("dtype", dtype == nullptr ? "missing" : DescribeJson(*dtype),
                 "a dtype such as \"F32\"");
  }
  const Json* shape = member("shape");
  if (shape == nullptr || !ReadSizes(*shape, &tensor.shape)) {
    return wrong("shape", shape == nullptr ? "missing" : DescribeJson(*shape),
                 "a list of whole numbers");
  }
  const Json* offsets = member("data_offsets");
  std::vector<size_t> range;
  if (offsets == nullptr || !ReadSizes(*offsets, &range) || range.size() != 2) {
    return wrong("data_offsets",
                 offsets == nullptr ? "missing" : DescribeJson(*offsets),
                 "a list of two whole numbers");
  }
  const auto [begin, end] = std::pair(range[0], range[1]);
  if (begin > end || end > data.size()) {
    return wrong(
        "data_offsets", fmt::format("[{}, {}]", begin, end),
        fmt::format("a range within the file's {} bytes of data", data.size()));
  }
  size_t elements = 0;
  size_t bytes = 0;
  if (!ShapeElements(tensor.shape, &elements) ||
      __builtin_mul_overflow(elements, DTypeSize(tensor.dtype), &bytes)) {
    return wrong("shape", ShapeToString(tensor.shape),
                 "a size that can be counted");
  }
  if (end - begin != bytes) {
    return wrong(
        "data_offsets",
        fmt::format("[{}, {}], {} bytes", begin, end, end - begin),
        fmt::format("{} bytes for {} of shape {}", bytes,
                    DTypeName(tensor.dtype), ShapeToString(tensor.shape)));
  }
  tensor.data = data.data() + begin;
  tensor.bytes = bytes;
  return tensor;
}

Status ReadMetadata(const Json& value, const std::string& file,
                    std::map<std::string, std::string>* metadata) {
  if (!value.is_object()) {
    return InvalidInput(
        fmt::format("{}: __metadata__ is {}, expected an "
                    "object of strings",
                    file, DescribeJson(value)));
  }
  for (const auto& item : value.items()) {
    if (!item.value().is_string()) {
      return InvalidInput(
          fmt::format("{}: __metadata__ entry {} is {}, expected a string",
                      file, Quoted(item.key()), DescribeJson(item.value())));
    }
    (*metadata)[item.key()] = item.value().get<std::string>();
  }
  return OkStatus();
}

// Sorts by offset and makes sure that the tensors tile the data: the format
// forbids overlaps and holes, so that nothing hides in a file and no byte
// belongs to two names.
Status CheckTiling(std::span<const std::byte> data, const std::string& file,
                   std::vector<TensorView>* tensors) {
  std::sort(tensors->begin(), tensors->end(),
            [](const TensorView& a, const TensorView& b) {
              return std::tuple(a.data, a.bytes, std::string_view(a.name)) <
                     std::tuple(b.data, b.bytes, std::string_view(b.name));
            });
  const std::byte* end = data.data();
  const TensorView* previous = nullptr;
  for (const TensorView& tensor : *tensors) {
    if (tensor.data < end) {
      return InvalidInput(fmt::format(
          "{}: data_offsets of tensor {} begin at {}, within tensor {}, "
          "expected {}",
          file, Quoted(tensor.name, 200), tensor.data - data.data(),
          Quoted(previous->name, 200), end - data.data()));
    }
    if (tensor.data > end) {
      return InvalidInput(fmt::format(
          "{}: data_offsets of tensor {} begin at {}, expected {} (the data "
          "has no holes)",
          file, Quoted(tensor.name, 200), tensor.data - data.data(),
          end - data.data()));
    }
    end = tensor.data + tensor.bytes;
    previous = &tensor;
  }
  if (end != data.data() + data.size()) {
    return InvalidInput(fmt::format(
        "{}: holds {} bytes of data, expected {} as the header says", file,
        data.size(), end - data.data()));
  }
  return OkStatus();
}

// A shard's name in an index: a file beside it and nothing else, or a crafted
// index could have us open any file of the user's.
bool IsPlainFileName(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find('/') == std::string::npos &&
         name.find('\\') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

}  // namespace

StatusOr<SafetensorsHeader> ParseSafetensors(std::span<const std::byte> data,
                                             const std::string& file) {
  if (data.size() < kLengthBytes) {
    return InvalidInput(fmt::format(
        "{}: is {} bytes long, expected a safetensors file, which begins with "
        "8 bytes of header length",
        file, data.size()));
  }
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, data.data(), kLengthBytes);
  if (header_bytes > data.size() - kLengthBytes) {
    return InvalidInput(fmt::format(
        "{}: the header length is {}, expected at most {}, the rest of the "
        "file (cut short, or no safetensors file)",
        file, header_bytes, data.size() - kLengthBytes));
  }
  if (header_bytes > kMaxHeaderBytes) {
    return InvalidInput(
        fmt::format("{}: the header length is {}, expected at most {}", file,
                    header_bytes, kMaxHeaderBytes));
  }
  const std::string_view header(
      reinterpret_cast<const char*>(data.data()) + kLengthBytes, header_bytes);
  if (!header.starts_with('{')) {
    return InvalidInput(fmt::format(
        "{}: the header begins with {}, expected \"{{\"", file,
        Quoted(header.substr(0, std::min<size_t>(header.size(), 8)))));
  }
  LCSM_ASSIGN_OR_RETURN(const Json json, ParseJson(header, file));

  const std::span<const std::byte> payload =
      data.subspan(kLengthBytes + header_bytes);
  SafetensorsHeader result;
  for (const auto& item : json.items()) {
    if (item.key() == "__metadata__") {
      LCSM_RETURN_IF_ERROR(ReadMetadata(item.value(), file, &result.metadata));
      continue;
    }
    LCSM_ASSIGN_OR_RETURN(TensorView tensor,
                          ParseTensor(item.key(), item.value(), payload, file));
    result.tensors.push_back(std::move(tensor));
  }
  LCSM_RETURN_IF_ERROR(CheckTiling(payload, file, &result.tensors));
  return result;
}

StatusOr<std::shared_ptr<const WeightSet>> WeightSet::Open(
    const std::filesystem::path& folder_or_file) {
  std::shared_ptr<WeightSet> set(new WeightSet());
  set->path_ = folder_or_file;
  LCSM_RETURN_IF_ERROR(CatchAll(folder_or_file, [&] { return set->Load(); }));
  return std::shared_ptr<const WeightSet>(std::move(set));
}

Status WeightSet::Load() {
  std::error_code error;
  std::filesystem::path file = path_;
  if (std::filesystem::is_directory(path_, error)) {
    file = path_ / "model.safetensors";
    if (!std::filesystem::exists(file, error)) {
      file = path_ / "model.safetensors.index.json";
    }
    if (!std::filesystem::exists(file, error)) {
      std::string hint;
      for (const char* pickle :
           {"weights.ckpt", "pytorch_model.bin", "model.pt"}) {
        if (std::filesystem::exists(path_ / pickle, error)) {
          hint = fmt::format("; {} has to go through `lcsm convert` first",
                             pickle);
        }
      }
      return NotFound(
          fmt::format("{}: holds no weights, expected model.safetensors or "
                      "model.safetensors.index.json{}",
                      path_.string(), hint));
    }
  }
  LCSM_RETURN_IF_ERROR(file.extension() == ".json" ? AddIndex(file)
                                                   : AddFile(file));
  for (size_t i = 0; i < tensors_.size(); ++i) {
    by_name_.emplace(tensors_[i].name, i);
  }
  return OkStatus();
}

Status WeightSet::AddFile(const std::filesystem::path& file) {
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> mapped,
                        MappedFile::Open(file));
  StatusOr<SafetensorsHeader> header =
      ParseSafetensors(mapped->bytes(), file.string());
  // Zeros where the file was cut under our eyes would make some other,
  // misleading sentence.
  LCSM_RETURN_IF_ERROR(mapped->CheckIntact());
  LCSM_RETURN_IF_ERROR(header.status());
  for (TensorView& tensor : header->tensors) {
    tensors_.push_back(std::move(tensor));
  }
  metadata_.merge(header->metadata);
  files_.push_back(std::move(mapped));
  return OkStatus();
}

Status WeightSet::AddIndex(const std::filesystem::path& index) {
  LCSM_ASSIGN_OR_RETURN(const std::string text,
                        ReadFile(index, kMaxIndexBytes));
  LCSM_ASSIGN_OR_RETURN(const Json json, ParseJson(text, index.string()));
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  if (!json.is_object() || map == json.end() || !map->is_object()) {
    return InvalidInput(fmt::format(
        "{}: weight_map is {}, expected an object of tensor names and files",
        index.string(),
        !json.is_object() || map == json.end() ? "missing"
                                               : DescribeJson(*map)));
  }
  std::map<std::string, std::set<std::string>> promised;  // Shard: tensors.
  for (const auto& item : map->items()) {
    const std::string* shard = item.value().is_string()
                                   ? &item.value().get_ref<const std::string&>()
                                   : nullptr;
    if (shard == nullptr || !IsPlainFileName(*shard)) {
      return InvalidInput(fmt::format(
          "{}: weight_map entry {} is {}, expected the name of a file in the "
          "same folder",
          index.string(), Quoted(item.key(), 200), DescribeJson(item.value())));
    }
    promised[*shard].insert(item.key());
  }
  for (auto& [shard, names] : promised) {
    const size_t first = tensors_.size();
    LCSM_RETURN_IF_ERROR(AddFile(index.parent_path() / shard));
    // A tensor that the index does not give to this shard is not part of the
    // model, whatever the shard says: this also rules out doubles.
    const auto wanted = [&names = names](const TensorView& tensor) {
      return names.erase(tensor.name) == 1;
    };
    tensors_.erase(
        std::stable_partition(tensors_.begin() + first, tensors_.end(), wanted),
        tensors_.end());
    if (!names.empty()) {
      return InvalidInput(
          fmt::format("{}: lacks tensor {}, expected it there as {} says",
                      (index.parent_path() / shard).string(),
                      Quoted(*names.begin(), 200), index.filename().string()));
    }
  }
  return OkStatus();
}

const TensorView* WeightSet::Find(std::string_view name) const {
  const auto it = by_name_.find(std::string(name));
  return it == by_name_.end() ? nullptr : &tensors_[it->second];
}

Status WeightSet::CheckIntact() const {
  for (const auto& file : files_) LCSM_RETURN_IF_ERROR(file->CheckIntact());
  return OkStatus();
}

size_t WeightSet::file_bytes() const {
  size_t bytes = 0;
  for (const auto& file : files_) bytes += file->size();
  return bytes;
}

}  // namespace lcsm::io
