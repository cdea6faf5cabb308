// Who owns what when a model runs on several GPUs: a table, and nothing else.
// It knows neither NCCL nor threads, so that GPUs of one process, of several,
// or of several machines may follow it.
//
// Batch rows are independent: parts of the batch exchange nothing. Within a
// part the ranks share the channels, in groups of kLanes. A rank projects,
// convolves and gates the channels it owns (its rows of in_proj, all N + 1
// streams of a channel together, and its histories, spectra and short FIR
// tails), then multiplies them with its columns of out_proj; the products of
// all ranks of the part are summed (an all-reduce) onto the residual stream,
// which all hold. The MLP goes the same way: rows of fc1, columns of fc2, a
// sum. Norms are small and everybody's; embedding, head and sampler are the
// leader's.
//
// So a layer has two sums of rows x width floats, whatever its order, a step
// one more for the embedded tokens, and tiles have none at all: what is large
// is never moved.
//
// Models on devices follow it with one part (docs/cuda.md, "Several GPUs").
//
// Rejected: splitting the sequence (every tile would be an exchange), and
// layers (one GPU works at a time at one row).
#pragma once

#include <cstddef>
#include <vector>

#include "lcsm/status.h"

namespace lcsm::cuda {

struct SplitProblem {
  size_t rows = 1;      // Of the batch.
  size_t channels = 1;  // D
  size_t inner = 1;     // Of the MLP.
  size_t layers = 1;
};

struct Share {
  size_t part = 0;    // Ranks of one part sum with each other.
  bool leads = true;  // The part's first: has embedding, head and sampler.
  size_t first_row = 0, rows = 0;
  size_t first_channel = 0, channels = 0;  // Whole groups but for the last.
  size_t first_inner = 0, inner = 0;       // Likewise.
};

struct Split {
  size_t parts = 1;           // Of the batch.
  size_t ranks_in_part = 1;   // Rank r is in part r / ranks_in_part.
  std::vector<Share> shares;  // One a rank.
  // Of one step and part: sums among its ranks, and floats in each.
  size_t sums = 0;
  size_t floats_a_sum = 0;
};

// Rows are split before channels, since that costs nothing: into the most parts
// that divide the ranks and are no more than the rows. Errors: no ranks; more
// ranks in a part than groups of channels, or of those of the MLP.
StatusOr<Split> MakeSplit(const SplitProblem& problem, size_t ranks);

}  // namespace lcsm::cuda
