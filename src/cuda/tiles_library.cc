// Tiles that libraries compute: transforms one channel at a time, and
// convolutions of many channels.
#include <algorithm>

#include "conv/layout.h"
#include "cuda/tiles.h"

namespace lcsm::cuda {

Status PreparedTiles::MakeLibraryFilters(Queue& queue, OneLevel* one) {
  const size_t length = 2 * one->level.block;
  const size_t n = plan_.problem.mixers * GroupsFor(plan_.problem.channels);
  LCSM_ASSIGN_OR_RETURN(const Array<float> time,
                        device_->NewArray<float>(n * kLanes * length,
                                                 "the library's transforms"));
  LCSM_ASSIGN_OR_RETURN(
      one->spectra, device_->NewArray<Complex>(n * kLanes * (length / 2 + 1),
                                               "the filters' spectra"));
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<BatchedFft> fft,
                        device_->NewBatchedFft(length, n * kLanes));
  LCSM_ASSIGN_OR_RETURN(
      const Memory work,
      device_->Allocate(fft->work_bytes(), "a library's scratch memory"));
  LCSM_RETURN_IF_ERROR(fft->UseWork(work.data()));
  queue.Launch<SpreadTapsKernel>({.taps = taps_.data(),
                                  .num_taps = num_taps_,
                                  .to = time.data(),
                                  .histories = n,
                                  .length = length,
                                  .scale = 1.0f / static_cast<float>(length)});
  queue.BeginTrial();
  fft->Forward(queue, time.data(), one->spectra.data());
  return queue.EndTrial();
}

Status PreparedTiles::MakeDepthwiseFilters(Queue& queue, OneLevel* one) {
  const size_t u = one->level.block, length = 2 * u - 1;
  const size_t histories = conv::HistoryGroups(plan_.problem);
  const auto there = device_->NewDepthwise(histories * kLanes, u);
  if (!there.ok()) {
    // Without the library our own kernel does it.
    return there.status().code() == StatusCode::kUnsupported ? OkStatus()
                                                             : there.status();
  }
  LCSM_ASSIGN_OR_RETURN(one->weights,
                        device_->NewArray<float>(histories * kLanes * length,
                                                 "a library's filters"));
  // Tap n + 1 at n, for each row of the batch again.
  queue.Launch<SpreadTapsKernel>({.taps = taps_.data(),
                                  .num_taps = num_taps_,
                                  .to = one->weights.data(),
                                  .histories = histories,
                                  .batch = plan_.problem.batch,
                                  .length = length,
                                  .first = 1});
  return queue.Wait();
}

Status Tiles::AllocateForLibraries(size_t times, size_t points) {
  Device& device = prepared_->device();
  const size_t columns = histories() * kLanes;
  LCSM_ASSIGN_OR_RETURN(time_, device.NewZeros<float>(
                                   columns * times, "what libraries convolve"));
  LCSM_ASSIGN_OR_RETURN(
      points_,
      device.NewZeros<Complex>(columns * points, "what libraries convolve"));
  size_t bytes = 0;
  for (const auto& fft : library_) {
    if (fft != nullptr) bytes = std::max(bytes, fft->work_bytes());
  }
  for (const auto& depthwise : depthwise_) {
    if (depthwise != nullptr) bytes = std::max(bytes, depthwise->work_bytes());
  }
  LCSM_ASSIGN_OR_RETURN(library_work_,
                        device.Allocate(bytes, "a library's scratch memory"));
  for (size_t k = 0; k < library_.size(); ++k) {
    if (library_[k] != nullptr) {
      LCSM_RETURN_IF_ERROR(library_[k]->UseWork(library_work_.data()));
    }
    if (depthwise_[k] != nullptr) {
      LCSM_RETURN_IF_ERROR(depthwise_[k]->UseWork(library_work_.data()));
    }
  }
  // Zeros through each of them, so that none is called for the first time while
  // its level is captured. What a library has a plan for it may yet refuse to
  // run, and the device is not lost by that.
  queue_->BeginTrial();
  for (size_t k = 0; k < library_.size(); ++k) {
    if (library_[k] != nullptr) {
      library_[k]->Forward(*queue_, time_.data(), points_.data());
      library_[k]->Inverse(*queue_, points_.data(), time_.data());
    }
    if (depthwise_[k] != nullptr) {
      const PreparedTiles::OneLevel& one = prepared_->levels()[k];
      depthwise_[k]->Run(*queue_, time_.data(), one.weights.data(),
                         time_.data() + columns * one.level.block);
    }
  }
  return queue_->EndTrial();
}

LibraryWork Tiles::LibraryWorkOf(size_t level) const {
  LibraryWork work;
  work.control = control_.data();
  work.level = prepared_->levels()[level].shape;
  work.histories = histories();
  work.batch = Batch();
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
