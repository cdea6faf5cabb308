#include "runtime/variant_window.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace lcsm {
namespace {

using Strings = std::vector<std::string>;

Strand Over(const std::string& bases) {
  return {bases.size(),
          [bases](uint64_t begin, uint64_t end, std::string* out) {
            EXPECT_LE(begin, end);
            EXPECT_LE(end, bases.size());
            *out = bases.substr(begin, end - begin);
            return OkStatus();
          }};
}

Strings Texts(const std::string& bases, const Variant& variant, size_t length,
              double place) {
  EXPECT_EQ(bases.substr(variant.begin, variant.ref.size()), variant.ref);
  const auto texts = MakeHaplotypes(
      Over(bases), variant, PlaceWindow(bases.size(), variant, length, place));
  EXPECT_TRUE(texts.ok());
  return *texts;
}

const char* const kContig = "AAACCCGGGTTTACGT";

TEST(VariantWindowTest, Substitutions) {
  EXPECT_EQ(Texts(kContig, {6, "G", {"T", "A"}}, 6, 0.5),
            Strings({"CCCGGG", "CCCTGG", "CCCAGG"}));
  EXPECT_EQ(Texts(kContig, {6, "GGG", {"TTT"}}, 8, 0.5),
            Strings({"ACCCGGGT", "ACCCTTTT"}));
}

TEST(VariantWindowTest, AnInsertionPushesBasesOffTheEnd) {
  EXPECT_EQ(Texts(kContig, {6, "G", {"GTA"}}, 8, 0.5),
            Strings({"ACCCGGGT", "ACCCGTAG"}));
  // One longer than its room is cut.
  EXPECT_EQ(Texts(kContig, {6, "G", {"GTAAAAA"}}, 6, 0.5),
            Strings({"CCCGGG", "CCCGTA"}));
}

TEST(VariantWindowTest, ADeletionTakesMoreIn) {
  EXPECT_EQ(Texts(kContig, {5, "CGGG", {"C"}}, 8, 0.5),
            Strings({"AACCCGGG", "AACCCTTT"}));
  // A REF longer than the window.
  EXPECT_EQ(Texts(kContig, {2, "ACCCGGG", {"A"}}, 4, 0.5),
            Strings({"AAAC", "AAAT"}));
}

TEST(VariantWindowTest, AtOtherPlaces) {
  EXPECT_EQ(Texts(kContig, {8, "G", {"C"}}, 8, 0.875),
            Strings({"AACCCGGG", "AACCCGGC"}));
  // Always a base before the variant: the first one has no score.
  EXPECT_EQ(Texts(kContig, {8, "G", {"C"}}, 4, 0), Strings({"GGTT", "GCTT"}));
}

TEST(VariantWindowTest, ShiftedAtTheContigsEnds) {
  EXPECT_EQ(Texts(kContig, {1, "A", {"G"}}, 6, 0.5),
            Strings({"AAACCC", "AGACCC"}));
  EXPECT_EQ(Texts(kContig, {0, "A", {"G"}}, 4, 0.5), Strings({"AAAC", "GAAC"}));
  EXPECT_EQ(Texts(kContig, {14, "G", {"A"}}, 6, 0.5),
            Strings({"TTACGT", "TTACAT"}));
  EXPECT_EQ(Texts(kContig, {13, "CG", {"C"}}, 6, 0.5),
            Strings({"TTTACG", "TTTACT"}));
  // What the shortest allele has room for is all that the others get.
  EXPECT_EQ(Texts(kContig, {15, "T", {"TAAA", "C"}}, 6, 0.5),
            Strings({"TTACGT", "TTACGT", "TTACGC"}));
}

TEST(VariantWindowTest, ShortenedOnAShortContig) {
  EXPECT_EQ(Texts("ACGTA", {2, "G", {"T"}}, 100, 0.5),
            Strings({"ACGTA", "ACTTA"}));
  EXPECT_EQ(Texts("ACGTA", {2, "G", {"GTT"}}, 100, 0.5),
            Strings({"ACGTA", "ACGTT"}));
  EXPECT_EQ(Texts("ACGTA", {1, "CGT", {"C"}}, 100, 0.5),
            Strings({"ACG", "ACA"}));
  EXPECT_EQ(Texts("A", {0, "A", {"T"}}, 100, 0.5), Strings({"A", "T"}));
}

TEST(VariantWindowTest, TheOtherStrand) {
  const Strand strand = Reverse(Over(kContig));
  std::string bases;
  ASSERT_TRUE(strand.fetch(0, 16, &bases).ok());
  EXPECT_EQ(bases, "ACGTAAACCCGGGTTT");
  ASSERT_TRUE(strand.fetch(9, 12, &bases).ok());
  EXPECT_EQ(bases, "CGG");
  const Variant variant = {6, "GG", {"TA", "G"}};
  const Variant other = Reverse(variant, 16);
  EXPECT_EQ(other.begin, 8u);
  EXPECT_EQ(other.ref, "CC");
  EXPECT_EQ(other.alts, Strings({"TA", "C"}));
  const auto texts =
      MakeHaplotypes(strand, other, PlaceWindow(16, other, 6, 0.5));
  ASSERT_TRUE(texts.ok());
  EXPECT_EQ(*texts, Strings({"AACCCG", "AACTAG", "AACCGG"}));
}

// Against whole contigs with the allele put in.
TEST(VariantWindowTest, RandomOnes) {
  std::mt19937 random(1);
  const auto draw = [&random](size_t lo, size_t hi) {
    return lo + random() % (hi - lo + 1);
  };
  const auto sequence = [&](size_t length) {
    std::string bases;
    for (size_t i = 0; i < length; ++i) bases += "ACGT"[draw(0, 3)];
    return bases;
  };
  for (int round = 0; round < 3000; ++round) {
    const std::string contig = sequence(draw(1, 40));
    Variant variant;
    variant.begin = draw(0, contig.size() - 1);
    variant.ref = contig.substr(variant.begin, draw(1, 6));
    for (size_t i = draw(1, 3); i > 0; --i) {
      variant.alts.push_back(sequence(draw(1, 6)));
    }
    const size_t length = draw(2, 50);
    const double place = static_cast<double>(draw(0, 15)) / 16;
    const VariantWindow window =
        PlaceWindow(contig.size(), variant, length, place);
    const auto texts = MakeHaplotypes(Over(contig), variant, window);
    ASSERT_TRUE(texts.ok());
    ASSERT_EQ(texts->size(), variant.alts.size() + 1);
    ASSERT_EQ(window.begin + window.before, variant.begin);
    ASSERT_LE(window.length, length);
    size_t shortest_whole = contig.size();
    for (size_t i = 0; i < texts->size(); ++i) {
      const std::string& allele = i == 0 ? variant.ref : variant.alts[i - 1];
      const std::string whole =
          contig.substr(0, variant.begin) + allele +
          contig.substr(variant.begin + variant.ref.size());
      ASSERT_EQ((*texts)[i], whole.substr(window.begin, window.length));
      shortest_whole = std::min(shortest_whole, whole.size());
    }
    // As long as asked for, or as long as the shortest haplotype.
    ASSERT_EQ(window.length, std::min(length, shortest_whole));
    // Where it was asked for, unless an end is in the way.
    const size_t wanted = std::clamp<size_t>(
        static_cast<size_t>(place * static_cast<double>(length)), 1,
        length - 1);
    if (window.before < wanted) {
      ASSERT_EQ(window.begin, 0u);
    }
    if (window.before > wanted) {
      ASSERT_EQ(window.begin + window.length, shortest_whole);
    }
  }
}

}  // namespace
}  // namespace lcsm
