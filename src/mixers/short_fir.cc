#include "mixers/short_fir.h"

#include <algorithm>

#include "kernels/pointwise.h"

namespace lcsm {

StatusOr<ShortFir> ShortFir::Create(const float* w, const float* bias,
                                    size_t channels, size_t taps) {
  ShortFir fir;
  fir.bias_ = bias;
  fir.channels_ = channels;
  fir.taps_ = taps;
  LCSM_ASSIGN_OR_RETURN(
      fir.w_, FloatBuffer::Allocate(taps * channels, "short filter weights"));
  for (size_t c = 0; c < channels; ++c) {
    for (size_t j = 0; j < taps; ++j) {
      fir.w_.data()[j * channels + c] = w[c * taps + j];
    }
  }
  return fir;
}

StatusOr<ShortFirState> ShortFirState::Create(const ShortFir& fir) {
  ShortFirState state;
  state.fir_ = &fir;
  LCSM_ASSIGN_OR_RETURN(state.tail_,
                        FloatBuffer::Allocate(fir.tail_rows() * fir.channels(),
                                              "the tails of short "
                                              "filters"));
  return state;
}

void ShortFirState::CopyFrom(const ShortFirState& other) noexcept {
  std::copy_n(other.tail_.data(), tail_.size(), tail_.data());
}

void ShortFir::Apply(size_t begin, size_t end, size_t count, size_t stride,
                     float* x, float* tail) const noexcept {
  const PointwiseKernels& kernels = GetPointwiseKernels();
  for (size_t t = 0; t < count; ++t) {
    float* const row = x + t * stride + begin;
    kernels.fir_step(row, w_.data() + begin, bias_ + begin, taps_, channels_,
                     end - begin, tail + begin, row);
  }
}

void ShortFir::ApplyToRows(size_t begin, size_t end, size_t count,
                           const float* x, const float* factor,
                           size_t factor_stride, float* y,
                           size_t y_stride) const noexcept {
  GetPointwiseKernels().fir_rows(x + begin, w_.data() + begin, bias_ + begin,
                                 taps_, channels_, end - begin, count, factor,
                                 factor_stride, y, y_stride);
}

}  // namespace lcsm
