// Measured tile costs of devices, kept between runs: conv/tuning.h for GPUs.
//
// One small text file for each name of a device, beside the CPU's. It names the
// device, its size, driver, runtime and the version of this program; what comes
// of another, and what is damaged, is not used but measured again. It holds a
// table for each number of filters and rows, since a launch is paid once for
// all of them. Safe to delete.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <string>

#include "conv/cost_tables.h"
#include "conv/problem.h"
#include "conv/tile_costs.h"
#include "cuda/device.h"
#include "cuda/measure.h"
#include "lcsm/status.h"

namespace lcsm::cuda {

// The tables of one device. A value.
class DeviceTuning {
 public:
  // Empty if there is none.
  conv::TileCosts For(const conv::Problem& problem) const;
  void Set(const conv::Problem& problem, conv::TileCosts costs);

  // Errors: missing (kNotFound), unreadable, of another device, driver or
  // version, damaged. The sentence says which.
  static StatusOr<DeviceTuning> Load(const std::filesystem::path& path,
                                     const DeviceInfo& info);
  // Makes the folders that are missing. The file appears whole or not at all.
  Status Save(const std::filesystem::path& path, const DeviceInfo& info) const;

  // What Load and Save do, as text. `name` is what errors call it.
  static StatusOr<DeviceTuning> Parse(const std::string& text,
                                      const std::string& name,
                                      const DeviceInfo& info);
  std::string Print(const DeviceInfo& info) const;

 private:
  conv::CostTables tables_;  // By filters and rows.
};

// Beside conv::DefaultTuningPath; empty where that is.
std::filesystem::path DefaultTuningPath(const DeviceInfo& info);

// A device's costs as its models ask for them: from the file, or measured when
// first wanted and then kept there. Thread safe; one thread measures at a time,
// since two would measure each other.
class DeviceCosts {
 public:
  // `file` may be empty: nothing is kept beyond this object.
  DeviceCosts(std::shared_ptr<Device> device, std::filesystem::path file,
              const MeasureLimits& limits = {});

  // What is known of such a problem, after measuring what lacks if `measure`;
  // nothing if that fails. Errors are not handed on: the device's own stays in
  // its status, any other costs no more than an estimate would.
  conv::TileCosts For(const conv::Problem& problem, TilesFor use, bool measure);
  // Measures anew for such problems, and keeps that instead of all that was
  // known of them. Errors: no file to keep it in; the device's; nothing that
  // could be measured; the file, and then it is known to this object alone.
  Status MeasureAnew(const conv::Problem& problem, TilesFor use);

  const std::shared_ptr<Device>& device() const { return device_; }
  // Where what is known will be found by later runs; empty where that is
  // nothing.
  std::filesystem::path KeptIn();

 private:
  void Read();
  Status Keep(const conv::Problem& problem, conv::TileCosts costs);

  const std::shared_ptr<Device> device_;
  const std::filesystem::path file_;
  const MeasureLimits limits_;
  std::mutex mutex_;
  DeviceTuning tuning_;
  bool read_ = false, kept_ = false;
};

}  // namespace lcsm::cuda
