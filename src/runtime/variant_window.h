// Which bases a variant is scored on: the window around it, and the window's
// text for each allele.
//
// All alleles of a variant get texts of the same length W. They begin at the
// same base of the contig and share what comes before the variant. After the
// allele the contig goes on behind REF until W bases are full: an insertion
// pushes bases off the end, a deletion takes more in.
//
// Where the contig ends before the window does, the window is shifted; where
// the contig is too short for that, it is shortened, for all alleles alike.
//
// The reverse strand is the same on the reverse complement of the contig: what
// is read before the variant is then what stands behind it on the forward one.
//
// Thread safety: values and plain functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lcsm/status.h"

namespace lcsm {

// A stretch of bases that can be read anywhere: a contig, or one strand of it.
struct Strand {
  uint64_t length = 0;
  // Folded bases [begin, end).
  std::function<Status(uint64_t begin, uint64_t end, std::string* bases)> fetch;
};
// The other strand, read in its own direction.
Strand Reverse(const Strand& strand);

// Folded bases; [begin, begin + ref.size()) lies on the strand.
struct Variant {
  uint64_t begin = 0;  // 0-based position of REF's first base.
  std::string ref;
  std::vector<std::string> alts;
};
// The same variant on the other strand.
Variant Reverse(const Variant& variant, uint64_t strand_length);

struct VariantWindow {
  uint64_t begin = 0;  // First base on the strand.
  size_t before = 0;   // Bases before the variant.
  size_t length = 0;   // W, or less on a strand too short for it.
  bool operator==(const VariantWindow&) const = default;
};

// `place` in [0, 1): the part of the window that lies before the variant. At
// least one base does, where there is one, since a first token has no score.
// Requires length >= 2.
VariantWindow PlaceWindow(uint64_t strand_length, const Variant& variant,
                          size_t length, double place);

// Texts of window.length bases: of REF, then of each ALT. Error: the strand's.
StatusOr<std::vector<std::string>> MakeHaplotypes(const Strand& strand,
                                                  const Variant& variant,
                                                  const VariantWindow& window);

}  // namespace lcsm
