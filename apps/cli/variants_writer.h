// The two forms of what `lcsm variants` says of a record.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "io/vcf.h"
#include "runtime/model.h"
#include "runtime/variants.h"
#include "variants_options.h"

namespace lcsm::cli {

// A record of the input, and its scores if it has any.
struct VariantRow {
  io::VcfRecord record;
  // Of which ALTs, by number from 0, `scores` has them.
  std::vector<size_t> scored;
  VariantScores scores;
};

// What stands before the first record: a line of column names, or the header of
// the input with lines about the scores.
std::string VariantsHeader(const VariantsArguments& arguments,
                           const VariantOptions& options, const ModelInfo& info,
                           const io::VcfReader& input);

// The lines of one record, each with its line end: TSV has one for each scored
// allele, VCF always one.
std::string FormatVariant(const VariantsArguments& arguments,
                          const VariantRow& row);

}  // namespace lcsm::cli
