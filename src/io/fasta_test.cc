#include "io/fasta.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "io/gzip_test_util.h"
#include "io/test_util.h"

namespace lcsm::io {
namespace {

using Records = std::vector<std::pair<std::string, std::string>>;

StatusOr<Records> Read(std::string_view bytes, FastaCounts* counts = nullptr) {
  FastaReader reader(TextSource::FromBytes(std::string(bytes), "x.fa"));
  FastaRecord record;
  Records records;
  for (;;) {
    LCSM_ASSIGN_OR_RETURN(const bool more, reader.Next(&record));
    if (!more) break;
    records.emplace_back(record.name, record.sequence);
  }
  if (counts != nullptr) *counts = reader.counts();
  return records;
}

TEST(FastaTest, LinesOfEveryKind) {
  const Records want = {{"one", "ACGTACGT"}, {"two", "NNA"}};
  for (const char* text :
       {">one\nACGTACGT\n>two\nNNA\n", ">one\nACGTACGT\n>two\nNNA",
        ">one some words > more\nACGT\nACGT\n>two\twords\nN\nN\nA\n",
        ">one\r\nACGT\r\nACGT\r\n>two x\r\nNNA\r\n",
        "\n\r\n>one\n\nAC\n\n\nGTACGT\n\n>two\n\nNNA\n\n\n",
        ">one\nACGTACGT\n>two\nNNA\r", ">one\nACGTACGT\r\n\r\n>two\nNNA\r\n"}) {
    EXPECT_EQ(Read(text).value(), want) << text;
    EXPECT_EQ(Read(Gzip(text)).value(), want) << text;
    EXPECT_EQ(Read(Bgzip(text, 3)).value(), want) << text;
  }
}

TEST(FastaTest, LettersAreFoldedAndCounted) {
  FastaCounts counts;
  EXPECT_EQ(Read(">a\nACGTNacgtnUu\n>b\nRYSWKMBDHVryy\n", &counts).value(),
            (Records{{"a", "ACGTNACGTNTT"}, {"b", "NNNNNNNNNNNNN"}}));
  EXPECT_EQ(counts.lower_case, 9u);
  EXPECT_EQ(counts.uracil, 2u);
  EXPECT_EQ(counts.iupac['R' - 'A'], 2u);
  EXPECT_EQ(counts.iupac['Y' - 'A'], 3u);
  EXPECT_EQ(counts.iupac['V' - 'A'], 1u);
  EXPECT_EQ(counts.iupac['N' - 'A'], 0u);
  EXPECT_EQ(counts.iupac['U' - 'A'], 0u);
}

TEST(FastaTest, LongRecordsOverManyPieces) {
  std::string sequence;
  uint32_t x = 7;
  for (int i = 0; i < 1500000; ++i) {
    x = x * 1664525 + 1013904223;
    sequence += "ACGT"[x >> 30];
  }
  for (const size_t width : {size_t{60}, sequence.size()}) {
    for (const char* line_end : {"\n", "\r\n"}) {
      std::string text = std::string(">long") + line_end;
      for (size_t at = 0; at < sequence.size(); at += width) {
        text += sequence.substr(at, width) + line_end;
      }
      const Records records = Read(text).value();
      ASSERT_EQ(records.size(), 1u);
      EXPECT_TRUE(records[0].second == sequence);
    }
  }
}

TEST(FastaTest, ErrorsAfterWholeRecords) {
  FastaReader reader(TextSource::FromBytes(">a\nAC\n>b\nA-C\n", "x.fa"));
  FastaRecord record;
  EXPECT_TRUE(reader.Next(&record).value());
  EXPECT_EQ(record.line, 1u);
  ExpectSentence(reader.Next(&record),
                 "x.fa: line 4, record \"b\": column 2 has \"-\", expected a "
                 "nucleotide");
}

TEST(FastaTest, BadFilesAreSentences) {
  for (const char* text : {"", "\n\n", "\r\n"}) {
    ExpectSentence(Read(text), "x.fa: holds no record, expected FASTA");
  }
  ExpectSentence(Read("\nACGT\n>a\nA\n"),
                 "x.fa: line 2 has \"ACGT\" before the first record, expected "
                 "a header that begins with >");
  ExpectSentence(Read("; comment\n>a\nA\n"), "line 1 has \"; comment\"");
  ExpectSentence(Read("@read\nACGT\n+\nIIII\n"), "line 1 has \"@read\"");
  for (const char* text : {">\nA\n", "> a\nA\n", ">", ">\r\nA\n"}) {
    ExpectSentence(Read(text), "x.fa: line 1 is a header without a name");
  }
  for (const char* text : {">a\n", ">a", ">a\n\n\r\n", ">a\n>b\nA\n"}) {
    ExpectSentence(Read(text),
                   "x.fa: record \"a\" (line 1) is empty, expected at least "
                   "one base");
  }
  ExpectSentence(Read(">a\nA\n>b\n"), "record \"b\" (line 3) is empty");
  ExpectSentence(Read(std::string(">a\nA\n>") + std::string(1100000, 'x')),
                 "x.fa: line 3 is a header of more than 1048576 bytes");
}

TEST(FastaTest, BadLettersAreNamed) {
  const auto refused = [](std::string_view text, std::string_view says) {
    ExpectSentence(Read(text), says);
    ExpectSentence(Read(Gzip(text)), says);
  };
  refused(">a\nACGT\nAC*\n", "line 3, record \"a\": column 3 has \"*\"");
  refused(">a\nAC GT\n", "line 2, record \"a\": column 3 has \" \"");
  refused(">a\nAC>GT\n", "line 2, record \"a\": column 3 has \">\"");
  refused(">a\nACGTE\n", "column 5 has \"E\"");
  refused(">a\nAC\rGT\n", "column 3 has \"\\x0d\"");
  refused(">a\nAC\r\r\n", "column 3 has \"\\x0d\"");
  refused(std::string_view(">a\nA\0C\n", 7), "column 2 has \"\\x00\"");
  refused(">a\nA\xc3\xa9\n", "column 2 has \"\\xc3\"");
  refused(">a\nacgtX", "column 5 has \"X\"");
  // Every byte is either read or refused.
  for (int byte = 0; byte < 256; ++byte) {
    const std::string text = std::string(">a\nA") + static_cast<char>(byte);
    const bool known =
        std::string_view("ACGTNURYSWKMBDHVacgtnuryswkmbdhv\r\n")
            .find(static_cast<char>(byte)) != std::string_view::npos;
    EXPECT_EQ(Read(text).ok(), known) << byte;
  }
}

TEST(FastaTest, GzipCutShortIsNoShorterRecord) {
  const std::string text = ">a\n" + std::string(300, 'A') + "\n>b\nACGT\n";
  const std::string whole = Bgzip(text, 50);
  for (size_t size = 2; size < whole.size(); ++size) {
    EXPECT_FALSE(Read(std::string_view(whole).substr(0, size)).ok()) << size;
  }
}

}  // namespace
}  // namespace lcsm::io
