#include "io/bed.h"

#include <gtest/gtest.h>

#include "io/gzip_test_util.h"
#include "io/test_util.h"

namespace lcsm::io {
namespace {

StatusOr<std::vector<BedRegion>> Read(std::string_view text) {
  return ReadBed(*TextSource::FromBytes(std::string(text), "r.bed"));
}

TEST(BedTest, Regions) {
  const std::string text =
      "# remark\ntrack name=x\nbrowser position chr1\n\n"
      "chr1\t0\t10\r\nchr1\t5\t7\tpromoter 1\t0\t-\n  chr2   3  4 . 9\n"
      "trackless\t1\t2\t";
  for (const std::string& bytes : {text, Gzip(text)}) {
    const auto regions = Read(bytes).value();
    ASSERT_EQ(regions.size(), 4u);
    EXPECT_EQ(regions[0].chrom, "chr1");
    EXPECT_EQ(regions[0].begin, 0u);
    EXPECT_EQ(regions[0].end, 10u);
    EXPECT_EQ(regions[0].name, "chr1:0-10");
    EXPECT_EQ(regions[0].line, 5u);
    EXPECT_EQ(regions[1].name, "promoter 1");
    EXPECT_EQ(regions[2].chrom, "chr2");
    EXPECT_EQ(regions[2].name, "chr2:3-4");
    EXPECT_EQ(regions[3].name, "trackless:1-2");
  }
}

TEST(BedTest, BadFilesAreSentences) {
  for (const char* text : {"", "\n", "# only\n"}) {
    ExpectSentence(Read(text), "r.bed: holds no regions, expected lines");
  }
  ExpectSentence(Read("a\t1\t2\nchr1\t5\n"),
                 "r.bed: line 2 has 2 columns, expected a sequence's name");
  ExpectSentence(Read("chr1"), "r.bed: line 1 has 1 column,");
  ExpectSentence(Read("\t1\t2\n"), "r.bed: line 1 has an empty first column");
  for (const char* number :
       {"x", "-1", "1.5", "", "1e3", "+1", "0x1", "99999999999999999999"}) {
    ExpectSentence(Read(std::string("a\t0\t") + number + "\n"),
                   "r.bed: line 1 has \"", "in column 3, expected a position");
  }
  for (const char* range : {"5\t5", "6\t5"}) {
    ExpectSentence(Read(std::string("a\t") + range + "\n"),
                   "expected an end after the begin");
  }
  ExpectSentence(Read(std::string("a\t1\t2\t") + std::string(1100000, 'x')),
                 "line 1 is longer than 1048576 bytes");
}

}  // namespace
}  // namespace lcsm::io
