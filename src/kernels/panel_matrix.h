// A matrix laid out for many vectors at a time: panels of kPanelRows rows, in
// each of which the rows' k-th columns lie side by side, [panel][k][row]. A
// product then multiplies whole registers of rows by one broadcast input, with
// no sums across lanes at the end; what it costs is a second copy of the
// weights, made once.
//
// Panels come in pairs, the last ones filled up with zeros, so that registers
// of 16 lanes can take two at a time. Immutable once made; shared by threads.
#pragma once

#include <cstddef>

#include "base/aligned_buffer.h"
#include "kernels/dense_weights.h"
#include "lcsm/status.h"

namespace lcsm {

inline constexpr size_t kPanelRows = 16;

// Rows and columns of one that take part in a product; no longer than it lives.
struct PanelView {
  const float* panels;  // Of the first row, at the first column.
  size_t stride;        // Floats from one panel to the next.
  size_t in, rows;      // Columns and rows.
};

class PanelMatrix {
 public:
  PanelMatrix() = default;
  // w is [rows][in]. Error: memory.
  static StatusOr<PanelMatrix> Pack(const float* w, size_t in, size_t rows);
  // Rows [first, first + rows) of a matrix in fewer bits, as floats.
  static StatusOr<PanelMatrix> Pack(const PackedMatrix& w, size_t first,
                                    size_t rows);
  static StatusOr<PanelMatrix> Pack(const PackedMatrix& w) {
    return Pack(w, 0, w.rows());
  }
  static size_t Bytes(size_t in, size_t rows);

  size_t in() const { return in_; }
  size_t rows() const { return rows_; }
  size_t bytes() const { return buffer_.bytes(); }
  // All of it.
  operator PanelView() const { return Rows(0, rows_); }
  // Rows [first, first + count); `first` is a multiple of 2 * kPanelRows.
  PanelView Rows(size_t first, size_t count) const {
    return {buffer_.data() + first * in_, in_ * kPanelRows, in_, count};
  }
  // Columns [first, first + count) of all rows.
  PanelView Columns(size_t first, size_t count) const {
    return {buffer_.data() + first * kPanelRows, in_ * kPanelRows, count,
            rows_};
  }

 private:
  static StatusOr<PanelMatrix> Create(size_t in, size_t rows);
  void SetRow(size_t row, const float* values);

  size_t in_ = 0, rows_ = 0;
  FloatBuffer buffer_;
};

}  // namespace lcsm
