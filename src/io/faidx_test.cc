#include "io/faidx.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <string>

#include "io/gzip_test_util.h"
#include "io/test_util.h"

namespace lcsm::io {
namespace {

using ::testing::ElementsAre;

// By hand, as samtools faidx prints it.
constexpr const char* kFasta =
    ">one first\nACGTA\nCCGGT\nac\n>two\n>chr3\tx\nUNRY\n\n";
constexpr const char* kIndex =
    "one\t12\t11\t5\t6\ntwo\t0\t31\t0\t0\nchr3\t4\t39\t4\t5\n";

StatusOr<std::unique_ptr<Genome>> Make(std::string bytes) {
  return Genome::FromBytes(std::move(bytes), "f", std::nullopt);
}

std::string Bases(Genome& genome, std::string_view contig, uint64_t begin,
                  uint64_t end) {
  const auto index = genome.Find(contig);
  EXPECT_TRUE(index.has_value()) << contig;
  std::string bases;
  const Status status = genome.Fetch(*index, begin, end, &bases, nullptr);
  EXPECT_TRUE(status.ok()) << status.message();
  return bases;
}

TEST(FaidxTest, IndexesAsSamtoolsDoes) {
  const auto index = BuildFaidx(*TextSource::FromBytes(kFasta, "f"));
  ASSERT_TRUE(index.ok() && index->has_value());
  EXPECT_EQ(FormatFaidx(**index), kIndex);
  const auto parsed = ParseFaidx(kIndex, "f.fai");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(FormatFaidx(*parsed), kIndex);
}

TEST(FaidxTest, FetchesAnyPartHoweverItIsStored) {
  const std::string crlf =
      ">one first\r\nACGTA\r\nCCGGT\r\nac\r\n>two\r\n>chr3\r\nUNRY\r\n";
  const std::string irregular = ">one\nAC\nGTACCG\n\nGTa\nc\n>two\n>chr3\nUNRY";
  for (const std::string& bytes :
       {std::string(kFasta), crlf, irregular, Bgzip(kFasta, 7),
        Bgzip(irregular), Gzip(kFasta), Gzip(irregular)}) {
    auto genome = Make(bytes);
    ASSERT_TRUE(genome.ok()) << genome.status().message();
    ASSERT_EQ((*genome)->contigs(), 3u);
    EXPECT_EQ((*genome)->length(0), 12u);
    EXPECT_EQ((*genome)->length(1), 0u);
    EXPECT_EQ((*genome)->name(2), "chr3");
    const std::string whole = "ACGTACCGGTAC";
    for (size_t begin = 0; begin <= whole.size(); ++begin) {
      for (size_t end = begin; end <= whole.size(); ++end) {
        EXPECT_EQ(Bases(**genome, "one", begin, end),
                  whole.substr(begin, end - begin));
      }
    }
    EXPECT_EQ(Bases(**genome, "two", 0, 0), "");
    EXPECT_EQ(Bases(**genome, "chr3", 0, 4), "TNNN");
    FoldCounts counts;
    std::string out;
    ASSERT_TRUE((*genome)->Fetch(2, 0, 4, &out, &counts).ok());
    EXPECT_EQ(counts.iupac, 2u);
    EXPECT_EQ(counts.uracil, 1u);
  }
}

TEST(FaidxTest, FindsContigsWithAndWithoutChr) {
  auto genome = Make(">1\nA\n>chr2\nC\n>chr1\nG\n>X\nT\n");
  ASSERT_TRUE(genome.ok());
  EXPECT_EQ((*genome)->Find("1"), 0u);
  EXPECT_EQ((*genome)->Find("chr1"), 2u);
  EXPECT_EQ((*genome)->Find("2"), 1u);
  EXPECT_EQ((*genome)->Find("chrX"), 3u);
  EXPECT_EQ((*genome)->Find("chr3"), std::nullopt);
  EXPECT_EQ((*genome)->Find(""), std::nullopt);
}

TEST(FaidxTest, BadFastaIsASentence) {
  ExpectSentence(Make(""), "f: holds no sequence");
  ExpectSentence(Make("ACGT\n"),
                 "f: line 1 is \"ACGT\", expected a FASTA header");
  ExpectSentence(Make("\n\n> x\nA\n"),
                 "f: line 3 begins a sequence without a name");
  ExpectSentence(Make(">a\nA\n>b\n>a\n"),
                 "f: line 4 names the contig \"a\" a second time");
  ExpectSentence(Make(Gzip(">a\nAC\nG-T\n")),
                 "f: line 3 has \"-\" in column 2");
  ExpectSentence(Make(Gzip(kFasta).substr(0, 30)), "f: ", "cut short");
  ExpectSentence(Make(Bgzip(kFasta, 7).substr(0, 60)), "f: ", "cut short");
  auto genome = Make(">a\nACGT\nAC*T\n");
  ASSERT_TRUE(genome.ok());
  std::string bases;
  ExpectSentence((*genome)->Fetch(0, 2, 8, &bases, nullptr),
                 "f: position 7 of contig \"a\" is \"*\"");
}

TEST(FaidxTest, BadIndexIsASentence) {
  const auto refuse = [](const std::string& text, std::string_view says) {
    ExpectSentence(ParseFaidx(text, "f.fai"), "f.fai: ", says);
  };
  refuse("", "names no contig");
  refuse("one\t12\t11\t5\n", "line 1 has fewer than five columns");
  refuse("one 12 11 5 6\n", "line 1 has no contig name");
  refuse("\t12\t11\t5\t6\n", "line 1 has no contig name");
  refuse("one\t12\t-1\t5\t6\n", "line 1 has a column that is no size");
  refuse("one\t12\t11\t5x\t6\n", "line 1 has a column that is no size");
  refuse("one\t99999999999999999999\t11\t5\t6\n", "no size");
  refuse("one\t12\t11\t0\t6\n", "line 1 has lines shorter than their bases");
  refuse("one\t12\t11\t5\t4\n", "line 1 has lines shorter than their bases");
  refuse("a\t1\t1\t1\t1\na\t1\t1\t1\t1\n", "line 2 names the contig \"a\"");
  EXPECT_TRUE(ParseFaidx("a\t1\t1\t1\t1\textra\n", "f").ok());
}

TEST(FaidxTest, IndexOfAnotherFileIsASentence) {
  const auto with = [](std::string_view index) {
    return Genome::FromBytes(kFasta, "f", index);
  };
  for (const char* index :
       {"one\t1000\t11\t5\t6\n", "one\t5\t60\t5\t6\n",
        "one\t10\t1\t1\t1152921504606846976\n",
        "one\t1152921504606846976\t1\t1\t1152921504606846976\n"}) {
    ExpectSentence(with(index), "f: ends before its contig \"one\"", "f.fai");
  }
  auto genome = with("one\t20\t11\t20\t21\n");
  ASSERT_TRUE(genome.ok());
  std::string bases;
  ExpectSentence((*genome)->Fetch(0, 0, 20, &bases, nullptr),
                 "f: position 6 of contig \"one\" is \"\\x0a\"",
                 "f.fai may be the index of another file");
}

TEST(FaidxTest, FilesAndTheirIndex) {
  ScratchFolder folder;
  const std::string file = (folder / "g.fa").string();
  Put(file, kFasta);
  auto genome = Genome::Open(file);
  ASSERT_TRUE(genome.ok()) << genome.status().message();
  EXPECT_EQ(Bases(**genome, "one", 3, 8), "TACCG");
  EXPECT_EQ(folder.Count(), 1u);  // Nothing is written unless asked for.
  ASSERT_TRUE((*genome)->SaveIndex().ok());
  EXPECT_EQ(Get(file + ".fai"), kIndex);

  // An index that is there is used: this one knows of one contig only.
  Put(file + ".fai", "uno\t12\t11\t5\t6\n");
  genome = Genome::Open(file);
  ASSERT_TRUE(genome.ok());
  EXPECT_EQ((*genome)->contigs(), 1u);
  EXPECT_EQ((*genome)->note(), "");
  // Unless the genome changed since.
  std::filesystem::last_write_time(
      file + ".fai",
      std::filesystem::last_write_time(file) - std::chrono::hours(1));
  genome = Genome::Open(file);
  ASSERT_TRUE(genome.ok());
  EXPECT_EQ((*genome)->contigs(), 3u);
  EXPECT_NE((*genome)->note().find("is older than"), std::string::npos);
  // A broken one is said to be broken.
  Put(file + ".fai", "one\t12\n");
  ExpectSentence(Genome::Open(file), "g.fa.fai: line 1");
}

TEST(FaidxTest, CompressedFiles) {
  ScratchFolder folder;
  const std::string packed = (folder / "g.fa.gz").string();
  Put(packed, Bgzip(kFasta, 7));
  auto genome = Genome::Open(packed);
  ASSERT_TRUE(genome.ok()) << genome.status().message();
  EXPECT_EQ(Bases(**genome, "one", 3, 8), "TACCG");
  EXPECT_TRUE((*genome)->SaveIndex().ok());
  EXPECT_EQ(Get(packed + ".fai"), kIndex);
  genome = Genome::Open(packed);
  ASSERT_TRUE(genome.ok());
  EXPECT_EQ(Bases(**genome, "one", 3, 8), "TACCG");

  const std::string plain = (folder / "h.fa.gz").string();
  Put(plain, Gzip(kFasta));
  genome = Genome::Open(plain);
  ASSERT_TRUE(genome.ok());
  EXPECT_EQ(Bases(**genome, "one", 3, 8), "TACCG");
  ExpectSentence((*genome)->SaveIndex(), "h.fa.gz: has no random access");
  ExpectSentence(Genome::Open((folder / "none").string()), "No such file");
}

}  // namespace
}  // namespace lcsm::io
