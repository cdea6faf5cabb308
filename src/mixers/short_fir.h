// A short causal depthwise FIR over a stream of rows, with the tail of past
// inputs it needs:
//   y[t][c] = bias[c] + sum_{j < K} w[c][j] * x[t - (K-1) + j][c],
// inputs before the first counting as zero. The last tap meets the current
// input, as in a framework's convolution padded on the left.
#pragma once

#include <cstddef>

#include "base/aligned_buffer.h"
#include "lcsm/status.h"

namespace lcsm {

// Weights. Immutable; may be shared by threads.
class ShortFir {
 public:
  ShortFir() = default;
  // w is [channels][taps] and copied (transposed, so that channels lie side by
  // side); bias is [channels] and must outlive this. taps >= 1.
  static StatusOr<ShortFir> Create(const float* w, const float* bias,
                                   size_t channels, size_t taps);

  size_t channels() const { return channels_; }
  size_t taps() const { return taps_; }
  size_t bytes() const { return w_.bytes(); }
  const float* weights() const { return w_.data(); }  // [taps][channels]
  const float* bias() const { return bias_; }
  // Rows of past inputs that a tail holds; at least one.
  size_t tail_rows() const { return taps_ > 2 ? taps_ - 1 : 1; }

  // `count` rows of channels [begin, end), in place: x[t * stride + c]. `tail`
  // is [tail_rows()][channels], oldest first, and moves on. An output's bits
  // depend neither on the ranges nor on how rows are grouped.
  void Apply(size_t begin, size_t end, size_t count, size_t stride, float* x,
             float* tail) const noexcept;

  // The same for rows x[t * channels() + c] that the taps() - 1 rows before lie
  // in front of, in the same bits, times `factor` (null: 1): channel begin + i
  // of row t goes to y[t * y_stride + i]. y may be `factor`.
  void ApplyToRows(size_t begin, size_t end, size_t count, const float* x,
                   const float* factor, size_t factor_stride, float* y,
                   size_t y_stride) const noexcept;

 private:
  FloatBuffer w_;  // [taps][channels]
  const float* bias_ = nullptr;
  size_t channels_ = 0, taps_ = 0;
};

// One sequence's tail. Distinct ranges of channels may be processed by distinct
// threads at the same time.
class ShortFirState {
 public:
  ShortFirState() = default;
  // Zeros. `fir` must outlive this.
  static StatusOr<ShortFirState> Create(const ShortFir& fir);

  // ShortFir::Apply.
  void Process(size_t begin, size_t end, size_t count, size_t stride,
               float* x) noexcept {
    fir_->Apply(begin, end, count, stride, x, tail_.data());
  }
  float* tail() { return tail_.data(); }
  const float* tail() const { return tail_.data(); }
  void Reset() noexcept { tail_.Zero(); }
  // Takes over the tail of another state of the same filter.
  void CopyFrom(const ShortFirState& other) noexcept;
  size_t bytes() const { return tail_.bytes(); }

 private:
  const ShortFir* fir_ = nullptr;
  FloatBuffer tail_;  // [taps - 1][channels], oldest first.
};

}  // namespace lcsm
