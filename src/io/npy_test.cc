#include "io/npy.h"

#include <gtest/gtest.h>

#include <array>

#include "io/test_util.h"

namespace lcsm::io {
namespace {

TEST(NpyTest, WritesTheFormat) {
  ScratchFolder folder;
  const std::array<float, 6> values = {1, 2, 3, 4, 5, 6};
  for (const bool announce : {false, true}) {
    auto npy =
        NpyWriter::Create(folder / "a.npy", 3,
                          announce ? std::optional<size_t>(2) : std::nullopt);
    ASSERT_TRUE(npy.ok());
    for (size_t row = 0; row < 2; ++row) {
      ASSERT_TRUE(npy->Append(std::span(values).subspan(3 * row, 3)).ok());
    }
    ASSERT_TRUE(npy->Finish().ok());
    const std::string file = Get(folder / "a.npy");
    ASSERT_EQ(file.size(), 128u + 24u);
    EXPECT_EQ(file.substr(0, 10), std::string("\x93NUMPY\x01\x00\x76\x00", 10));
    EXPECT_EQ(file.substr(10, 61),
              "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  ");
    EXPECT_EQ(file[127], '\n');
    EXPECT_EQ(file.substr(128), Raw(values));
  }
}

TEST(NpyTest, NothingIsLeftHalfWritten) {
  ScratchFolder folder;
  {
    auto npy = NpyWriter::Create(folder / "a.npy", 2, 2);
    ASSERT_TRUE(npy.ok());
    const std::array<float, 2> row = {1, 2};
    ASSERT_TRUE(npy->Append(row).ok());
    EXPECT_FALSE(npy->Append(std::span(row).first(1)).ok());
    EXPECT_FALSE(npy->Finish().ok());  // A row short.
  }
  EXPECT_EQ(folder.Count(), 0u);
}

TEST(NpyTest, BadOutputsAreSentences) {
  ScratchFolder folder;
  Put(folder / "file", "");
  ExpectSentence(NpyWriter::Create(folder / "file/a.npy", 2, 1),
                 "file/a.npy: cannot be written: Not a directory");
  ExpectSentence(NpyWriter::Create("/dev/null", 2, std::nullopt),
                 "/dev/null: is a pipe or device, expected a regular file");
  auto npy = NpyWriter::Create("/dev/full", 1, 1000000);
  ASSERT_TRUE(npy.ok());
  ExpectSentence(npy->Append(std::vector<float>(1000000)),
                 "/dev/full: cannot be written: No space left");
}

TEST(TokenIdsTest, ReadsIds) {
  EXPECT_EQ(ParseTokenIds(" 0 7\t11\r\n\n3", "f", 12).value(),
            (std::vector<int32_t>{0, 7, 11, 3}));
  ScratchFolder folder;
  Put(folder / "ids", "1 2 3\n");
  EXPECT_EQ(ReadTokenIds(folder / "ids", 12).value().size(), 3u);
}

TEST(TokenIdsTest, BadIdsAreSentences) {
  ExpectSentence(ParseTokenIds("7 8\n9 12\n", "ids.txt", 12),
                 "ids.txt: line 2 has \"12\", expected token ids from 0 to 11");
  for (const char* word : {"-1", "1.0", "x", "+3", "0x1", "3,",
                           "99999999999999999999999", "1\xff"}) {
    ExpectSentence(ParseTokenIds(word, "ids.txt", 12), "ids.txt: line 1 has");
  }
  ExpectSentence(ParseTokenIds(std::string_view("1 \0 2", 5), "ids.txt", 12),
                 "has \"\\x00\"");
  for (const char* empty : {"", " \n "}) {
    ExpectSentence(ParseTokenIds(empty, "ids.txt", 12),
                   "ids.txt: holds no token ids");
  }
  ExpectSentence(ReadTokenIds("/nonexistent/ids", 12), "/nonexistent/ids");
}

}  // namespace
}  // namespace lcsm::io
