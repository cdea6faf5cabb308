// Hyena's implicit filters evaluated on a device, straight into the taps that
// tiles and known tokens read (filter_kernels.h).
//
// Nothing of it stays: the networks in float64, the panels that they are
// evaluated in and the positions of some thousand lags are there while the taps
// are made. Positions are read or computed by the host, a panel ahead of the
// device. Taps are the CPU's (models/hyena_filter.h) bit for bit where that has
// fused multiply-adds and sines of less than a million.
#pragma once

#include <cstddef>

#include "base/thread_pool.h"
#include "cuda/device.h"
#include "lcsm/status.h"
#include "models/hyena_weights.h"
#include "runtime/model.h"

namespace lcsm::cuda {

// Which taps: of a whole model, or of what one rank owns (split.h).
struct DeviceFilterPart {
  size_t lags = 0;  // From 0 on, at most config.max_length.
  // Of each convolution, whole groups from a group's first channel on.
  // Normalised filters need all of them evaluated, also for a few.
  size_t first_channel = 0, channels = 0;
  size_t first_layer = 0, layers = 0;
  // Lags of a panel, at least 1; 0: as many as suit a device.
  size_t panel = 0;

  static DeviceFilterPart All(const HyenaConfig& config, size_t lags) {
    return {lags, 0, config.width, 0, config.layers, 0};
  }
};

// [layer][convolution][group][lags][kLanes], skips folded into tap 0. The
// progress may be empty; answering false gives kCancelled. Pages of the file's
// positions stay for other ranks: who has made all taps lets go of them
// (DropHyenaPositions). Errors: positions or filters that are not finite;
// memory; the device's.
StatusOr<Array<float>> MakeDeviceTaps(const std::shared_ptr<Device>& device,
                                      const HyenaWeights& weights,
                                      const DeviceFilterPart& part,
                                      ThreadPool& pool,
                                      const ModelState::Progress& progress);

// Floats of those taps, and bytes of the device's and of the host's memory that
// MakeDeviceTaps takes beside them.
size_t DeviceTapsSize(const HyenaConfig& config, const DeviceFilterPart& part);
size_t DeviceFilterBytes(const HyenaConfig& config,
                         const DeviceFilterPart& part);
size_t DeviceFilterHostBytes(const HyenaConfig& config,
                             const DeviceFilterPart& part);

}  // namespace lcsm::cuda
