// Bytes moved by online convolutions against the time they take: whether memory
// is what they wait for.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "bench/byte_count.h"
#include "bench/mixers_bench.h"
#include "bench/timing.h"
#include "conv/plan.h"
#include "lcsm/status.h"

namespace lcsm::bench {

struct BytesCase {
  std::vector<conv::Method> methods;
  std::vector<size_t> batches, lengths;
  size_t channels = 64, mixers = 1;
  size_t threads = 1, repeats = 3;
  // Of each repeat; what would take longer is sampled, as MixerCase says.
  double whole_run_seconds = 0.5;
  conv::PlanOptions plan;
  bool timed = true;  // Else counted only.
  // Of all positions, neither checked nor timed: something to watch for a tool
  // that counts what a cache fetches (bench/count_bytes.py).
  size_t passes = 0;
};

// All a token and channel.
struct BytesRow {
  conv::Method method = conv::Method::kPlanned;
  size_t batch = 0, length = 0;
  BytesMoved moved;    // Filters once for all rows.
  double apart = 0;    // In all, filters once for each row.
  double weights = 0;  // Of a Hyena block of this width around each mixer.
  size_t working_set = 0;
  std::string plan;
  // Where timed:
  Spread ns;
  double error = 0;  // RunMixer's.
  bool sampled = false;
  // Bytes a nanosecond in which the same threads read a working set that large
  // and do nothing else, and so the least time for the bytes counted.
  double read_speed = 0, least_ns = 0;
  // Of the time that was measured: 1 is a convolution that waits for memory
  // alone.
  double Share() const { return ns.median > 0 ? least_ns / ns.median : 0; }
};

// Errors: what RunMixer, MixerRun and memory say; kCancelled.
StatusOr<std::vector<BytesRow>> RunBytes(const BytesCase& wanted,
                                         const Proceed& proceed);

}  // namespace lcsm::bench
