// The methods that device benchmarks compare, and what their plans go by.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "bench/timing.h"
#include "conv/plan.h"
#include "conv/tile_costs.h"
#include "cuda/device.h"
#include "lcsm/status.h"

namespace lcsm::bench {

// What tiles cost on a device, measured once a run for each number of filters
// and rows: that takes up to half a minute each. Belongs to one thread.
class GpuCosts {
 public:
  explicit GpuCosts(std::shared_ptr<cuda::Device> device)
      : device_(std::move(device)) {}
  const std::shared_ptr<cuda::Device>& device() const { return device_; }
  // Measures what lacks for `problem`. `notes` are told what could not be.
  const conv::TileCosts& For(const conv::Problem& problem,
                             std::vector<std::string>* notes);

 private:
  struct Measured {
    conv::TileCosts costs;
    size_t length = 0;  // The longest that they were measured for.
  };
  const std::shared_ptr<cuda::Device> device_;
  std::map<std::pair<size_t, size_t>, Measured> measured_;
};

struct GpuMethod {
  std::string label;
  conv::PlanOptions options;
  bool quadratic() const {
    return options.method == conv::Method::kLazy ||
           options.method == conv::Method::kEager;
  }
};

// lazy, eager, hybrid (the paper's tiling, each block by the way that was
// fastest), planned by the same measurements, deferred (planned, with flat
// latency); with `taus` the paper's tiling by each of them.
std::vector<GpuMethod> GpuMethods(const cuda::DeviceInfo& info,
                                  const conv::Problem& problem,
                                  const conv::TileCosts& measured, bool taus);

// The rows of all methods, in order; none is begun when `seconds` have gone by
// since the call. `measure` gives a row with "seconds", and is told the time
// since the call. Rows of tilings are compared with the better of lazy and
// eager, which come first. What fails or comes too late is a note instead.
nlohmann::ordered_json MeasureMethods(
    const std::vector<GpuMethod>& methods, double seconds,
    const std::function<StatusOr<nlohmann::ordered_json>(
        const GpuMethod&, const Stopwatch&)>& measure,
    std::vector<std::string>* notes);

// Histories are whole on devices.
conv::Problem GpuProblem(size_t mixers, size_t channels, size_t batch,
                         size_t length);

// The method's plan, and the device memory that it takes. The planner is told
// how much there is. Errors: too little memory, with the numbers; those of
// conv::MakePlan.
struct GpuPlan {
  conv::Plan plan;
  size_t bytes = 0;
};
StatusOr<GpuPlan> FittingPlan(cuda::Device& device,
                              const conv::Problem& problem,
                              const GpuMethod& method);

}  // namespace lcsm::bench
