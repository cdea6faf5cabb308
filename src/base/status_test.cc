#include "lcsm/status.h"

#include <gtest/gtest.h>

namespace lcsm {
namespace {

StatusOr<int> Half(int x) {
  if (x % 2 != 0) return InvalidInput("odd");
  return x / 2;
}

StatusOr<int> Quarter(int x) {
  LCSM_ASSIGN_OR_RETURN(const int half, Half(x));
  LCSM_ASSIGN_OR_RETURN(const int quarter, Half(half));
  return quarter;
}

Status Check(int x) {
  LCSM_RETURN_IF_ERROR(Quarter(x).status());
  return OkStatus();
}

TEST(StatusTest, SuccessHasNoMessage) {
  EXPECT_TRUE(OkStatus().ok());
  EXPECT_EQ(OkStatus().code(), StatusCode::kOk);
  EXPECT_EQ(OkStatus().message(), "");
}

TEST(StatusTest, MacrosPassValuesAndErrors) {
  EXPECT_EQ(Quarter(12).value(), 3);
  EXPECT_EQ(Quarter(6).status().message(), "odd");
  EXPECT_TRUE(Check(4).ok());
  EXPECT_EQ(Check(1).code(), StatusCode::kInvalidInput);
}

TEST(StatusTest, HoldsMoveOnlyValues) {
  StatusOr<std::unique_ptr<int>> p = std::make_unique<int>(3);
  ASSERT_TRUE(p.ok());
  std::unique_ptr<int> q = std::move(p).value();
  EXPECT_EQ(*q, 3);
}

}  // namespace
}  // namespace lcsm
