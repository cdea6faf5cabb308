// FOR TESTS ONLY: a device whose blocks are run by the CPU, phase after phase,
// thread after thread. It shows on machines without a GPU that indices and
// arithmetic are right; it says nothing of speed, of the driver's calls or of
// what a compiler makes of device code.
//
// It is strict where a GPU may be forgiving:
// - memory and shared memory begin as NaN, so what nobody wrote shows;
// - threads run in an order that changes from launch to launch, so two that
// meet
//   in one phase without a barrier give other bits;
// - a launch behind a launch fetches before that one has run (portable.h), so
//   what reads there what launches write gets it from before;
// - a queue does nothing until somebody waits for it, so a missing WaitFor
//   shows; and a launch may be made to fail, as on a device that is lost;
// - it ends the program where a GPU may merely fail: at allocations and copies
//   that wait while a queue captures, at a library's first call then, and at
//   one whose scratch memory was not set aside; at a sum in which a rank does
//   not take part, where GPUs would wait for ever, and at one by a thread that
//   does not hold the order of sums, where they only might.
//
// Ranks' sums are added in the order of ranks, whoever comes first.
#pragma once

#include <memory>
#include <string>

#include "cuda/device.h"

namespace lcsm::cuda {

struct EmulatedOptions {
  size_t memory_bytes = size_t{1} << 32;
  size_t shared_bytes = 160 << 10;
  size_t l2_bytes = 1 << 20;
  // Launches until the device is lost; 0: never.
  size_t launches_until_lost = 0;
  std::string label = "emulated";
  std::string software = "emulator 1";
  // Else captures fail, by turns where they begin and where they end.
  bool captures = true;
  // Whether launches fetch before those in front of them have run.
  bool overlaps = true;
  // Libraries that have plans for transforms and convolutions, and run none.
  bool libraries_refuse = false;
  // Whether sums of ranks may be captured; the first device's counts.
  bool captures_sums = false;
};

std::shared_ptr<Device> MakeEmulatedDevice(const EmulatedOptions& options = {});

// Launches so far, on the device that MakeEmulatedDevice gave.
size_t EmulatedLaunches(const Device& device);
// The most bytes that were taken at a time; Forget: since then.
size_t EmulatedPeakBytes(const Device& device);
void ForgetEmulatedPeak(Device& device);

}  // namespace lcsm::cuda
