// Weights in safetensors files: reading by memory mapping, writing whole or
// not at all.
//
// The format (docs/formats.md): 8 bytes little-endian header length, a JSON
// header that maps names to {dtype, shape, data_offsets}, then the data. A
// reader that believes any of it can be made to read outside the file, so
// everything is checked once, at opening; a WeightSet that exists is sound.
//
// Thread safety: a WeightSet is const and may be shared; a writer belongs to
// one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "io/atomic_file.h"
#include "io/mapped_file.h"
#include "io/tensor.h"
#include "lcsm/status.h"

namespace lcsm::io {

class WeightSet {
 public:
  // Opens a .safetensors file, an index (.json) of several, or a folder that
  // holds model.safetensors or model.safetensors.index.json. Errors, one
  // sentence each: missing files; a header longer than the file or not
  // well-formed JSON; a name given twice; an unknown dtype; a shape whose
  // product overflows; offsets out of range, overlapping or with holes; bytes
  // that do not match dtype and shape; an index that names a file outside its
  // folder or a tensor its shard lacks.
  static StatusOr<std::shared_ptr<const WeightSet>> Open(
      const std::filesystem::path& folder_or_file);

  // Null if there is none. Views live as long as this object.
  const TensorView* Find(std::string_view name) const;
  // In order of file and offset.
  const std::vector<TensorView>& tensors() const { return tensors_; }
  // The __metadata__ entries of all files.
  const std::map<std::string, std::string>& metadata() const {
    return metadata_;
  }
  // Not ok once a file was found cut short while in use (see MappedFile).
  Status CheckIntact() const;
  // Of all files together.
  size_t file_bytes() const;
  // What was opened; for messages.
  const std::filesystem::path& path() const { return path_; }

 private:
  WeightSet() = default;
  // Finds the file or index that path_ means and adds it.
  Status Load();
  // Maps and checks one file and appends its tensors.
  Status AddFile(const std::filesystem::path& file);
  Status AddIndex(const std::filesystem::path& index);

  std::filesystem::path path_;
  std::vector<std::unique_ptr<MappedFile>> files_;
  std::vector<TensorView> tensors_;
  // Into tensors_. Keys are copies: views would dangle as tensors_ grows.
  std::unordered_map<std::string, size_t> by_name_;
  std::map<std::string, std::string> metadata_;
};

// What a safetensors header says, checked against `data`, the whole file.
// `file` is for messages only. Views point into `data`, in order of offset.
// Never reads outside `data`. Exposed for the fuzzer; use WeightSet.
struct SafetensorsHeader {
  std::vector<TensorView> tensors;
  std::map<std::string, std::string> metadata;
};
StatusOr<SafetensorsHeader> ParseSafetensors(std::span<const std::byte> data,
                                             const std::string& file);

// Writes one safetensors file: declare every tensor, then give each one's bytes
// in the order declared. The file appears under its name only at Finish; if
// that does not come, or anything fails, nothing is left behind.
class SafetensorsWriter {
 public:
  struct Declaration {
    std::string name;
    DType dtype;
    std::vector<size_t> shape;
  };
  // Tensor data starts at a multiple of 8 bytes; declare wider types first to
  // keep every tensor aligned. Errors: a name twice or empty, a shape that
  // overflows, an output that cannot be written.
  static StatusOr<SafetensorsWriter> Create(
      const std::filesystem::path& path,
      const std::vector<Declaration>& tensors,
      const std::map<std::string, std::string>& metadata);

  // Bytes of the tensor whose turn it is, in any number of pieces that do not
  // straddle tensors.
  Status Write(std::span<const std::byte> bytes);
  // Checks that all declared bytes came, syncs and renames.
  Status Finish();

 private:
  explicit SafetensorsWriter(AtomicFile file) : file_(std::move(file)) {}
  AtomicFile file_;
  size_t remaining_ = 0;  // Bytes still to come.
};

}  // namespace lcsm::io
