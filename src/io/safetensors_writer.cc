#include <fmt/format.h>

#include <cstring>
#include <set>
#include <utility>

#include "io/errors.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "io/utf8.h"

namespace lcsm::io {

StatusOr<SafetensorsWriter> SafetensorsWriter::Create(
    const std::filesystem::path& path, const std::vector<Declaration>& tensors,
    const std::map<std::string, std::string>& metadata) {
  const auto wrong = [&](std::string_view name, std::string_view what) {
    return InvalidInput(fmt::format("{}: tensor {} {}", path.string(),
                                    Quoted(name, 200), what));
  };
  std::string header = "{";
  if (!metadata.empty()) {
    for (const auto& [key, value] : metadata) {
      if (!IsUtf8(key) || !IsUtf8(value)) {
        return InvalidInput(
            fmt::format("{}: __metadata__ entry {} is not UTF-8, expected text",
                        path.string(), Quoted(key)));
      }
    }
    header += "\"__metadata__\":" + nlohmann::json(metadata).dump();
  }
  std::set<std::string_view> names;
  size_t offset = 0;
  for (const Declaration& tensor : tensors) {
    if (tensor.name.empty() || tensor.name == "__metadata__" ||
        !IsUtf8(tensor.name)) {
      return wrong(tensor.name, "has a name that the format cannot hold");
    }
    if (!names.insert(tensor.name).second) {
      return wrong(tensor.name, "is declared twice, expected once");
    }
    size_t elements = 0;
    size_t bytes = 0;
    size_t end = 0;
    if (!ShapeElements(tensor.shape, &elements) ||
        __builtin_mul_overflow(elements, DTypeSize(tensor.dtype), &bytes) ||
        __builtin_add_overflow(offset, bytes, &end)) {
      return wrong(tensor.name,
                   fmt::format("has shape {}, expected a size that can be "
                               "counted",
                               ShapeToString(tensor.shape)));
    }
    if (header.size() > 1) header += ',';
    header += fmt::format(
        "{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}}",
        nlohmann::json(tensor.name).dump(), DTypeName(tensor.dtype),
        nlohmann::json(tensor.shape).dump(), offset, end);
    offset = end;
  }
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');

  LCSM_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  SafetensorsWriter writer(std::move(file));
  writer.remaining_ = offset;
  const uint64_t length = header.size();
  LCSM_RETURN_IF_ERROR(
      writer.file_.Write(std::as_bytes(std::span(&length, 1))));
  LCSM_RETURN_IF_ERROR(writer.file_.Write(header));
  return writer;
}

Status SafetensorsWriter::Write(std::span<const std::byte> bytes) {
  if (bytes.size() > remaining_) {
    return InternalError("more tensor bytes were written than declared");
  }
  remaining_ -= bytes.size();
  return file_.Write(bytes);
}

Status SafetensorsWriter::Finish() {
  if (remaining_ != 0) {
    return InternalError(
        fmt::format("{} declared tensor bytes were never written", remaining_));
  }
  return file_.Commit();
}

}  // namespace lcsm::io
