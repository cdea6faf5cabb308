#include "models/hyena_place.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <span>
#include <string>

#include "io/test_util.h"

namespace lcsm {
namespace {

TEST(HyenaPlaceTest, ComesBackFromFourNumbers) {
  const io::ScratchFolder folder;
  auto writer = io::SectionWriter::Create(folder / "s", "{}");
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE((HyenaPlace{7, 20, 5, true}).Save(*writer).ok());
  ASSERT_TRUE((HyenaPlace{8, 20, 10, false}).Save(*writer).ok());
  ASSERT_TRUE(writer->Finish().ok());
  auto reader = io::SectionReader::Open(folder / "s");
  ASSERT_TRUE(reader.ok());
  // The layout of files that there are.
  uint64_t numbers[4] = {};
  ASSERT_TRUE(reader->GetArray("state", std::span<uint64_t>(numbers)).ok());
  EXPECT_EQ(numbers[0], 7u);
  EXPECT_EQ(numbers[1], 20u);
  EXPECT_EQ(numbers[2], 5u);
  EXPECT_EQ(numbers[3], 1u);
  const auto place = HyenaPlace::Load(*reader, 20, 10);
  ASSERT_TRUE(place.ok()) << place.status().message();
  EXPECT_EQ(place->origin, 8u);
  EXPECT_EQ(place->horizon, 20u);
  EXPECT_EQ(place->pending, 10u);
  EXPECT_FALSE(place->apart);
  EXPECT_TRUE(place->CheckPosition(*reader, 20).ok());
  EXPECT_NE(place->CheckPosition(*reader, 21)
                .message()
                .find("stands at position 21, expected at most 20"),
            std::string::npos);
}

TEST(HyenaPlaceTest, PlacesWhereNoSessionStandsAreRefused) {
  // Of 20 positions, 10 of them by steps.
  const uint64_t places[][4] = {
      {21, 20, 0, 0},  // Beyond its own end,
      {8, 21, 0, 0},   // the session's end,
      {8, 20, 13, 1},  // with more prepared than may follow,
      {8, 20, 0, 1},   // with nothing, apart,
      {8, 20, 11, 0},  // with more than there are steps for.
  };
  for (const auto& numbers : places) {
    const io::ScratchFolder folder;
    auto writer = io::SectionWriter::Create(folder / "s", "{}");
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE(
        writer->PutArray("state", std::span<const uint64_t>(numbers)).ok());
    ASSERT_TRUE(writer->Finish().ok());
    auto reader = io::SectionReader::Open(folder / "s");
    ASSERT_TRUE(reader.ok());
    const auto place = HyenaPlace::Load(*reader, 20, 10);
    ASSERT_FALSE(place.ok()) << numbers[0] << " " << numbers[2];
    EXPECT_NE(place.status().message().find(
                  "expected a place that the session's 20 positions and 10 "
                  "steps allow"),
              std::string::npos)
        << place.status().message();
  }
}

}  // namespace
}  // namespace lcsm
