#include "runtime/variant_window.h"

#include <algorithm>
#include <cmath>

#include "io/nucleotides.h"

namespace lcsm {
namespace {

size_t ShortestAllele(const Variant& variant) {
  size_t shortest = variant.ref.size();
  for (const std::string& alt : variant.alts) {
    shortest = std::min(shortest, alt.size());
  }
  return shortest;
}

}  // namespace

Strand Reverse(const Strand& strand) {
  Strand other;
  other.length = strand.length;
  other.fetch = [strand](uint64_t begin, uint64_t end,
                         std::string* bases) -> Status {
    LCSM_RETURN_IF_ERROR(
        strand.fetch(strand.length - end, strand.length - begin, bases));
    *bases = io::ReverseComplement(*bases);
    return OkStatus();
  };
  return other;
}

Variant Reverse(const Variant& variant, uint64_t strand_length) {
  Variant other;
  other.begin = strand_length - variant.begin - variant.ref.size();
  other.ref = io::ReverseComplement(variant.ref);
  for (const std::string& alt : variant.alts) {
    other.alts.push_back(io::ReverseComplement(alt));
  }
  return other;
}

VariantWindow PlaceWindow(uint64_t strand_length, const Variant& variant,
                          size_t length, double place) {
  const uint64_t behind =
      strand_length - variant.begin - variant.ref.size();  // Behind REF.
  const uint64_t shortest = ShortestAllele(variant);
  uint64_t before =
      static_cast<uint64_t>(std::floor(place * static_cast<double>(length)));
  before = std::clamp<uint64_t>(before, 1, length - 1);
  before = std::min(before, variant.begin);
  // The shortest allele needs the most of what stands behind.
  const uint64_t reach = before + shortest + behind;
  if (reach < length) {
    before = std::min(variant.begin, before + (length - reach));
  }
  VariantWindow window;
  window.begin = variant.begin - before;
  window.before = static_cast<size_t>(before);
  window.length = static_cast<size_t>(
      std::min<uint64_t>(length, before + shortest + behind));
  return window;
}

StatusOr<std::vector<std::string>> MakeHaplotypes(const Strand& strand,
                                                  const Variant& variant,
                                                  const VariantWindow& window) {
  std::string before, behind;
  LCSM_RETURN_IF_ERROR(strand.fetch(window.begin, variant.begin, &before));
  const size_t taken = window.before + ShortestAllele(variant);
  const uint64_t from = variant.begin + variant.ref.size();
  LCSM_RETURN_IF_ERROR(strand.fetch(
      from, from + (taken < window.length ? window.length - taken : 0),
      &behind));
  std::vector<std::string> haplotypes;
  const auto add = [&](const std::string& allele) {
    std::string text = before + allele + behind;
    text.resize(window.length);  // It is never shorter.
    haplotypes.push_back(std::move(text));
  };
  add(variant.ref);
  for (const std::string& alt : variant.alts) add(alt);
  return haplotypes;
}

}  // namespace lcsm
