// Tensors as files hold them: a name, a type, a shape and bytes somewhere.
//
// Plain values; the bytes belong to whoever handed the view out.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "lcsm/status.h"

namespace lcsm::io {

enum class DType {
  kBool,
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kU64,
  kI64,
  kF8E5M2,
  kF8E4M3,
  kF16,
  kBF16,
  kF32,
  kF64,
};

// Bytes of one element.
size_t DTypeSize(DType dtype);
// As safetensors spells it, e.g. "F32".
std::string_view DTypeName(DType dtype);
// False if `name` is none of them; `dtype` is then left alone.
bool ParseDType(std::string_view name, DType* dtype);

// A tensor in row-major order, nothing between the elements, little endian.
struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<size_t> shape;  // Empty: a scalar.
  // Aligned to DTypeSize(dtype) in every file written by a common tool, but the
  // format does not promise it: see IsAligned.
  const std::byte* data = nullptr;
  size_t bytes = 0;

  size_t elements() const { return bytes / DTypeSize(dtype); }
  bool IsAligned() const;
};

// "(384, 128)", "()" for a scalar.
std::string ShapeToString(const std::vector<size_t>& shape);

// Product of the shape; false if it does not fit.
bool ShapeElements(const std::vector<size_t>& shape, size_t* elements);

// Writes all elements, converted, to out[elements()]. Exact from F16, BF16 and
// F32; rounded to nearest from F64 into float. Handles unaligned data. Error:
// a dtype that is not F16, BF16, F32 or F64, in a sentence that names the
// tensor (the caller adds the file).
Status CopyToFloat32(const TensorView& tensor, float* out);
Status CopyToFloat64(const TensorView& tensor, double* out);

}  // namespace lcsm::io
