#include "base/aligned_buffer.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

namespace lcsm {
namespace {

TEST(FloatBufferTest, IsAlignedAndZero) {
  for (size_t n : {1u, 15u, 16u, 17u, 3000000u}) {
    StatusOr<FloatBuffer> buffer = FloatBuffer::Allocate(n, "test");
    ASSERT_TRUE(buffer.ok());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % kCacheLineBytes,
              0u);
    EXPECT_EQ(buffer->size(), n);
    for (size_t i = 0; i < n; i += 7) ASSERT_EQ(buffer->data()[i], 0.0f);
    buffer->data()[n - 1] = 1.0f;
    buffer->Zero();
    EXPECT_EQ(buffer->data()[n - 1], 0.0f);
  }
}

TEST(FloatBufferTest, EmptyIsFine) {
  StatusOr<FloatBuffer> buffer = FloatBuffer::Allocate(0, "test");
  ASSERT_TRUE(buffer.ok());
  EXPECT_EQ(buffer->size(), 0u);
}

TEST(FloatBufferTest, TooMuchIsAnErrorThatNamesTheBuffer) {
  for (size_t n : {std::numeric_limits<size_t>::max(), size_t{1} << 58}) {
    StatusOr<FloatBuffer> buffer = FloatBuffer::Allocate(n, "the histories");
    ASSERT_FALSE(buffer.ok());
    EXPECT_EQ(buffer.status().code(), StatusCode::kResourceExhausted);
    EXPECT_NE(buffer.status().message().find("the histories"),
              std::string::npos);
  }
}

TEST(FloatBufferTest, MovesLeaveTheSourceEmpty) {
  FloatBuffer a = FloatBuffer::Allocate(100, "test").value();
  float* p = a.data();
  FloatBuffer b = std::move(a);
  EXPECT_EQ(b.data(), p);
  EXPECT_EQ(a.data(), nullptr);
  EXPECT_EQ(a.size(), 0u);
}

}  // namespace
}  // namespace lcsm
