#include "base/byte_text.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace lcsm {
namespace {

TEST(ByteTextTest, TheLargestUnitThatFits) {
  EXPECT_EQ(ByteText(0), "0 B");
  EXPECT_EQ(ByteText(1023), "1023 B");
  EXPECT_EQ(ByteText(1024), "1.0 KiB");
  EXPECT_EQ(ByteText(17196646), "16.4 MiB");
  EXPECT_EQ(ByteText(size_t{1} << 30), "1.00 GiB");
  EXPECT_EQ(ByteText(SIZE_MAX), "16777216.00 TiB");
}

}  // namespace
}  // namespace lcsm
