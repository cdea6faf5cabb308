// What links between blocks cost: a Hyena variant whose blocks read each other,
// from none of them to all that can.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "bench/mixers_bench.h"
#include "bench/study_stack.h"
#include "bench/timing.h"
#include "conv/plan.h"
#include "lcsm/status.h"

namespace lcsm::bench {

struct LinksCase {
  std::vector<StudyLink> links;
  size_t layers = 8, width = 256;
  // Of the session; steps of its second half are timed. At least 4.
  size_t length = 16384;
  size_t threads = 1, repeats = 3;
  conv::PlanOptions plan;
};

struct LinksRow {
  StudyLink link = StudyLink::kNone;
  size_t links = 0;
  // What the scheduler made of it: blocks whose tiles cannot wait for the end
  // of the position, executors of long convolutions, and whether known tokens
  // go through a block at a time.
  size_t in_order = 0, executors = 0;
  bool known_by_blocks = true;
  // Milliseconds of a step, of the mixers in it, and of a known token.
  Spread step_ms, mixing_ms, known_ms;
  double difference = 0;  // CheckStudyStack's, of a small stack so linked.
  std::string plan;       // Of the first executor.
};

// For each kind of link stacks with 0, 1, .. layers - 1 of them. Errors: what
// CheckStudyStack and memory say; kCancelled.
StatusOr<std::vector<LinksRow>> RunLinks(const LinksCase& wanted,
                                         const Proceed& proceed);

}  // namespace lcsm::bench
