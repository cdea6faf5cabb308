// A transform tile cut into pieces of bounded work, so that it can be spread
// over many steps.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/fft_tables.h"

namespace lcsm {

struct FftPart {
  enum class Kind {
    kInput,    // First pass, points [begin, end) of each of its parts.
    kSplit,    // One pass down of one block, points [begin, end) of each
               // quarter.
    kDescend,  // All of one block: down, products, up.
    kJoin,     // One pass up of one block, likewise.
    kOutput,   // Last pass, as the first.
  };
  Kind kind = Kind::kInput;
  size_t depth = 0, index = 0, points = 0;  // Of the block.
  size_t begin = 0, end = 0;
};

// The pieces of a tile of tables.block() in the order in which they must run,
// each of at most about `grain` points (at least 4) of work: whole blocks of up
// to that many, and passes over larger ones cut.
std::vector<FftPart> MakeFftParts(const FftTables& tables, size_t grain);

// What a part takes beside others, in the time of a point's pass through the
// nearest cache: by itself, and for each product of the sum. A pass by itself
// comes from the next cache; products read 16 bytes a channel from wherever the
// spectra are.
struct FftPartWork {
  size_t own = 0, product = 0;
};
FftPartWork WorkOf(const FftTables& tables, const FftPart& part);

}  // namespace lcsm
