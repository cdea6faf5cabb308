// Mixers alone on a device: the paper's synthetic setting (arXiv 2410.12982,
// section 5), where inputs are noise and a step is the red cells of all layers
// and the tiles that fall due.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench/gpu_methods.h"
#include "cuda/device.h"
#include "lcsm/status.h"

namespace lcsm::bench {

struct GpuMixerCase {
  size_t mixers = 18, channels = 256, batch = 1, length = size_t{1} << 16;
  // A whole sequence that would take longer is sampled at some positions, or
  // run once.
  double whole_run_seconds = 5;
  // Once the costs of tiles are there: after these no method is begun.
  double seconds = 150;
  size_t repeats = 3;
};

// Of one method; answers are compared with float64 sums before anything is
// timed, and more than design 6's 2e-6 of max |y| is an error. JSON: method,
// plan, seconds (of a whole sequence, median, min and max), sampled,
// ns_per_token_channel, max_relative_error, device_bytes, launches a step in
// the mean, and for runs that are not sampled the curve of seconds at powers of
// two. Errors besides: memory; the device's.
StatusOr<nlohmann::ordered_json> MeasureGpuMixer(
    const std::shared_ptr<cuda::Device>& device, const GpuMixerCase& wanted,
    const GpuMethod& method);

// All methods (GpuMethods), ratios to the faster of lazy and eager included.
// What does not fit is a note.
nlohmann::ordered_json MeasureGpuMixers(GpuCosts& costs,
                                        const GpuMixerCase& wanted);

// The same as a chart: seconds against length, one line a method.
std::string GpuMixerSvg(const nlohmann::ordered_json& result,
                        const std::string& note);

}  // namespace lcsm::bench
