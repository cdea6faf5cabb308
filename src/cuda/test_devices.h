// For tests: the emulated device, and every GPU of this machine.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "conv/plan.h"
#include "cuda/device.h"
#include "cuda/emulated_device.h"

namespace lcsm::cuda {

// "emulated", "cuda:0", ..
inline std::vector<std::string> TestDevices() {
  std::vector<std::string> names = {"emulated"};
  for (int k = 0; k < CudaDeviceCount(); ++k) {
    names.push_back("cuda:" + std::to_string(k));
  }
  return names;
}

// One of those. Fewer `shared_bytes` than all GPUs have make it small, so that
// transforms of a few dozen positions go through device memory.
inline std::shared_ptr<Device> OpenTestDevice(const std::string& name,
                                              size_t shared_bytes = 160 << 10) {
  constexpr size_t kL2Bytes = 64 << 10;
  if (name == "emulated") {
    return MakeEmulatedDevice(
        {.shared_bytes = shared_bytes, .l2_bytes = kL2Bytes});
  }
  CudaOptions options;
  if (shared_bytes < 99 << 10) {
    options.shared_bytes = shared_bytes;
    options.l2_bytes = kL2Bytes;
  }
  return OpenCudaDevice(ParseDevice(name).value().indices.front(), options)
      .value();
}

// Emulated devices for a model that is split: "emulated:0", ..
inline std::vector<std::shared_ptr<Device>> MakeEmulatedRanks(
    size_t count, EmulatedOptions options = {}) {
  std::vector<std::shared_ptr<Device>> devices;
  for (size_t r = 0; r < count; ++r) {
    options.label = "emulated:" + std::to_string(r);
    devices.push_back(MakeEmulatedDevice(options));
  }
  return devices;
}

inline std::string DeviceTestName(
    const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), ':', '_');
  return name;
}

// Every kind of plan, by our own kernels.
inline std::vector<conv::PlanOptions> Plans() {
  using conv::Method;
  return {{.method = Method::kPlanned},
          {.method = Method::kPaper},
          {.method = Method::kPaper, .tau = conv::Tau::kFftFused},
          {.method = Method::kLazy},
          {.method = Method::kEager},
          {.method = Method::kGardner},
          {.method = Method::kPlanned, .latency = conv::Latency::kFlat}};
}

// And where the device's libraries do what they can.
inline std::vector<conv::PlanOptions> PlansWithLibraries() {
  std::vector<conv::PlanOptions> plans = Plans();
  for (const conv::Tau tau : {conv::Tau::kFftLibrary, conv::Tau::kDirect}) {
    plans.push_back({.method = conv::Method::kPaper, .tau = tau});
  }
  return plans;
}

template <typename T>
std::vector<T> Fetch(Device& device, const T* from, size_t count) {
  std::vector<T> values(count);
  EXPECT_TRUE(device.Download(values.data(), from, count * sizeof(T)).ok());
  return values;
}

}  // namespace lcsm::cuda
