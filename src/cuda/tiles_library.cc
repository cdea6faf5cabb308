// Tiles that libraries compute: transforms one channel at a time, and
// convolutions of many channels.
#include <algorithm>
#include <vector>

#include "conv/layout.h"
#include "cuda/tiles.h"

namespace lcsm::cuda {

Status PreparedTiles::MakeLibraryFilters(const conv::FilterBank& filters,
                                         OneLevel* one) {
  const size_t length = 2 * one->level.block;
  const size_t n = filters.mixers() * filters.groups();
  const float scale = 1.0f / static_cast<float>(length);
  std::vector<float> time(n * kLanes * length, 0.0f);
  const size_t count = std::min(filters.taps(), length);
  for (size_t f = 0; f < n; ++f) {
    const float* const taps = filters.FlatGroup(f);
    for (size_t i = 0; i < count * kLanes; ++i) {
      time[(f * kLanes + i % kLanes) * length + i / kLanes] = scale * taps[i];
    }
  }
  LCSM_ASSIGN_OR_RETURN(
      const Array<float> on_device,
      device_->Bring<float>(time, "the library's transforms"));
  LCSM_ASSIGN_OR_RETURN(
      one->spectra, device_->NewArray<Complex>(n * kLanes * (length / 2 + 1),
                                               "the filters' spectra"));
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<BatchedFft> fft,
                        device_->NewBatchedFft(length, n * kLanes));
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<Queue> queue,
                        device_->NewQueue(false));
  fft->Forward(*queue, on_device.data(), one->spectra.data());
  return queue->Wait();
}

Status PreparedTiles::MakeDepthwiseFilters(const conv::FilterBank& filters,
                                           OneLevel* one) {
  const size_t u = one->level.block, length = 2 * u - 1;
  const size_t columns = conv::HistoryGroups(plan_.problem) * kLanes;
  const auto there = device_->NewDepthwise(columns, u);
  if (!there.ok()) {
    // Without the library our own kernel does it.
    return there.status().code() == StatusCode::kUnsupported ? OkStatus()
                                                             : there.status();
  }
  // Tap n + 1 at n, for each row of the batch again.
  std::vector<float> weights(columns * length, 0.0f);
  const size_t count = std::min(filters.taps(), 2 * u);
  for (size_t column = 0; column < columns; ++column) {
    const size_t filter = column / kLanes / plan_.problem.batch;
    const float* const taps = filters.FlatGroup(filter) + column % kLanes;
    for (size_t n = 1; n < count; ++n) {
      weights[column * length + n - 1] = taps[n * kLanes];
    }
  }
  LCSM_ASSIGN_OR_RETURN(one->weights,
                        device_->Bring<float>(weights, "a library's filters"));
  return OkStatus();
}

LibraryWork Tiles::LibraryWorkOf(size_t level) const {
  LibraryWork work;
  work.control = control_.data();
  work.level = prepared_->levels()[level].shape;
  work.histories = histories();
  work.batch = prepared_->plan().problem.batch;
  work.lines = histories_.data();
  work.stride = stride_;
  work.time = time_.data();
  return work;
}

void Tiles::EnqueueLibrary(size_t level) noexcept {
  const PreparedTiles::OneLevel& one = prepared_->levels()[level];
  LibraryWork work = LibraryWorkOf(level);
  work.time_length = 2 * one.level.block;
  work.spectrum = points_.data();
  work.filters = one.spectra.data();
  queue_->Launch<PackKernel>(work);
  library_[level]->Forward(*queue_, time_.data(), points_.data());
  queue_->Launch<SpectrumProductKernel>(work);
  library_[level]->Inverse(*queue_, points_.data(), time_.data());
  queue_->Launch<UnpackKernel>(work);
}

void Tiles::EnqueueDepthwise(size_t level) noexcept {
  const PreparedTiles::OneLevel& one = prepared_->levels()[level];
  LibraryWork work = LibraryWorkOf(level);
  work.time_length = one.level.block;
  float* const out = time_.data() + work.histories * kLanes * work.time_length;
  queue_->Launch<PackKernel>(work);
  depthwise_[level]->Run(*queue_, time_.data(), one.weights.data(), out);
  work.time = out;
  queue_->Launch<UnpackKernel>(work);
}

}  // namespace lcsm::cuda
