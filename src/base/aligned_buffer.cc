#include "base/aligned_buffer.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cstring>
#include <limits>

namespace lcsm {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;

}  // namespace

FloatBuffer& FloatBuffer::operator=(FloatBuffer&& other) noexcept {
  if (this != &other) {
    Free();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    mapped_bytes_ = std::exchange(other.mapped_bytes_, 0);
  }
  return *this;
}

StatusOr<FloatBuffer> FloatBuffer::Allocate(size_t floats, const char* what) {
  FloatBuffer buffer;
  if (floats == 0) return buffer;
  if (floats > std::numeric_limits<size_t>::max() / sizeof(float) / 2) {
    return ResourceExhausted(
        fmt::format("{} would need more bytes than can be counted", what));
  }
  const size_t bytes = (floats * sizeof(float) + kCacheLineBytes - 1) /
                       kCacheLineBytes * kCacheLineBytes;
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) {
    return ResourceExhausted(fmt::format(
        "{} need {} MiB, which the system does not give", what, bytes >> 20));
  }
  if (bytes >= 4 * kHugePageBytes)
    madvise(p, bytes, MADV_HUGEPAGE);  // A wish; may be refused.
  buffer.data_ = static_cast<float*>(p);
  buffer.size_ = floats;
  buffer.mapped_bytes_ = bytes;
  return buffer;
}

void FloatBuffer::Zero() {
  if (data_ != nullptr) std::memset(data_, 0, size_ * sizeof(float));
}

void FloatBuffer::Free() {
  if (data_ != nullptr) munmap(data_, mapped_bytes_);
  data_ = nullptr;
  size_ = 0;
}

}  // namespace lcsm
