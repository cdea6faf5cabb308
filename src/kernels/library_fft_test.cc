#include "kernels/library_fft.h"

#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <numbers>
#include <random>
#include <vector>

#include "base/aligned_buffer.h"

namespace lcsm {
namespace {

TEST(LibraryFftTest, AgreesWithTheDefinitionAndInverts) {
  std::mt19937 rng(1);
  std::normal_distribution<float> normal;
  for (size_t length : {2u, 4u, 16u, 64u, 250u}) {
    std::unique_ptr<LibraryFft> fft = LibraryFft::Create(length).value();
    FloatBuffer time = FloatBuffer::Allocate(length, "test").value();
    FloatBuffer back = FloatBuffer::Allocate(length, "test").value();
    FloatBuffer spectrum =
        FloatBuffer::Allocate(fft->SpectrumFloats(), "test").value();
    double norm = 0;
    for (size_t n = 0; n < length; ++n) {
      time.data()[n] = normal(rng);
      norm += time.data()[n] * time.data()[n];
    }
    // Rounding: a few eps times log2(length) times the norm of the input.
    const double bound = 2 * 1.2e-7 * std::log2(2.0 * length) * std::sqrt(norm);
    fft->Forward(time.data(), spectrum.data());
    for (size_t k = 0; k <= length / 2; ++k) {
      std::complex<double> want = 0;
      for (size_t n = 0; n < length; ++n) {
        want += static_cast<double>(time.data()[n]) *
                std::polar(1.0, -2 * std::numbers::pi *
                                    static_cast<double>(n * k % length) /
                                    static_cast<double>(length));
      }
      EXPECT_NEAR(spectrum.data()[2 * k], want.real(), bound);
      EXPECT_NEAR(spectrum.data()[2 * k + 1], want.imag(), bound);
    }
    fft->Inverse(spectrum.data(), back.data());
    for (size_t n = 0; n < length; ++n) {
      EXPECT_NEAR(back.data()[n] / static_cast<float>(length), time.data()[n],
                  bound);
    }
  }
}

}  // namespace
}  // namespace lcsm
