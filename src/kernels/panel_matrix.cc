#include "kernels/panel_matrix.h"

#include <vector>

namespace lcsm {
namespace {

size_t Panels(size_t rows) {
  return (rows + 2 * kPanelRows - 1) / (2 * kPanelRows) * 2;
}

}  // namespace

size_t PanelMatrix::Bytes(size_t in, size_t rows) {
  return Panels(rows) * kPanelRows * in * sizeof(float);
}

StatusOr<PanelMatrix> PanelMatrix::Create(size_t in, size_t rows) {
  PanelMatrix matrix;
  matrix.in_ = in;
  matrix.rows_ = rows;
  LCSM_ASSIGN_OR_RETURN(
      matrix.buffer_,
      FloatBuffer::Allocate(Bytes(in, rows) / sizeof(float),
                            "weights for many tokens at a time"));
  return matrix;
}

void PanelMatrix::SetRow(size_t row, const float* values) {
  float* const out =
      buffer_.data() + row / kPanelRows * in_ * kPanelRows + row % kPanelRows;
  for (size_t k = 0; k < in_; ++k) out[k * kPanelRows] = values[k];
}

StatusOr<PanelMatrix> PanelMatrix::Pack(const float* w, size_t in,
                                        size_t rows) {
  LCSM_ASSIGN_OR_RETURN(PanelMatrix matrix, Create(in, rows));
  for (size_t r = 0; r < rows; ++r) matrix.SetRow(r, w + r * in);
  return matrix;
}

StatusOr<PanelMatrix> PanelMatrix::Pack(const PackedMatrix& w, size_t first,
                                        size_t rows) {
  LCSM_ASSIGN_OR_RETURN(PanelMatrix matrix, Create(w.in(), rows));
  std::vector<float> row(w.in());
  for (size_t r = 0; r < rows; ++r) {
    w.UnpackRow(first + r, row.data());
    matrix.SetRow(r, row.data());
  }
  return matrix;
}

}  // namespace lcsm
