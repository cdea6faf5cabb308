#include "models/stack_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "io/errors.h"

namespace lcsm {

std::vector<size_t> StackTensor::Squeezed() const {
  std::vector<size_t> squeezed;
  for (const size_t n : shape) {
    if (n != 1) squeezed.push_back(n);
  }
  return squeezed;
}

StatusOr<const io::TensorView*> StackTensors::Find(
    const std::string& name, const std::string& where) const {
  const io::TensorView* const view = file_->Find(name);
  if (view != nullptr) return view;
  return InvalidInput(
      fmt::format("{}: tensor {} is missing, which {} calls for", Name(),
                  io::Quoted(name, 200), where));
}

Status StackTensors::Enter(const io::TensorView& view, const float* data) {
  if (!entered_.insert(view.name).second) return OkStatus();
  const size_t elements = view.elements();
  for (size_t i = 0; i < elements; ++i) {
    if (!std::isfinite(data[i])) {
      return InvalidInput(fmt::format(
          "{}: tensor {} holds {} at element {}, expected finite numbers",
          Name(), io::Quoted(view.name, 200), data[i], i));
    }
  }
  parameters_ += elements;
  hasher_.Add(view.name);
  for (const size_t n : view.shape) hasher_.AddNumber(n);
  hasher_.Add(std::as_bytes(std::span(data, elements)));
  return OkStatus();
}

StatusOr<StackTensors::Copy> StackTensors::Take(const std::string& name,
                                                const std::string& where) {
  LCSM_ASSIGN_OR_RETURN(const io::TensorView* const view, Find(name, where));
  Copy copy;
  copy.shape = view->shape;
  LCSM_ASSIGN_OR_RETURN(
      copy.buffer, FloatBuffer::Allocate(std::max<size_t>(view->elements(), 1),
                                         "converted weights"));
  const Status status = io::CopyToFloat32(*view, copy.buffer.data());
  if (!status.ok()) {
    return Status(status.code(),
                  fmt::format("{}: {}", Name(), status.message()));
  }
  LCSM_RETURN_IF_ERROR(Enter(*view, copy.buffer.data()));
  return copy;
}

StatusOr<StackTensor> StackTensors::Get(const std::string& name,
                                        const std::string& where) {
  const auto taken = taken_.find(name);
  if (taken != taken_.end()) return taken->second;
  LCSM_ASSIGN_OR_RETURN(const io::TensorView* const view, Find(name, where));
  StackTensor tensor;
  tensor.shape = view->shape;
  tensor.elements = view->elements();
  if (view->dtype == io::DType::kF32 && view->IsAligned()) {
    tensor.data = reinterpret_cast<const float*>(view->data);
    LCSM_RETURN_IF_ERROR(Enter(*view, tensor.data));
  } else {
    LCSM_ASSIGN_OR_RETURN(Copy copy, Take(name, where));
    tensor.data = copy.buffer.data();
    copies_.push_back(std::move(copy.buffer));
  }
  bytes_ += tensor.elements * sizeof(float);
  taken_.emplace(name, tensor);
  return tensor;
}

Status StackTensors::Misshapen(const std::string& name,
                               const std::vector<size_t>& shape,
                               const std::string& where,
                               const std::string& expected) const {
  return InvalidInput(fmt::format(
      "{}: tensor {} has shape {}, and {} calls for {}", Name(),
      io::Quoted(name, 200), io::ShapeToString(shape), where, expected));
}

StatusOr<const float*> StackTensors::Get(const std::string& name,
                                         const std::string& where,
                                         const std::vector<size_t>& shape) {
  LCSM_ASSIGN_OR_RETURN(const StackTensor tensor, Get(name, where));
  if (tensor.shape != shape) {
    return Misshapen(name, tensor.shape, where, io::ShapeToString(shape));
  }
  return tensor.data;
}

StatusOr<const float*> StackTensors::GetSqueezed(
    const std::string& name, const std::string& where,
    const std::vector<size_t>& shape) {
  LCSM_ASSIGN_OR_RETURN(const StackTensor tensor, Get(name, where));
  const StackTensor wanted = {nullptr, shape, 0};
  if (tensor.Squeezed() != wanted.Squeezed()) {
    return Misshapen(name, tensor.shape, where, io::ShapeToString(shape));
  }
  return tensor.data;
}

StatusOr<float*> StackTensors::Allocate(size_t floats) {
  LCSM_ASSIGN_OR_RETURN(FloatBuffer buffer,
                        FloatBuffer::Allocate(floats, "weights"));
  bytes_ += buffer.bytes();
  owned_.push_back(std::move(buffer));
  return owned_.back().data();
}

std::vector<std::string> StackTensors::Unused() const {
  std::vector<std::string> names;
  for (const io::TensorView& tensor : file_->tensors()) {
    if (entered_.count(tensor.name) == 0) names.push_back(tensor.name);
  }
  return names;
}

}  // namespace lcsm
