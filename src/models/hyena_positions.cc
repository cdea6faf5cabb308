#include "models/hyena_positions.h"

#include <cmath>
#include <numbers>

namespace lcsm {

void ComputePosition(const HyenaConfig& config, size_t n, float* z, float* t) {
  const double lag = static_cast<double>(n);
  const double length = static_cast<double>(config.max_length);
  // The last t is 1, but the angle's divisor is the length itself.
  *t = static_cast<float>(lag / (length - 1));
  const double angle = 2 * std::numbers::pi * lag / length;
  const size_t bands = (config.features - 1) / 2;
  z[0] = *t;
  for (size_t b = 0; b < bands; ++b) {
    // linspace(1e-4, bands - 1, bands)
    const double last = static_cast<double>(bands) - 1;
    const double f = bands == 1
                         ? 1e-4
                         : 1e-4 + (last - 1e-4) * static_cast<double>(b) / last;
    z[1 + b] = static_cast<float>(std::cos(f * angle));
    z[1 + bands + b] = static_cast<float>(-std::sin(f * angle));
  }
}

}  // namespace lcsm
