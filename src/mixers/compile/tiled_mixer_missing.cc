// Does not compile, and is not meant to: a tiled mixer with things missing,
// which the compiler's messages must name (tests tiled_mixer_says_*).
#include "mixers/tiled.h"

struct Sum {
#ifndef MISSING_TYPES
  using Input = float;
  using Partial = float;
  using Output = float;
#endif
#ifndef MISSING_ROUTINES
  size_t units() const noexcept { return 1; }
  float None() const noexcept { return 0; }
  void Aggregate(const float& later, float* earlier) const noexcept {
    *earlier += later;
  }
  void Cont(size_t, size_t, std::span<const float> in, size_t,
            std::span<float> out) const noexcept {
    for (float x : in) {
      for (float& y : out) y += x;
    }
  }
  float Read(size_t, const float&, const float& partial) const noexcept {
    return partial;
  }
#endif
};

template class lcsm::TiledDriver<Sum>;
