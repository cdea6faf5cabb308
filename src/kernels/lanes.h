// The memory layout shared by all kernels over channels: groups of kLanes
// channels, [time][kLanes].
#pragma once

#include <cstddef>

namespace lcsm {

// Channels of a group: 16 floats, one cache line and one AVX-512 register.
// Narrower targets handle a group in several passes over part of each line, so
// the layout (and with it taps and histories) is the same for every target. A
// wider group would help only machines with wider lines.
inline constexpr size_t kLanes = 16;

// Lines of zeros that follow the taps of every group. The register-blocked
// kernel computes several neighbouring outputs at once and reads this far past
// the last tap.
inline constexpr size_t kTapSlack = 16;

// First taps of a group that are kept together apart from the rest: those of
// red cells and of the blocks that fall due with them (TileKernels::red).
inline constexpr size_t kHeadTaps = 4;

inline constexpr size_t GroupsFor(size_t channels) {
  return (channels + kLanes - 1) / kLanes;
}

}  // namespace lcsm
