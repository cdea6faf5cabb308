// The tensors of a stack under the names that its description gives them.
//
// Float32 is used where it lies in the mapped file, other types are converted
// once. Thread safety: one thread binds; what was handed out is then immutable
// and lives as long as this.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "io/hash.h"
#include "io/safetensors.h"
#include "lcsm/status.h"

namespace lcsm {

struct StackTensor {
  const float* data = nullptr;
  std::vector<size_t> shape;
  size_t elements = 0;

  // The shape without dimensions of 1.
  std::vector<size_t> Squeezed() const;
};

class StackTensors {
 public:
  explicit StackTensors(std::shared_ptr<const io::WeightSet> file)
      : file_(std::move(file)) {}

  bool Has(const std::string& name) const {
    return file_->Find(name) != nullptr;
  }
  // `where` is what calls for it, e.g. "blocks.0.parts.0.steps.1.weight".
  // Errors: missing, of a type that is no float, not finite; memory.
  StatusOr<StackTensor> Get(const std::string& name, const std::string& where);
  // Exactly this shape.
  StatusOr<const float*> Get(const std::string& name, const std::string& where,
                             const std::vector<size_t>& shape);
  // This shape but for dimensions of 1.
  StatusOr<const float*> GetSqueezed(const std::string& name,
                                     const std::string& where,
                                     const std::vector<size_t>& shape);
  // A copy that is the caller's, for what is kept in another form. Errors as
  // above.
  struct Copy {
    FloatBuffer buffer;
    std::vector<size_t> shape;
  };
  StatusOr<Copy> Take(const std::string& name, const std::string& where);
  // "FILE: tensor NAME has shape (..), and WHERE calls for EXPECTED".
  Status Misshapen(const std::string& name, const std::vector<size_t>& shape,
                   const std::string& where, const std::string& expected) const;

  // Memory of ours, e.g. for a matrix with its rows in another order.
  StatusOr<float*> Allocate(size_t floats);

  // Names that nobody asked for.
  std::vector<std::string> Unused() const;
  // Numbers in tensors that were asked for, each counted once.
  size_t parameters() const { return parameters_; }
  // Of memory that is read: mapped, converted or from Allocate.
  size_t bytes() const { return bytes_; }
  // Of all tensors that were asked for, and what else was added.
  io::Hasher& hasher() { return hasher_; }
  Status CheckIntact() const { return file_->CheckIntact(); }
  std::string Name() const { return file_->path().string(); }

 private:
  StatusOr<const io::TensorView*> Find(const std::string& name,
                                       const std::string& where) const;
  // Checks and counts a tensor's numbers, the first time that it is asked for.
  Status Enter(const io::TensorView& view, const float* data);

  const std::shared_ptr<const io::WeightSet> file_;
  std::map<std::string, StackTensor> taken_;
  std::vector<FloatBuffer> copies_;
  std::vector<FloatBuffer> owned_;
  std::set<std::string> entered_;
  size_t parameters_ = 0;
  size_t bytes_ = 0;
  io::Hasher hasher_;
};

}  // namespace lcsm
