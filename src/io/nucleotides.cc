#include "io/nucleotides.h"

#include <array>

namespace lcsm::io {
namespace {

constexpr std::string_view kAmbiguous = "RYSWKMBDHV";

constexpr std::array<char, 256> MakeTable() {
  std::array<char, 256> table = {};
  const auto set = [&table](char from, char to) {
    table[static_cast<unsigned char>(from)] = to;
    table[static_cast<unsigned char>(from + ('a' - 'A'))] = to;
  };
  for (const char c : std::string_view("ACGTN")) set(c, c);
  set('U', 'T');
  for (const char c : kAmbiguous) set(c, 'N');
  return table;
}
constexpr std::array<char, 256> kFold = MakeTable();

char Complement(char base) {
  switch (base) {
    case 'A':
      return 'T';
    case 'C':
      return 'G';
    case 'G':
      return 'C';
    case 'T':
      return 'A';
    default:
      return base;
  }
}

}  // namespace

char FoldNucleotide(char c) { return kFold[static_cast<unsigned char>(c)]; }

size_t FoldNucleotides(std::string* bases, FoldCounts* counts) {
  FoldCounts seen;
  size_t bad = std::string::npos;
  for (size_t i = 0; i < bases->size(); ++i) {
    char& base = (*bases)[i];
    const char folded = FoldNucleotide(base);
    if (folded == '\0') {
      bad = i;
      break;
    }
    if (folded == base) continue;
    const char upper = base >= 'a' ? static_cast<char>(base - 32) : base;
    seen.lower += upper != base;
    seen.uracil += upper == 'U';
    seen.iupac += folded == 'N' && upper != 'N';
    base = folded;
  }
  if (counts != nullptr) {
    counts->lower += seen.lower;
    counts->uracil += seen.uracil;
    counts->iupac += seen.iupac;
  }
  return bad;
}

std::string ReverseComplement(std::string_view bases) {
  std::string out(bases.size(), '\0');
  for (size_t i = 0; i < bases.size(); ++i) {
    out[bases.size() - 1 - i] = Complement(bases[i]);
  }
  return out;
}

}  // namespace lcsm::io
