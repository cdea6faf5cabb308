// The paper's experiments on a device, end to end: its synthetic setting and
// its Hyena setting (paper_bench.h is the same on the CPU).
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "bench/gpu_methods.h"
#include "bench/paper_bench.h"
#include "lcsm/status.h"

namespace lcsm::bench {

struct GpuPaperCase {
  PaperSetting setting = PaperSetting::kSynthetic;
  // At most eight rows; of Hyena one.
  size_t layers = 18, width = 768, batch = 1, length = size_t{1} << 17;
  // A whole sequence that would take longer is sampled at some positions.
  double whole_run_seconds = 3;
  // Once weights, filters and the costs of tiles are there: after these no
  // method is begun, and no position.
  double seconds = 60;
  size_t repeats = 3;
  size_t steps = 512;   // Timed in a row at each position.
  size_t checked = 72;  // First positions that are compared with the CPU's.
  size_t copy_bytes = size_t{1} << 30;  // What the memory's speed is told by.
};

// Answers are compared with the CPU's before a method is timed. JSON: the
// setting; weight_bytes_a_step; copy_gigabytes_a_second; notes, of which one
// with "wrong" is of a wrong answer; and of each method seconds of a sequence
// (median, min, max), whether they are sampled, the ratio to the faster of lazy
// and eager, plan, bytes and error. Of tilings besides:
//   steps            positions, each with microseconds a step with and without
//                    mixers (median, min, max) and their ratio
//   worst_ratio      of those, and amortised_ratio: of the whole sequence's
//                    mean step, with every large tile, to one without mixers
//   gigabytes_a_second, share_of_copy   weights over the mean step
//   launches_a_token, launch_floor_us, launch_share    as many launches that do
//                    nothing, and their share of the mean step
//   step_us_host_waits, idle_share      where the host waits for each step, and
//                    the share of that in which the device waits for the host
// Errors: memory; the device's.
StatusOr<nlohmann::ordered_json> MeasureGpuPaper(GpuCosts& costs,
                                                 const GpuPaperCase& wanted);

// Microseconds of a step against its position, a line a method.
std::string GpuPaperSvg(const nlohmann::ordered_json& result,
                        const std::string& note);

}  // namespace lcsm::bench
