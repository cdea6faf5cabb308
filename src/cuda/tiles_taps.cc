// Taps on their way to the tiles that read them.
#include <algorithm>
#include <utility>

#include "cuda/tiles.h"
#include "kernels/lanes.h"

namespace lcsm::cuda {

StatusOr<std::shared_ptr<const PreparedTiles>> PreparedTiles::Create(
    std::shared_ptr<Device> device, conv::Plan plan,
    const conv::FilterBank& filters) {
  const size_t n = filters.mixers() * filters.groups();
  const size_t floats = filters.taps() * kLanes;
  LCSM_ASSIGN_OR_RETURN(
      Array<float> taps,
      device->NewArray<float>(n * floats, "the filters' taps"));
  for (size_t f = 0; f < n; ++f) {
    LCSM_RETURN_IF_ERROR(device->Upload(taps.data() + f * floats,
                                        filters.FlatGroup(f),
                                        floats * sizeof(float)));
  }
  return Create(std::move(device), std::move(plan), std::move(taps));
}

StatusOr<Array<float>> FirstTaps(Device& device, const Array<float>& taps,
                                 size_t filters, size_t count, Queue& queue) {
  LCSM_ASSIGN_OR_RETURN(Array<float> few,
                        device.NewArray<float>(filters * count * kLanes,
                                               "the filters' first taps"));
  queue.Launch<MoveLinesKernel>({.from = taps.data(),
                                 .to = few.data(),
                                 .from_stride = taps.size() / filters,
                                 .to_stride = count * kLanes,
                                 .histories = filters,
                                 .floats = count * kLanes});
  LCSM_RETURN_IF_ERROR(queue.Wait());
  return few;
}

Status PreparedTiles::MakeHead(Queue& queue) {
  const size_t n = plan_.problem.mixers * GroupsFor(plan_.problem.channels);
  LCSM_ASSIGN_OR_RETURN(head_,
                        device_->NewZeros<float>(n * kHeadTaps * kLanes,
                                                 "the filters' first taps"));
  queue.Launch<MoveLinesKernel>(
      {.from = taps_.data(),
       .to = head_.data(),
       .from_stride = num_taps_ * kLanes,
       .to_stride = kHeadTaps * kLanes,
       .histories = n,
       .floats = std::min<size_t>(num_taps_, kHeadTaps) * kLanes});
  return OkStatus();
}

}  // namespace lcsm::cuda
