// Section files: round trips, and every way in which one may be damaged.
#include "io/section_file.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "io/hash.h"
#include "io/test_util.h"

namespace lcsm::io {
namespace {

std::vector<std::byte> SomeBytes(size_t n) {
  std::vector<std::byte> bytes(n);
  for (size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::byte>(i * 7 + 1);
  return bytes;
}

void Write(const std::filesystem::path& path) {
  SectionWriter writer = SectionWriter::Create(path, "{\"a\": 1}").value();
  ASSERT_TRUE(writer.Put("first", SomeBytes(33)).ok());
  ASSERT_TRUE(writer.Put("empty", {}).ok());
  ASSERT_TRUE(writer.Put("second", SomeBytes(5)).ok());
  ASSERT_TRUE(writer.Finish().ok());
}

// All of it, or why not.
Status ReadAll(const std::filesystem::path& path) {
  LCSM_ASSIGN_OR_RETURN(SectionReader reader, SectionReader::Open(path));
  std::vector<std::byte> first(33), second(5);
  LCSM_RETURN_IF_ERROR(reader.Get("first", first));
  LCSM_RETURN_IF_ERROR(reader.Get("empty", {}));
  LCSM_RETURN_IF_ERROR(reader.Get("second", second));
  LCSM_RETURN_IF_ERROR(reader.Finish());
  EXPECT_EQ(reader.header(), "{\"a\": 1}");
  EXPECT_EQ(first, SomeBytes(33));
  EXPECT_EQ(second, SomeBytes(5));
  return OkStatus();
}

TEST(SectionFileTest, RoundTrip) {
  ScratchFolder folder;
  Write(folder / "s");
  const Status status = ReadAll(folder / "s");
  EXPECT_TRUE(status.ok()) << status.message();
}

TEST(SectionFileTest, CutShortAnywhere) {
  ScratchFolder folder;
  Write(folder / "whole");
  const std::string whole = ReadFile(folder / "whole", 1 << 20).value();
  for (size_t n = 0; n < whole.size(); ++n) {
    ASSERT_TRUE(WriteFileAtomically(folder / "s", whole.substr(0, n)).ok());
    const Status status = ReadAll(folder / "s");
    ASSERT_FALSE(status.ok()) << "cut to " << n << " bytes";
    ASSERT_EQ(status.message().find('\n'), std::string::npos);
  }
  ASSERT_TRUE(WriteFileAtomically(folder / "s", whole + "x").ok());
  EXPECT_FALSE(ReadAll(folder / "s").ok());
}

TEST(SectionFileTest, AnyBitFlipped) {
  ScratchFolder folder;
  Write(folder / "whole");
  const std::string whole = ReadFile(folder / "whole", 1 << 20).value();
  for (size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    ASSERT_TRUE(WriteFileAtomically(folder / "s", flipped).ok());
    ASSERT_FALSE(ReadAll(folder / "s").ok()) << "bit " << bit;
  }
}

TEST(SectionFileTest, SentencesForWhatIsWrong) {
  ScratchFolder folder;
  Write(folder / "s");
  ASSERT_TRUE(WriteFileAtomically(folder / "text", "hello, world").ok());
  EXPECT_NE(ReadAll(folder / "text").message().find("is no session file"),
            std::string::npos);
  EXPECT_FALSE(ReadAll(folder / "missing").ok());
  std::string newer = ReadFile(folder / "s", 1 << 20).value();
  newer[8] = 2;
  ASSERT_TRUE(WriteFileAtomically(folder / "newer", newer).ok());
  EXPECT_NE(ReadAll(folder / "newer").message().find("version 2, expected"),
            std::string::npos);
  SectionReader reader = SectionReader::Open(folder / "s").value();
  EXPECT_EQ(reader.NextSize(), 33u);
  std::vector<std::byte> few(32);
  EXPECT_FALSE(reader.Get("first", few).ok());
  few.resize(33);
  EXPECT_FALSE(reader.Get("second", few).ok());
  EXPECT_TRUE(reader.Get("first", few).ok());
  EXPECT_FALSE(reader.Finish().ok());
}

TEST(SectionFileTest, AWriterThatStopsLeavesNothing) {
  ScratchFolder folder;
  {
    SectionWriter writer = SectionWriter::Create(folder / "s", "{}").value();
    ASSERT_TRUE(writer.Put("first", SomeBytes(100000)).ok());
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(HashTest, KnownValuesAndPieces) {
  // From the published algorithm: XXH3 of nothing, seed 0.
  EXPECT_EQ(Hasher().Hex(), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(Checksum({}), 0x2D06800538D394C2u);
  Hasher whole, pieces;
  whole.Add("abcdefgh");
  pieces.Add("abc");
  pieces.Add("defgh");
  EXPECT_EQ(whole.Hex(), pieces.Hex());
  EXPECT_NE(whole.Hex(), Hasher().Hex());
}

}  // namespace
}  // namespace lcsm::io
