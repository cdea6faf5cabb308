#include "kernels/dense_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

namespace lcsm {
namespace {

size_t PaddedRows(size_t rows) {
  return (rows + kTileRows - 1) / kTileRows * kTileRows;
}

// Floats that hold the tiles.
size_t TileFloats(WeightFormat format, size_t in, size_t rows) {
  const size_t weights =
      PaddedRows(rows) * PackedMatrix::Tiles(in) * kTileColumns;
  return weights / (format == WeightFormat::kBf16 ? 2 : 4);
}

// To nearest, ties to even; past the largest finite number to that.
uint32_t ToBf16(float w) {
  uint32_t bits;
  std::memcpy(&bits, &w, sizeof(bits));
  const uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  return (rounded & 0x7FFF) < 0x7F80 ? rounded : rounded - 1;
}

}  // namespace

const char* Name(WeightFormat format) {
  switch (format) {
    case WeightFormat::kFloat32:
      return "f32";
    case WeightFormat::kBf16:
      return "bf16";
    case WeightFormat::kInt8:
      return "int8";
  }
  return "?";
}

std::optional<WeightFormat> WeightFormatFromName(const std::string& name) {
  for (const WeightFormat format :
       {WeightFormat::kFloat32, WeightFormat::kBf16, WeightFormat::kInt8}) {
    if (name == Name(format)) return format;
  }
  return std::nullopt;
}

size_t PackedMatrix::Bytes(WeightFormat format, size_t in, size_t rows) {
  const size_t scales = format == WeightFormat::kInt8 ? PaddedRows(rows) : 0;
  return (TileFloats(format, in, rows) + scales) * sizeof(float);
}

StatusOr<PackedMatrix> PackedMatrix::Pack(WeightFormat format, const float* w,
                                          size_t in, size_t rows) {
  PackedMatrix packed;
  packed.format_ = format;
  packed.in_ = in;
  packed.rows_ = rows;
  packed.scales_at_ = TileFloats(format, in, rows);
  LCSM_ASSIGN_OR_RETURN(
      packed.buffer_,
      FloatBuffer::Allocate(Bytes(format, in, rows) / sizeof(float),
                            "weights in fewer bits"));
  const size_t tiles = Tiles(in);
  for (size_t r = 0; r < rows; ++r) {
    const float* const row = w + r * in;
    const auto line = [&](size_t k) {  // Of the tile's row with column k.
      return (r / kTileRows * tiles + k / kTileColumns) * kTileRows +
             r % kTileRows;
    };
    if (format == WeightFormat::kBf16) {
      uint32_t* const words =
          reinterpret_cast<uint32_t*>(packed.buffer_.data());
      for (size_t k = 0; k < in; ++k) {
        words[line(k) * 16 + k % 16] |= ToBf16(row[k])
                                        << (k % kTileColumns < 16 ? 0 : 16);
      }
      continue;
    }
    float largest = 0;
    for (size_t k = 0; k < in; ++k)
      largest = std::max(largest, std::abs(row[k]));
    const float scale = largest / 127;
    packed.buffer_.data()[packed.scales_at_ + r] = scale;
    if (scale == 0) continue;  // All zeros, or too small to tell from them.
    int8_t* const bytes = reinterpret_cast<int8_t*>(packed.buffer_.data());
    for (size_t k = 0; k < in; ++k) {
      const double steps = std::nearbyint(static_cast<double>(row[k]) / scale);
      bytes[line(k) * kTileColumns + k % kTileColumns] =
          static_cast<int8_t>(std::clamp(steps, -127.0, 127.0));
    }
  }
  return packed;
}

void PackedMatrix::UnpackRow(size_t row, float* values) const {
  const size_t tiles = Tiles(in_);
  for (size_t k = 0; k < in_; ++k) {
    const size_t line =
        (row / kTileRows * tiles + k / kTileColumns) * kTileRows +
        row % kTileRows;
    if (format_ == WeightFormat::kBf16) {
      const uint32_t word = bf16()[line * 16 + k % 16];
      const uint32_t bits =
          k % kTileColumns < 16 ? word << 16 : word & 0xFFFF0000u;
      std::memcpy(&values[k], &bits, sizeof(bits));
    } else {
      values[k] =
          scales()[row] *
          static_cast<float>(int8()[line * kTileColumns + k % kTileColumns]);
    }
  }
}

}  // namespace lcsm
