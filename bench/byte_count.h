// Bytes that an online convolution moves, counted from its plan.
//
// Moved is what a tile reads and writes outside its own scratch: lines of
// histories, taps or spectra of filters, spectra of input blocks, each once a
// tile, as if nothing of them were left in a cache from the tile before.
// Accumulators count twice, read and written. Transforms work within scratch
// that the nearest caches hold; their passes are not counted.
#pragma once

#include <cstddef>

#include "conv/plan.h"
#include "lcsm/status.h"

namespace lcsm::bench {

struct BytesMoved {
  double inputs = 0;   // Read from histories; each position's written once.
  double blocks = 0;   // Spectra of input blocks and their sums.
  double filters = 0;  // Taps and spectra of filters.
  double outputs = 0;  // Accumulators.
  double Total() const { return inputs + blocks + filters + outputs; }
};

// What a tile of one group of 16 channels of one row moves, when `known` inputs
// are known; zeros where nothing falls due. Requires a plan that is not
// deferred, of the methods lazy, eager, paper or planned.
BytesMoved TileBytes(const conv::Plan& plan, size_t known);
// The red cells of a position, likewise.
BytesMoved RedBytes();

// Of a session's whole run, all mixers, channels and rows. The rows of a batch
// take their tiles one after another, with the same filter: those bytes are
// counted once for all of them (`rows_share`) or once for each. Error: plans
// that TileBytes does not take.
StatusOr<BytesMoved> CountBytes(const conv::Plan& plan, bool rows_share);

}  // namespace lcsm::bench
