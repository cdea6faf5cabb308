// A whole model on a device, as benchmarks step it.
#pragma once

#include <cstddef>

#include "conv/plan.h"
#include "lcsm/status.h"

namespace lcsm::bench {

// Belongs to one thread. Errors of all functions: the device's, memory.
class GpuSteps {
 public:
  virtual ~GpuSteps() = default;
  virtual const conv::Plan& plan() const = 0;
  // As if so many positions had been taken in, of zeros. Waits.
  virtual Status PutAt(size_t position) = 0;
  // Steps behind the next PutAt have no mixers: no red cells, and nothing falls
  // due. Or they have them again.
  virtual void LeaveMixersOut(bool out) = 0;
  enum class Host {
    kAhead,  // Enqueues, and waits at the end.
    kWaits,  // Waits for what each step leads to before the next, as who
             // samples there does.
  };
  // Takes so many positions in, as many as there are at most.
  virtual Status Go(size_t count, Host host) = 0;
  // Launches of a step without the tiles behind it.
  virtual size_t Launches(bool mixers) const = 0;
  // Device memory of the plan: taps, spectra and what a sequence has.
  virtual size_t bytes() const = 0;
};

}  // namespace lcsm::bench
