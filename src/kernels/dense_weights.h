// Matrices in fewer bits, converted once when a model is loaded.
//
// One token reads every weight once, so that halving the bytes comes close to
// halving the time. bfloat16 is float32 without its lower 16 bits, rounded:
// relative error at most 2^-9 a weight (2^-8 next to float32's largest). int8
// keeps w / (max |w| of the row) in steps of 1 / 127: absolute error at most 1
// / 254 of that maximum. Sums are in float32 either way.
//
// Layout of both: tiles of 8 rows by 32 columns in the order in which a
// matrix-vector product reads them, so that it is one stream; rows and columns
// are filled up with zeros. [row / 8][column / 32][row % 8][32 columns]. A row
// of a bfloat16 tile is 16 words of 32 bits, of which word j holds column j
// below and column 16 + j above: one instruction turns words into either half
// as float32, whatever the width of registers. Rows of int8 tiles are in order.
//
// Pure functions. Slow twin: ref/dense_ref.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "base/aligned_buffer.h"
#include "lcsm/status.h"

namespace lcsm {

enum class WeightFormat { kFloat32, kBf16, kInt8 };

// "f32", "bf16", "int8", as the command's --weights has it.
const char* Name(WeightFormat format);
std::optional<WeightFormat> WeightFormatFromName(const std::string& name);

inline constexpr size_t kTileRows = 8;
inline constexpr size_t kTileColumns = 32;

// A matrix [rows][in] of one of the two small formats. Immutable once made.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  // w is [rows][in] and finite; format is not kFloat32. What exceeds bfloat16's
  // largest number becomes that. Error: memory.
  static StatusOr<PackedMatrix> Pack(WeightFormat format, const float* w,
                                     size_t in, size_t rows);
  static size_t Bytes(WeightFormat format, size_t in, size_t rows);
  // The weights of one row as they were rounded, [in].
  void UnpackRow(size_t row, float* values) const;

  WeightFormat format() const { return format_; }
  size_t in() const { return in_; }
  size_t rows() const { return rows_; }
  size_t bytes() const { return buffer_.bytes(); }

  // Of a row of tiles, i.e. of 8 rows of the matrix.
  static constexpr size_t Tiles(size_t in) {
    return (in + kTileColumns - 1) / kTileColumns;
  }
  const uint32_t* bf16() const {
    return reinterpret_cast<const uint32_t*>(buffer_.data());
  }
  const int8_t* int8() const {
    return reinterpret_cast<const int8_t*>(buffer_.data());
  }
  // int8 only: of each row, filled up to whole tiles.
  const float* scales() const { return buffer_.data() + scales_at_; }

 private:
  WeightFormat format_ = WeightFormat::kFloat32;
  size_t in_ = 0, rows_ = 0, scales_at_ = 0;
  FloatBuffer buffer_;
};

}  // namespace lcsm
