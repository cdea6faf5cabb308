// A rival: the tiling of contiguous_tiling.h through the transforms of FFmpeg's
// libavutil (LGPL), the fastest that Debian 12 packages beside FFTW.
//
// Its complex transforms are the ones in assembly, its real ones are not, so it
// gets our own trick: a real negacyclic product of length 2U, whose upper half
// is wanted, is a complex one of length U over x[n] * zeta^n with
// zeta = exp(i pi / 2U), and the outputs are imaginary parts
// (docs/how-it-works.md). Built with -DLCSM_FFTW=ON where libavutil is found.
extern "C" {
#include <libavutil/mem.h>
#include <libavutil/tx.h>
}

#include <complex>

#include "bench/rivals/contiguous_tiling.h"

namespace {

class AvTransform {
 public:
  explicit AvTransform(size_t block) : block_(block), twist_(2 * block) {
    const float scale = 1;
    const int n = static_cast<int>(block);
    if (av_tx_init(&forward_, &run_forward_, AV_TX_FLOAT_FFT, 0, n, &scale, 0) <
            0 ||
        av_tx_init(&inverse_, &run_inverse_, AV_TX_FLOAT_FFT, 1, n, &scale, 0) <
            0) {
      fprintf(stderr, "rival_avtx: no transform of length %d\n", n);
      exit(1);
    }
    // av_malloc aligns to what the widest registers want.
    time_ = static_cast<float*>(av_malloc(2 * block * sizeof(float)));
    frequency_ = static_cast<float*>(av_malloc(2 * block * sizeof(float)));
    for (size_t k = 0; k < block; ++k) {
      const std::complex<double> zeta = std::polar(
          1.0, M_PI * static_cast<double>(k) / static_cast<double>(2 * block));
      twist_[2 * k] = static_cast<float>(zeta.real());
      twist_[2 * k + 1] = static_cast<float>(zeta.imag());
    }
  }
  ~AvTransform() {
    av_tx_uninit(&forward_);
    av_tx_uninit(&inverse_);
    av_free(time_);
    av_free(frequency_);
  }
  AvTransform(const AvTransform&) = delete;
  AvTransform& operator=(const AvTransform&) = delete;

  size_t SpectrumFloats() const { return 2 * block_; }

  void Spectrum(const float* taps, float* spectrum) {
    const float scale = 1.0f / static_cast<float>(block_);
    for (size_t k = 0; k < block_; ++k) {
      const std::complex<float> z =
          std::complex<float>(taps[k], taps[k + block_]) *
          std::complex<float>(twist_[2 * k], twist_[2 * k + 1]);
      time_[2 * k] = scale * z.real();
      time_[2 * k + 1] = scale * z.imag();
    }
    run_forward_(forward_, frequency_, time_, kStride);
    std::copy_n(frequency_, 2 * block_, spectrum);
  }

  void Apply(const float* x, const float* h, size_t count, float* acc) {
    for (size_t k = 0; k < block_; ++k) {
      time_[2 * k] = x[k] * twist_[2 * k];
      time_[2 * k + 1] = x[k] * twist_[2 * k + 1];
    }
    run_forward_(forward_, frequency_, time_, kStride);
    float* const f = frequency_;
    for (size_t k = 0; k < 2 * block_; k += 2) {
      const float re = f[k] * h[k] - f[k + 1] * h[k + 1];
      f[k + 1] = f[k] * h[k + 1] + f[k + 1] * h[k];
      f[k] = re;
    }
    run_inverse_(inverse_, time_, frequency_, kStride);
    for (size_t j = 0; j < count; ++j) {
      acc[j] +=
          time_[2 * j + 1] * twist_[2 * j] - time_[2 * j] * twist_[2 * j + 1];
    }
  }

 private:
  static constexpr ptrdiff_t kStride = 2 * sizeof(float);
  const size_t block_;
  AVTXContext *forward_ = nullptr, *inverse_ = nullptr;
  av_tx_fn run_forward_ = nullptr, run_inverse_ = nullptr;
  float *time_ = nullptr, *frequency_ = nullptr;  // U complex numbers each.
  std::vector<float> twist_;                      // zeta^n
};

}  // namespace

int main(int argc, char** argv) {
  return rivals::Main<AvTransform>("rival_avtx", argc, argv);
}
