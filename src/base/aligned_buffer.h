// Zeroed, cache-line aligned memory that may fail to be had.
//
// Big blocks come straight from the kernel: pages that are never touched cost
// nothing, and where the kernel offers huge pages they are asked for (a
// session's histories are walked by one thread a line at a time over thousands
// of streams, which without huge pages misses the TLB at every one).
#pragma once

#include <cstddef>
#include <utility>

#include "lcsm/status.h"

namespace lcsm {

inline constexpr size_t kCacheLineBytes = 64;

// Owns a block of zero-initialised floats. Movable; empty by default. Not
// thread safe itself, the memory it hands out is the caller's to share.
class FloatBuffer {
 public:
  FloatBuffer() = default;
  FloatBuffer(FloatBuffer&& other) noexcept { *this = std::move(other); }
  FloatBuffer& operator=(FloatBuffer&& other) noexcept;
  FloatBuffer(const FloatBuffer&) = delete;
  FloatBuffer& operator=(const FloatBuffer&) = delete;
  ~FloatBuffer() { Free(); }

  // `what` names the buffer in the error, e.g. "the histories of 8 layers".
  static StatusOr<FloatBuffer> Allocate(size_t floats, const char* what);

  float* data() { return data_; }
  const float* data() const { return data_; }
  size_t size() const { return size_; }
  size_t bytes() const { return size_ * sizeof(float); }

  void Zero();

 private:
  void Free();

  float* data_ = nullptr;
  size_t size_ = 0;
  size_t mapped_bytes_ = 0;
};

}  // namespace lcsm
