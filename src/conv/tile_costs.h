// What tiles cost on this machine: an estimate, or measurements.
//
// The planner needs few numbers: for each way to compute a tile and each block
// size U, the nanoseconds of a tile of one group (kLanes channels) with one
// block of inputs, and what each further block adds. They depend on the cache
// that the spectra come from, hence on how many groups take turns; measurements
// are made and kept per such count.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "conv/problem.h"
#include "lcsm/status.h"

namespace lcsm::conv {

struct TileCost {
  double first_ns = 0;  // One block of inputs.
  double more_ns = 0;   // Each further one.
  double Of(size_t terms) const {
    return terms == 0 ? 0 : first_ns + more_ns * static_cast<double>(terms - 1);
  }
  bool operator==(const TileCost&) const = default;
};

// Immutable while a planner uses it.
class TileCosts {
 public:
  // On record from one machine (see tile_costs.cc), scaled to nothing: good
  // for comparing plans, not for foretelling seconds elsewhere.
  TileCosts() = default;

  // A tile of `level`'s block by its tau; with one slice (binary) or many.
  TileCost Of(Tau tau, size_t block, bool many) const;
  // Measured entries replace the estimate.
  void Set(Tau tau, size_t block, bool many, TileCost cost);
  bool measured() const { return !entries_.empty(); }
  // Whether Set gave this very entry.
  bool Has(Tau tau, size_t block, bool many) const {
    return entries_.count({{tau, many}, block}) != 0;
  }
  // Whether the same entries were set, to the same numbers.
  bool operator==(const TileCosts&) const = default;

  // Lines of "tau block single|many first more", each number checked.
  std::string Print() const;
  static StatusOr<TileCosts> Parse(std::string_view text);

 private:
  std::map<std::pair<std::pair<Tau, bool>, size_t>, TileCost> entries_;
};

}  // namespace lcsm::conv
