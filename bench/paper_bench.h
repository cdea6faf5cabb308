// The experiments of Flash Inference (arXiv 2410.12982) on this machine: mixers
// alone and end to end, by every method, at lengths where most methods can only
// be sampled (docs/paper.md says how).
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "bench/timing.h"
#include "conv/plan.h"
#include "lcsm/status.h"

namespace lcsm::bench {

enum class PaperSetting {
  kSynthetic,  // Mixer and MLP of width 4D; sampler: last output plus noise.
  kHyena,      // The blocks of src/models; one row.
};

struct PaperCase {
  PaperSetting setting = PaperSetting::kSynthetic;
  size_t layers = 18, width = 768, batch = 1;
  std::vector<size_t> lengths;
  std::vector<conv::PlanOptions> methods;
  size_t threads = 0;       // 0: one a processor.
  size_t memory_bytes = 0;  // 0: four fifths of what the machine has to give.
  size_t repeats = 3;
  // Mixers whose whole sequence takes less than this are run whole.
  double whole_run_seconds = 2;
  bool quick = false;  // Fewer positions, one repeat.
};

struct CurvePoint {
  size_t position = 0;
  double mixer_seconds = 0, end_to_end_seconds = 0;  // Of [0, position).
};

// Steps of the positions from half of `position` up to it.
struct LatencyPoint {
  size_t position = 0;
  double median_ms = 0, worst_ms = 0;  // End to end.
  double mixer_median_ms = 0, mixer_worst_ms = 0;
};

struct PaperRow {
  conv::PlanOptions method;
  size_t length = 0, threads = 0;
  std::string plan;
  bool sampled = false;        // The mixers; end to end runs are always sampled
                               // unless the sequence is very short.
  size_t mixers_measured = 0;  // Of `layers`; times are scaled.
  Spread mixer_seconds, end_to_end_seconds;  // Of a whole sequence.
  double block_seconds = 0;                  // Of that: all but the mixers.
  double ns_per_token_channel = 0;
  // Over the fastest of lazy and of eager at this length; 0: not measured.
  double mixers_vs_lazy = 0, mixers_vs_eager = 0;
  double vs_lazy = 0, vs_eager = 0;  // End to end.
  double max_relative_error = 0;     // Of the mixers, against float64.
  size_t checked_length = 0;
  double stack_error = 0;  // End to end, see paper_stack.h; -1: not applicable.
  size_t bytes = 0;        // What all layers' mixers would take.
  double step_p50_ms = 0, step_p99_ms = 0, step_worst_ms = 0;  // End to end.
  std::vector<CurvePoint> curve;
  std::vector<LatencyPoint> latency;
};

struct PaperResult {
  std::vector<PaperRow> rows;      // By length, then as asked for.
  std::vector<std::string> notes;  // What was left out, and why.
};

// Told of progress, a line at a time; may be empty.
using PaperProgress = std::function<void(const std::string&)>;

// "lazy", "eager per layer", "hybrid", "fft-fused", "planned": how charts and
// tables call a method.
std::string Label(const conv::PlanOptions& method);
bool IsBaseline(conv::Method method);  // Lazy and eager: no tiling.

// Errors: what plans and memory can say, and a wrong answer (then no times are
// given).
StatusOr<PaperResult> RunPaper(const PaperCase& wanted,
                               const PaperProgress& say);

}  // namespace lcsm::bench
