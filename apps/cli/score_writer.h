// The two forms of what `lcsm score` says of a sequence.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "runtime/model.h"
#include "score_options.h"

namespace lcsm::cli {

struct ScoreRow {
  std::string_view id;
  size_t length = 0;
  size_t scored = 0;
  double sum_logprob = 0;
  // The mean is not a number where nothing was scored.
  double Mean() const;
  double Bits() const;  // A token.
};

// Numbers as the shortest decimals that read back as the same float64; NaN for
// those that are none.
std::string ShortestDecimal(double x);

// What stands before the first row, and one row; each ends with a line end.
// They take the place of *out.
void FormatHeader(const ScoreArguments& arguments, const ModelInfo& info,
                  std::string* out);
void FormatTokenHeader(const ScoreArguments& arguments, const ModelInfo& info,
                       std::string* out);
void FormatRow(const ScoreArguments& arguments, const ModelInfo& info,
               const ScoreRow& row, std::string* out);

}  // namespace lcsm::cli
