#include "io/vcf.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "io/gzip_test_util.h"
#include "io/test_util.h"

namespace lcsm::io {
namespace {

constexpr const char* kHeader =
    "##fileformat=VCFv4.3\n##contig=<ID=1>\n"
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n";

struct Read {
  Status status;
  std::vector<VcfRecord> records;
};

Read ReadAll(std::string text) {
  Read out;
  const auto reader =
      VcfReader::Create(TextSource::FromBytes(std::move(text), "f"));
  out.status = reader.status();
  while (out.status.ok()) {
    VcfRecord record;
    const StatusOr<bool> more = (*reader)->Next(&record);
    out.status = more.status();
    if (!more.ok() || !*more) break;
    out.records.push_back(std::move(record));
  }
  return out;
}
Read ReadLines(const std::string& lines) { return ReadAll(kHeader + lines); }

TEST(VcfTest, ReadsRecords) {
  const std::string line =
      "chr1\t100\trs1\tac\tA,ACG,*,<DEL>,G]17:5],.T\t.\t.\tX=1;Y";
  for (const std::string& text :
       {kHeader + line + "\n", kHeader + line, Gzip(kHeader + line + "\r\n"),
        Bgzip(kHeader + line + "\n\n\n", 30)}) {
    const Read read = ReadAll(text);
    ASSERT_TRUE(read.status.ok()) << read.status.message();
    ASSERT_EQ(read.records.size(), 1u);
    const VcfRecord& r = read.records[0];
    EXPECT_EQ(r.line, 4u);
    EXPECT_EQ(r.text, line);
    EXPECT_EQ(r.chrom, "chr1");
    EXPECT_EQ(r.pos, 100u);
    EXPECT_EQ(r.ref, "AC");
    EXPECT_EQ(r.ref_text, "ac");
    ASSERT_EQ(r.alts.size(), 6u);
    EXPECT_EQ(r.alts[1].bases, "ACG");
    EXPECT_EQ(r.alts[2].kind, AlleleKind::kOverlap);
    EXPECT_EQ(r.alts[3].kind, AlleleKind::kSymbolic);
    EXPECT_EQ(r.alts[4].kind, AlleleKind::kBreakend);
    EXPECT_EQ(r.alts[5].kind, AlleleKind::kBreakend);
    EXPECT_EQ(r.alts[5].text, ".T");
    EXPECT_EQ(r.Column(VcfRecord::kInfoColumn), "X=1;Y");
    EXPECT_EQ(r.Column(8), "");
  }
}

TEST(VcfTest, NoAlternateAllele) {
  const Read read = ReadLines("1\t5\t.\tA\t.\t.\t.\t.\n");
  ASSERT_EQ(read.records.size(), 1u);
  EXPECT_TRUE(read.records[0].alts.empty());
}

TEST(VcfTest, KeepsHeaderAndSamples) {
  const auto reader = VcfReader::Create(TextSource::FromBytes(
      "##fileformat=VCFv4.2\n##a=b\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\t"
      "INFO\tFORMAT\tS1\n1\t1\t.\tA\tC\t.\t.\t.\tGT\t0/1\n",
      "f"));
  ASSERT_TRUE(reader.ok());
  EXPECT_THAT((*reader)->header(),
              ::testing::ElementsAre("##fileformat=VCFv4.2", "##a=b"));
  EXPECT_TRUE((*reader)->column_names().ends_with("FORMAT\tS1"));
  VcfRecord record;
  ASSERT_TRUE((*reader)->Next(&record).value());
  EXPECT_EQ((*reader)->At(record), "f: line 4");
  EXPECT_FALSE((*reader)->Next(&record).value());
}

TEST(VcfTest, WhatIsNoVcf) {
  ExpectSentence(ReadAll("").status, "f: is empty");
  ExpectSentence(ReadAll("BCF\2\2stuff").status, "f: is a BCF file");
  ExpectSentence(ReadAll(">chr1\nACGT\n").status, "f: line 1 is \">chr1\"");
  ExpectSentence(ReadAll("##fileformat=VCFv4.2\n##a\n").status,
                 "ends within its header");
  ExpectSentence(
      ReadAll("##fileformat=VCFv4.2\n#CHROM POS ID REF ALT\n").status,
      "f: line 2: column 1 is \"#CHROM POS ID REF ALT\", expected #CHROM");
  ExpectSentence(ReadAll("##fileformat=VCFv4.2\n#CHROM\tPOS\n").status,
                 "line 2 names 2 columns, expected at least 8");
  ExpectSentence(
      ReadAll("##fileformat=VCFv4.2\n1\t5\t.\tA\tC\t.\t.\t.\n").status,
      "line 2: column 1 is \"1\"");
}

TEST(VcfTest, MalformedLinesAreSentences) {
  const auto refuse = [](const std::string& line, std::string_view says) {
    const Read read = ReadLines("1\t4\t.\tA\tC\t.\t.\t.\n" + line + "\n");
    ExpectSentence(read.status, "f: line 5", says);
    EXPECT_EQ(read.records.size(), 1u);
  };
  refuse("1\t5\t.\tA\tC\t.\t.", "has 7 columns between tabs, expected 8");
  refuse("1\t5\t.\tA\tC\t.\t.\t.\tGT", "has 9 columns");
  refuse("1 5 . A C . . .", "has 1 columns");
  refuse("\t5\t.\tA\tC\t.\t.\t.", "CHROM is empty");
  for (const char* pos : {"", "x", "-1", "1.5", "5x", " 5", "2147483647",
                          "99999999999999999999"}) {
    refuse(std::string("1\t") + pos + "\t.\tA\tC\t.\t.\t.",
           "expected a position from 0 to 2147483646");
  }
  for (const char* ref : {"", ".", "A.", "<DEL>", "*", "A,C"}) {
    refuse(std::string("1\t5\t.\t") + ref + "\tC\t.\t.\t.", "REF is ");
  }
  for (const char* alt : {"", "C,", ",C", "C,,G", "X", "<>", "C-", "A.C",
                          "."
                          ",.",
                          "**"}) {
    refuse(std::string("1\t5\t.\tA\t") + alt + "\t.\t.\t.", "ALT holds ");
  }
  refuse("\n1\t5\t.\tA\tC\t.\t.\t.", "is empty, expected a record");
}

TEST(VcfTest, CutShortIsAnError) {
  const std::string good = Bgzip(
      std::string(kHeader) + "1\t4\t.\tA\tC\t.\t.\t.\n1\t5\t.\tA\tC\t.\t.\t.\n",
      40);
  ASSERT_TRUE(ReadAll(good).status.ok());
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(ReadAll(good.substr(0, size)).status.ok()) << size;
  }
}

}  // namespace
}  // namespace lcsm::io
