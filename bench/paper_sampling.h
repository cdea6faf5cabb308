// Which positions of a long sequence to measure, and what each of them stands
// for.
//
// Positions are sorted into classes of equal cost. A total is then the sum over
// classes of how many positions they have times the mean of those measured, so
// that every block size counts in proportion however few positions were run.
#pragma once

#include <cstddef>
#include <vector>

#include "conv/plan.h"

namespace lcsm::bench {

// Everything that must be known of a method to sample it is in this file: for
// tilings of any kind the class of position t, whose step does the work due
// when r = t + 1 inputs are known, is the largest power of two that divides r;
// for lazy and eager, whose cost runs linearly along the sequence, it is a
// stretch of positions.
class CostClasses {
 public:
  explicit CostClasses(const conv::Plan& plan);

  size_t size() const { return size_; }
  size_t Of(size_t position) const noexcept;

 private:
  size_t length_, size_ = 0;
  bool eager_ = false;
  std::vector<size_t> edges_;  // Of the stretches; empty for tilings.
};

// Positions measured one after another: [first, first + count), after
// `warm_count` unmeasured ones from warm_first on, which fetch the cache lines
// that a run would have touched just before.
struct Window {
  size_t warm_first = 0, warm_count = 0;
  size_t first = 0, count = 0;
};

// Windows that meet every class: for tilings `windows` stretches of 63
// positions for the blocks below 64, and `samples` positions (all, where there
// are few) of each larger block. Both numbers are at most 8. They are spread
// over the whole sequence and over all remainders modulo 16 blocks: where
// levels have other radices than two, tiles of one block size differ.
std::vector<Window> SampledPositions(const conv::Plan& plan, size_t windows,
                                     size_t samples);
// All positions.
std::vector<Window> WholeSequence(const conv::Plan& plan);

}  // namespace lcsm::bench
