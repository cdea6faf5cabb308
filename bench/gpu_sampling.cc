#include "bench/gpu_sampling.h"

#include <algorithm>

namespace lcsm::bench {

StatusOr<double> SampledQuadratic(size_t length, const TimeStretch& time) {
  constexpr size_t kPlaces = 8, kSteps = 16;
  if (length < 2 * kSteps) return time(0, length);
  double area = 0, last_seconds = 0, last_place = 0;
  for (size_t k = 0; k <= kPlaces; ++k) {
    const size_t place =
        std::min(length - kSteps, std::max<size_t>(1, length * k / kPlaces));
    LCSM_ASSIGN_OR_RETURN(const double seconds, time(place, place + kSteps));
    const double a_step = seconds / kSteps;
    if (k > 0) {
      area += (a_step + last_seconds) / 2 *
              (static_cast<double>(place) - last_place);
    }
    last_seconds = a_step;
    last_place = static_cast<double>(place);
  }
  return area;
}

StatusOr<double> SampledTiling(size_t length, size_t turn,
                               const TimeStretch& time) {
  constexpr size_t kStretch = 256, kSamples = 3;
  if (length <= 4 * kStretch) return time(0, length);
  const size_t count = (length + kStretch - 1) / kStretch;
  // The first one begins with no tile. Its last step is counted twice, which is
  // one of `length`.
  LCSM_ASSIGN_OR_RETURN(double sum, time(0, kStretch));
  for (size_t block = 1; block < count; block *= 2) {
    // Stretches block, 3 block, 5 block, ..: their first step is the one that
    // makes block * kStretch inputs, or an odd multiple of it, known.
    const size_t kind = (count - 1 + block) / (2 * block);
    const size_t samples = std::min(kSamples, kind);
    double seconds = 0;
    for (size_t k = 0; k < samples; ++k) {
      const size_t number = (kind * (2 * k + 1) / (2 * samples) + turn) % kind;
      const size_t first = (2 * number + 1) * block * kStretch - 1;
      LCSM_ASSIGN_OR_RETURN(const double some,
                            time(first, std::min(length, first + kStretch)));
      seconds += some;
    }
    sum += seconds * static_cast<double>(kind) / static_cast<double>(samples);
  }
  return sum;
}

}  // namespace lcsm::bench
