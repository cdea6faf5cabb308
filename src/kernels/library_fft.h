// Real transforms by a library, behind one door: KissFFT by default, FFTW with
// -DLCSM_FFTW=ON.
//
// This is a rival and a cross-check of our own transform (--tau fft-library),
// not the fast path.
#pragma once

#include <cstddef>
#include <memory>

#include "lcsm/status.h"

namespace lcsm {

// Real transforms of one length. Immutable tables plus scratch of its own: not
// thread safe, each thread owns one. Making one takes time and may allocate;
// using one does neither.
class LibraryFft {
 public:
  // length: even, at least 2.
  static StatusOr<std::unique_ptr<LibraryFft>> Create(size_t length);
  ~LibraryFft();

  static const char* LibraryName();  // "kissfft" or "fftw"

  // What an object of this length holds, tables and scratch, to a few per cent.
  static size_t BytesFor(size_t length);

  size_t length() const { return length_; }
  // Complex points of a spectrum, stored as re, im pairs.
  size_t SpectrumFloats() const { return length_ + 2; }

  // time: length() floats; spectrum: SpectrumFloats() floats; 64-byte aligned,
  // both distinct.
  void Forward(const float* time, float* spectrum) noexcept;
  // Unscaled: Forward and then Inverse multiplies by length(). Destroys
  // `spectrum`.
  void Inverse(float* spectrum, float* time) noexcept;

 private:
  struct Impl;
  LibraryFft(size_t length, std::unique_ptr<Impl> impl);
  size_t length_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lcsm
