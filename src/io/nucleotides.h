// What letters of a sequence file mean to the models: A, C, G, T and N.
//
// Thread safety: plain functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "lcsm/status.h"

namespace lcsm::io {

// How many letters were not taken as they are.
struct FoldCounts {
  uint64_t lower = 0;   // a for A, in any code
  uint64_t uracil = 0;  // U for T
  uint64_t iupac = 0;   // R, Y, S, W, K, M, B, D, H, V: read as N
};

// A, C, G, T or N for one of IUPAC's nucleotide codes in upper or lower case;
// 0 for anything else.
char FoldNucleotide(char c);

// Folds a sequence in place and adds to `counts` (may be null). Gives the
// index of the first character that is no nucleotide code, where it stops, or
// npos.
size_t FoldNucleotides(std::string* bases, FoldCounts* counts);

// Of folded bases: A with T, C with G, N with itself, last one first.
std::string ReverseComplement(std::string_view bases);

}  // namespace lcsm::io
