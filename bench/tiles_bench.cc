#include "bench/tiles_bench.h"

#include <fmt/format.h>

#include "conv/level_op.h"
#include "conv/measure_tiles.h"
#include "kernels/fft_tables.h"
#include "kernels/lanes.h"

namespace lcsm::bench {

StatusOr<std::vector<TileRow>> RunTiles(size_t max_block, size_t repeats) {
  using conv::Tau;
  if (max_block > FftTables::kMaxBlock) {
    return InvalidInput(fmt::format(
        "blocks of {} are asked for, expected at most {}, the largest "
        "transform",
        max_block, FftTables::kMaxBlock));
  }
  std::vector<TileRow> rows;
  for (size_t block = 1; block <= max_block; block *= 2) {
    TileRow row;
    row.block = block;
    const std::pair<Tau, double*> taus[] = {
        {Tau::kDirect, &row.direct},
        {Tau::kDirectBlocked, &row.direct_blocked},
        {Tau::kFftLibrary, &row.fft_library},
        {Tau::kFftFused, &row.fft_fused}};
    for (const auto& [tau, ns] : taus) {
      const bool is_direct = tau == Tau::kDirect || tau == Tau::kDirectBlocked;
      if (block < conv::SmallestBlock(tau) || (is_direct && block > 1024) ||
          (tau == Tau::kFftLibrary && block > 65536)) {
        continue;
      }
      conv::TileTiming timing;
      timing.repeats = repeats;
      LCSM_ASSIGN_OR_RETURN(
          const conv::TileCost cost,
          conv::MeasureTile(tau, block, /*many=*/false, timing));
      // A tile's time over the 2U positions between two tiles of a binary
      // tiling, and the channels of a group.
      *ns = cost.first_ns / static_cast<double>(2 * block * kLanes);
    }
    rows.push_back(row);
  }
  return rows;
}

}  // namespace lcsm::bench
