#include "io/tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "io/errors.h"

namespace lcsm::io {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the file formats are little endian and are read in place");

struct DTypeEntry {
  DType dtype;
  std::string_view name;
  size_t bytes;
};

constexpr std::array<DTypeEntry, 15> kDTypes = {{
    {DType::kBool, "BOOL", 1},
    {DType::kU8, "U8", 1},
    {DType::kI8, "I8", 1},
    {DType::kU16, "U16", 2},
    {DType::kI16, "I16", 2},
    {DType::kU32, "U32", 4},
    {DType::kI32, "I32", 4},
    {DType::kU64, "U64", 8},
    {DType::kI64, "I64", 8},
    {DType::kF8E5M2, "F8_E5M2", 1},
    {DType::kF8E4M3, "F8_E4M3", 1},
    {DType::kF16, "F16", 2},
    {DType::kBF16, "BF16", 2},
    {DType::kF32, "F32", 4},
    {DType::kF64, "F64", 8},
}};

const DTypeEntry& Entry(DType dtype) {
  return kDTypes[static_cast<size_t>(dtype)];
}

template <typename T>
T Load(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

float HalfToFloat(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t exponent = bits >> 10 & 0x1f;
  const uint32_t mantissa = bits & 0x3ff;
  if (exponent == 0x1f) {  // Infinity and NaN.
    return std::bit_cast<float>(sign | 0x7f800000 | mantissa << 13);
  }
  if (exponent == 0) {  // Zero and subnormals: multiples of 2^-24.
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

template <typename T>
Status CopyAs(const TensorView& tensor, T* out) {
  const size_t n = tensor.elements();
  if (n == 0) return OkStatus();
  const std::byte* p = tensor.data;
  switch (tensor.dtype) {
    case DType::kF32:
      if constexpr (std::is_same_v<T, float>) {
        std::memcpy(out, p, n * sizeof(float));
      } else {
        for (size_t i = 0; i < n; ++i) out[i] = Load<float>(p + 4 * i);
      }
      return OkStatus();
    case DType::kF64:
      for (size_t i = 0; i < n; ++i) {
        out[i] = static_cast<T>(Load<double>(p + 8 * i));
      }
      return OkStatus();
    case DType::kF16:
      for (size_t i = 0; i < n; ++i) {
        out[i] = HalfToFloat(Load<uint16_t>(p + 2 * i));
      }
      return OkStatus();
    case DType::kBF16:
      for (size_t i = 0; i < n; ++i) {
        out[i] = std::bit_cast<float>(
            static_cast<uint32_t>(Load<uint16_t>(p + 2 * i)) << 16);
      }
      return OkStatus();
    default:
      return InvalidInput(
          fmt::format("tensor {} has dtype {}, expected F32, F16, BF16 or F64",
                      Quoted(tensor.name, 200), DTypeName(tensor.dtype)));
  }
}

}  // namespace

size_t DTypeSize(DType dtype) { return Entry(dtype).bytes; }
std::string_view DTypeName(DType dtype) { return Entry(dtype).name; }

bool ParseDType(std::string_view name, DType* dtype) {
  for (const DTypeEntry& entry : kDTypes) {
    if (entry.name == name) {
      *dtype = entry.dtype;
      return true;
    }
  }
  return false;
}

bool TensorView::IsAligned() const {
  return reinterpret_cast<uintptr_t>(data) % DTypeSize(dtype) == 0;
}

std::string ShapeToString(const std::vector<size_t>& shape) {
  return fmt::format("({})", fmt::join(shape, ", "));
}

bool ShapeElements(const std::vector<size_t>& shape, size_t* elements) {
  // A zero anywhere makes it empty, but the other factors must still multiply
  // without overflow: readers differ on the order.
  size_t product = 1;
  bool empty = false;
  for (size_t n : shape) {
    if (n == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(product, n, &product)) {
      return false;
    }
  }
  *elements = empty ? 0 : product;
  return true;
}

Status CopyToFloat32(const TensorView& tensor, float* out) {
  return CopyAs(tensor, out);
}

Status CopyToFloat64(const TensorView& tensor, double* out) {
  return CopyAs(tensor, out);
}

}  // namespace lcsm::io
