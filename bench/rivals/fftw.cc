// A rival: the tiling of contiguous_tiling.h through FFTW, one real transform
// of length 2U a tile. Built with -DLCSM_FFTW=ON only (GPL).
#include <fftw3.h>

#include "bench/rivals/contiguous_tiling.h"

namespace {

class FftwTransform {
 public:
  explicit FftwTransform(size_t block) : block_(block) {
    const int n = static_cast<int>(2 * block);
    time_ = fftwf_alloc_real(2 * block);
    frequency_ = fftwf_alloc_complex(block + 1);
    forward_ = fftwf_plan_dft_r2c_1d(n, time_, frequency_, FFTW_MEASURE);
    inverse_ = fftwf_plan_dft_c2r_1d(n, frequency_, time_, FFTW_MEASURE);
  }
  ~FftwTransform() {
    fftwf_destroy_plan(forward_);
    fftwf_destroy_plan(inverse_);
    fftwf_free(time_);
    fftwf_free(frequency_);
  }
  FftwTransform(const FftwTransform&) = delete;
  FftwTransform& operator=(const FftwTransform&) = delete;

  size_t SpectrumFloats() const { return 2 * (block_ + 1); }

  void Spectrum(const float* taps, float* spectrum) {
    for (size_t k = 0; k < 2 * block_; ++k)
      time_[k] = taps[k] / static_cast<float>(2 * block_);
    fftwf_execute(forward_);
    std::copy_n(&frequency_[0][0], SpectrumFloats(), spectrum);
  }

  void Apply(const float* x, const float* h, size_t count, float* acc) {
    std::copy_n(x, block_, time_);
    std::fill_n(time_ + block_, block_, 0.0f);
    fftwf_execute(forward_);
    float* f = &frequency_[0][0];
    for (size_t k = 0; k < SpectrumFloats(); k += 2) {
      const float re = f[k] * h[k] - f[k + 1] * h[k + 1];
      f[k + 1] = f[k] * h[k + 1] + f[k + 1] * h[k];
      f[k] = re;
    }
    fftwf_execute(inverse_);
    for (size_t j = 0; j < count; ++j) acc[j] += time_[block_ + j];
  }

 private:
  const size_t block_;
  float* time_;               // 2U
  fftwf_complex* frequency_;  // U + 1
  fftwf_plan forward_, inverse_;
};

}  // namespace

int main(int argc, char** argv) {
  return rivals::Main<FftwTransform>("rival_fftw", argc, argv);
}
