#include "io/nucleotides.h"

#include <gtest/gtest.h>

namespace lcsm::io {
namespace {

TEST(NucleotidesTest, Folds) {
  std::string bases = "ACGTNacgtnUuRYSWKMBDHVryswkmbdhv";
  FoldCounts counts;
  EXPECT_EQ(FoldNucleotides(&bases, &counts), std::string::npos);
  EXPECT_EQ(bases, "ACGTNACGTNTT" + std::string(20, 'N'));
  EXPECT_EQ(counts.lower, 16u);
  EXPECT_EQ(counts.uracil, 2u);
  EXPECT_EQ(counts.iupac, 20u);
}

TEST(NucleotidesTest, StopsAtWhatIsNone) {
  for (int c = 0; c < 256; ++c) {
    const char letter = static_cast<char>(c);
    const bool known =
        std::string_view("ACGTNURYSWKMBDHVacgtnuryswkmbdhv").find(letter) !=
        std::string_view::npos;
    std::string bases = std::string("Ac") + letter + "g";
    EXPECT_EQ(FoldNucleotides(&bases, nullptr),
              known ? std::string::npos : size_t{2})
        << c;
    EXPECT_EQ(FoldNucleotide(letter) != '\0', known) << c;
    EXPECT_EQ(bases.substr(0, 2), "AC");
  }
}

TEST(NucleotidesTest, ReverseComplementOfItselfIsTheSame) {
  EXPECT_EQ(ReverseComplement("AACGTNT"), "ANACGTT");
  EXPECT_EQ(ReverseComplement(ReverseComplement("AACGTNT")), "AACGTNT");
  EXPECT_EQ(ReverseComplement(""), "");
}

}  // namespace
}  // namespace lcsm::io
