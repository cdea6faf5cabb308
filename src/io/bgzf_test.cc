#include "io/bgzf.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "io/gzip_test_util.h"
#include "io/test_util.h"

namespace lcsm::io {
namespace {

StatusOr<std::unique_ptr<RandomBytes>> OpenText(std::string packed) {
  return OpenBgzf(MakeMemoryBytes(std::move(packed)), "f");
}

TEST(BgzfTest, ReadsAnyPart) {
  std::string text;
  for (int i = 0; text.size() < 5000; ++i) text += std::to_string(i * i) + " ";
  for (const size_t block : {size_t{1}, size_t{100}, size_t{1000000}}) {
    const std::string part = text.substr(0, block == 1 ? 50 : 5000);
    auto bytes = OpenText(Bgzip(part, block));
    ASSERT_TRUE(bytes.ok()) << bytes.status().message();
    EXPECT_EQ((*bytes)->size(), part.size());
    for (size_t offset = 0; offset <= part.size(); offset += 37) {
      const size_t count = std::min<size_t>(333, part.size() - offset);
      std::string out(count, '\0');
      ASSERT_TRUE((*bytes)->Read(offset, count, out.data()).ok());
      EXPECT_EQ(out, part.substr(offset, count));
    }
    std::string out(2, '\0');
    ExpectSentence((*bytes)->Read(part.size() - 1, 2, out.data()),
                   "f: ", "shorter than its index says");
    EXPECT_FALSE((*bytes)->Read(~uint64_t{0}, 2, out.data()).ok());
  }
}

TEST(BgzfTest, CutShortAtAnyByte) {
  const std::string good = Bgzip("one two three four", 5);
  ASSERT_TRUE(OpenText(good).ok());
  for (size_t size = 0; size < good.size(); ++size) {
    const auto cut = OpenText(good.substr(0, size));
    ASSERT_FALSE(cut.ok()) << size;
    ExpectSentence(cut, "f: ");
  }
}

TEST(BgzfTest, FlippedBitsAreNoticed) {
  const std::string good = Bgzip("one two three four", 5);
  for (size_t i = 0; i < good.size() * 8; ++i) {
    std::string bad = good;
    bad[i / 8] = static_cast<char>(bad[i / 8] ^ (1 << i % 8));
    auto bytes = OpenText(bad);
    if (!bytes.ok()) {
      ExpectSentence(bytes, "f: ");
      continue;
    }
    std::string out((*bytes)->size(), '\0');
    const Status status = (*bytes)->Read(0, out.size(), out.data());
    // Times, file systems and flags in a header mean nothing to the text.
    if (status.ok()) {
      EXPECT_EQ(out, "one two three four");
    } else {
      ExpectSentence(status, "f: ");
    }
  }
}

TEST(BgzfTest, KnowsItsOwn) {
  EXPECT_EQ(BgzfBlockBytes(Bgzip("")), Bgzip("").size());
  EXPECT_EQ(BgzfBlockBytes(Gzip("a longer text")), 0u);
  EXPECT_EQ(BgzfBlockBytes(""), 0u);
  EXPECT_TRUE(IsGzip(Gzip("")));
  EXPECT_FALSE(IsGzip("\x1f"));
  ExpectSentence(OpenText(Gzip("text")), "f: ", "no sound bgzip block");
}

TEST(PlainBytesTest, ShorterThanBeforeIsASentence) {
  ScratchFolder folder;
  const std::string file = (folder / "f").string();
  Put(file, "0123456789");
  auto bytes = OpenPlainBytes(file);
  ASSERT_TRUE(bytes.ok());
  std::string out(4, '\0');
  ASSERT_TRUE((*bytes)->Read(6, 4, out.data()).ok());
  EXPECT_EQ(out, "6789");
  std::filesystem::resize_file(file, 8);
  ExpectSentence((*bytes)->Read(6, 4, out.data()), file, "ends at byte 8");
  ExpectSentence(OpenPlainBytes(folder.path().string()), "regular file");
  ExpectSentence(OpenPlainBytes((folder / "none").string()), "No such file");
}

}  // namespace
}  // namespace lcsm::io
