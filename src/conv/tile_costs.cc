#include "conv/tile_costs.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <sstream>

#include "conv/level_op.h"
#include "kernels/fft_tables.h"

namespace lcsm::conv {
namespace {

// Fitted to `lcsm bench tiles` and to tiles of 8 blocks on a 3 GHz Zen 3, AVX2,
// 128 groups: direct sums run at 26 multiply-adds a nanosecond, transforms at
// about 2.3 ns per point and level for 16 channels, and products at the speed
// of the cache they stream from, which gets worse with the block.
TileCost Estimate(Tau tau, size_t block, bool many) {
  const double u = static_cast<double>(block);
  const double log2u = std::log2(u);
  switch (tau) {
    case Tau::kDirect:
      return {15 + 0.9 * u * u, 0.9 * u * u};
    case Tau::kDirectBlocked:
      return {15 + 0.62 * u * u, 0.62 * u * u};
    case Tau::kFftLibrary:
      return {200 + u * (log2u + 1) * 40, 0};
    case Tau::kFftFused: {
      TileCost cost = {40 + u * (log2u + 1) * (2.0 + 0.055 * log2u), 0};
      if (many) {
        cost.first_ns += 10 * u;
        cost.more_ns = u * std::max(2.5, 2.5 + 0.8 * (log2u - 6));
      }
      return cost;
    }
    case Tau::kFftPast:
      return {40 + u * (log2u + 1) * 2.6, u * 2.6};
    case Tau::kHybrid:
      break;
  }
  return {};
}

}  // namespace

TileCost TileCosts::Of(Tau tau, size_t block, bool many) const {
  const auto entry = entries_.find({{tau, many}, block});
  if (entry != entries_.end()) return entry->second;
  const TileCost estimate = Estimate(tau, block, many);
  // Beyond what was measured, the estimate is scaled to its neighbour.
  const auto above = entries_.lower_bound({{tau, many}, block});
  if (above == entries_.begin()) return estimate;
  const auto& [key, measured] = *std::prev(above);
  if (key.first != std::pair(tau, many)) return estimate;
  const TileCost there = Estimate(tau, key.second, many);
  const double first = measured.first_ns / there.first_ns;
  return {estimate.first_ns * first,
          there.more_ns > 0
              ? estimate.more_ns * measured.more_ns / there.more_ns
              : 0};
}

void TileCosts::Set(Tau tau, size_t block, bool many, TileCost cost) {
  entries_[{{tau, many}, block}] = cost;
}

std::string TileCosts::Print() const {
  std::string text;
  for (const auto& [key, cost] : entries_) {
    text += fmt::format("{} {} {} {:.1f} {:.1f}\n", Name(key.first.first),
                        key.second, key.first.second ? "many" : "single",
                        cost.first_ns, cost.more_ns);
  }
  return text;
}

StatusOr<TileCosts> TileCosts::Parse(std::string_view text) {
  // Nanoseconds of a tile: an hour is no measurement.
  constexpr double kMost = 3.6e12;
  TileCosts costs;
  std::istringstream lines{std::string(text)};
  std::string line;
  while (std::getline(lines, line)) {
    if (line.empty()) continue;
    std::istringstream fields(line);
    std::string tau_name, kind, rest;
    size_t block = 0;
    TileCost cost;
    const bool read = static_cast<bool>(fields >> tau_name >> block >> kind >>
                                        cost.first_ns >> cost.more_ns) &&
                      !(fields >> rest);
    const std::optional<Tau> tau = TauFromName(tau_name);
    if (!read || !tau.has_value() || *tau == Tau::kHybrid ||
        !std::has_single_bit(block) || block < SmallestBlock(*tau) ||
        block > FftTables::kMaxBlock || (kind != "many" && kind != "single") ||
        !(cost.first_ns > 0 && cost.first_ns < kMost) ||
        !(cost.more_ns >= 0 && cost.more_ns < kMost)) {
      return InvalidInput(
          "a line of tile costs is not 'tau block single|many ns ns'");
    }
    costs.Set(*tau, block, kind == "many", cost);
  }
  return costs;
}

}  // namespace lcsm::conv
