// Where a description's streams lie, and whether its steps fit together.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "lcsm/status.h"
#include "models/stack_description.h"

namespace lcsm {

// Columns of a row.
struct StackSpan {
  size_t offset = 0, width = 0;
  size_t end() const { return offset + width; }
};

struct StackStepLayout {
  std::vector<StackSpan> from, to;
  // Sums over `from` and `to`.
  size_t in = 0, out = 0;
};

struct StackPartLayout {
  StackSpan input, output;
  std::vector<StackStepLayout> steps;
};

// Of all parts, block by block.
struct StackLayout {
  std::vector<std::vector<StackPartLayout>> blocks;
  size_t row = 0;  // Floats that the widest part wants.
};

// Errors, naming the step by its path: streams read before they are written,
// widths that do not meet, cycles, no output.
StatusOr<StackLayout> LayOut(const StackDescription& description);

}  // namespace lcsm
