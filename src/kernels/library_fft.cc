#include "kernels/library_fft.h"

#include <fmt/format.h>

#include <cassert>

#ifdef LCSM_FFTW
#include <fftw3.h>

#include <mutex>

#include "base/aligned_buffer.h"
#else
#include <kissfft/kiss_fftr.h>
#endif

namespace lcsm {

#ifdef LCSM_FFTW

namespace {

// FFTW's planner keeps global state and is the one part of it that threads may
// not enter together.
std::mutex& PlannerMutex() {
  static std::mutex mutex;
  return mutex;
}

}  // namespace

struct LibraryFft::Impl {
  FloatBuffer time, spectrum;  // Planning scribbles here; the plans are then
                               // run on other arrays.
  fftwf_plan forward = nullptr;
  fftwf_plan inverse = nullptr;
  ~Impl() {
    const std::lock_guard<std::mutex> lock(PlannerMutex());
    if (forward != nullptr) fftwf_destroy_plan(forward);
    if (inverse != nullptr) fftwf_destroy_plan(inverse);
  }
};

const char* LibraryFft::LibraryName() { return "fftw"; }

// The planning arrays, and about as much again in twiddles of both directions.
size_t LibraryFft::BytesFor(size_t length) {
  return 4 * length * sizeof(float);
}

StatusOr<std::unique_ptr<LibraryFft>> LibraryFft::Create(size_t length) {
  assert(length >= 2 && length % 2 == 0);
  auto impl = std::make_unique<Impl>();
  LCSM_ASSIGN_OR_RETURN(impl->time,
                        FloatBuffer::Allocate(length, "FFTW planning arrays"));
  LCSM_ASSIGN_OR_RETURN(
      impl->spectrum,
      FloatBuffer::Allocate(length + 2, "FFTW planning arrays"));
  float* time = impl->time.data();
  auto* spectrum = reinterpret_cast<fftwf_complex*>(impl->spectrum.data());
  const int n = static_cast<int>(length);
  // Not FFTW_MEASURE: plans, and with them bits, would vary from run to run.
  const std::lock_guard<std::mutex> lock(PlannerMutex());
  impl->forward = fftwf_plan_dft_r2c_1d(n, time, spectrum, FFTW_ESTIMATE);
  impl->inverse = fftwf_plan_dft_c2r_1d(n, spectrum, time, FFTW_ESTIMATE);
  if (impl->forward == nullptr || impl->inverse == nullptr) {
    return InternalError(fmt::format(
        "FFTW made no plan for a real transform of length {}", length));
  }
  return std::unique_ptr<LibraryFft>(new LibraryFft(length, std::move(impl)));
}

void LibraryFft::Forward(const float* time, float* spectrum) noexcept {
  // FFTW's real-to-complex transforms leave their input alone; its interface
  // lacks the const.
  fftwf_execute_dft_r2c(impl_->forward, const_cast<float*>(time),
                        reinterpret_cast<fftwf_complex*>(spectrum));
}

void LibraryFft::Inverse(float* spectrum, float* time) noexcept {
  fftwf_execute_dft_c2r(impl_->inverse,
                        reinterpret_cast<fftwf_complex*>(spectrum), time);
}

#else

struct LibraryFft::Impl {
  kiss_fftr_cfg forward = nullptr;
  kiss_fftr_cfg inverse = nullptr;
  ~Impl() {
    kiss_fftr_free(forward);
    kiss_fftr_free(inverse);
  }
};

const char* LibraryFft::LibraryName() { return "kissfft"; }

// Each direction holds length / 2 complex twiddles, as many of scratch, and
// half as many of the real transform.
size_t LibraryFft::BytesFor(size_t length) {
  return 2 * (length / 2) * 5 / 2 * 2 * sizeof(float);
}

StatusOr<std::unique_ptr<LibraryFft>> LibraryFft::Create(size_t length) {
  assert(length >= 2 && length % 2 == 0);
  auto impl = std::make_unique<Impl>();
  impl->forward =
      kiss_fftr_alloc(static_cast<int>(length), 0, nullptr, nullptr);
  impl->inverse =
      kiss_fftr_alloc(static_cast<int>(length), 1, nullptr, nullptr);
  if (impl->forward == nullptr || impl->inverse == nullptr) {
    return ResourceExhausted(fmt::format(
        "KissFFT could not make tables for a real transform of length {}",
        length));
  }
  return std::unique_ptr<LibraryFft>(new LibraryFft(length, std::move(impl)));
}

void LibraryFft::Forward(const float* time, float* spectrum) noexcept {
  kiss_fftr(impl_->forward, time, reinterpret_cast<kiss_fft_cpx*>(spectrum));
}

void LibraryFft::Inverse(float* spectrum, float* time) noexcept {
  kiss_fftri(impl_->inverse, reinterpret_cast<const kiss_fft_cpx*>(spectrum),
             time);
}

#endif

LibraryFft::LibraryFft(size_t length, std::unique_ptr<Impl> impl)
    : length_(length), impl_(std::move(impl)) {}
LibraryFft::~LibraryFft() = default;

}  // namespace lcsm
