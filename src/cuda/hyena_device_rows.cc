#include "cuda/hyena_device_rows.h"

#include <algorithm>
#include <chrono>

namespace lcsm::cuda {

StatusOr<std::unique_ptr<HyenaDeviceRows>> HyenaDeviceRows::Create(
    const HyenaDeviceShared& shared, Tiles& tiles, const Array<float>& tails,
    size_t rows, size_t room, size_t position) {
  std::unique_ptr<HyenaDeviceRows> batch(new HyenaDeviceRows);
  batch->shared_ = shared;
  batch->rows_ = rows;
  batch->room_ = room;
  batch->position_ = position;
  const size_t most = HyenaDeviceStep::MostRows(shared.weights->device().info(),
                                                shared.weights->config());
  for (size_t done = 0; done < rows; done += most) {
    batch->groups_.push_back(std::make_unique<Group>());
    LCSM_RETURN_IF_ERROR(Make(batch->shared_, tiles, tails,
                              std::min(most, rows - done),
                              batch->groups_.back().get()));
  }
  return batch;
}

HyenaDeviceRows::~HyenaDeviceRows() {
  for (const auto& group : groups_) {
    if (group->queue != nullptr) (void)group->queue->Wait();
  }
}

Status HyenaDeviceRows::Make(const HyenaDeviceShared& shared, Tiles& tiles,
                             const Array<float>& tails, size_t rows,
                             Group* group) {
  Device& device = shared.weights->device();
  const HyenaConfig& config = shared.weights->config();
  LCSM_ASSIGN_OR_RETURN(group->queue, device.NewQueue(false));
  LCSM_ASSIGN_OR_RETURN(group->tiles,
                        Tiles::Create(shared.tiles, *group->queue, rows));
  LCSM_RETURN_IF_ERROR(
      group->work.Allocate(shared, *group->queue, group->tiles.get(), rows));
  const size_t logits = rows * config.padded_vocab;
  LCSM_ASSIGN_OR_RETURN(
      group->host,
      device.AllocateHost(logits * sizeof(float) + rows * sizeof(int32_t)));
  LCSM_RETURN_IF_ERROR(group->tiles->SpreadFrom(tiles));
  // Tails lie [layer][row]: each layer's for every row.
  const size_t floats = tails.size() / config.layers;
  for (size_t row = 0; row < rows; ++row) {
    group->queue->Launch<MoveLinesKernel>(
        {.from = tails.data(),
         .to = group->work.tails().data() + row * floats,
         .from_stride = floats,
         .to_stride = rows * floats,
         .histories = config.layers,
         .floats = floats});
  }
  LCSM_RETURN_IF_ERROR(group->queue->Wait());
  const auto step = [group, logits] {
    float* const host = group->host.as<float>();
    const HyenaDeviceStep& work = group->work;
    group->queue->CopyIn(work.tokens().data(), host + logits,
                         work.tokens().bytes());
    group->work.Enqueue();
    group->queue->CopyOut(host, work.logits().data(), work.logits().bytes());
  };
  LCSM_ASSIGN_OR_RETURN(group->step, Replayed::Create(*group->queue, step));
  return OkStatus();
}

void HyenaDeviceRows::Step(const int32_t* tokens, float* logits) noexcept {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  const size_t vocab = shared_.weights->config().padded_vocab;
  size_t first = 0;
  for (const auto& group : groups_) {
    const size_t rows = group->work.rows();
    std::copy_n(
        tokens + first, rows,
        reinterpret_cast<int32_t*>(group->host.as<float>() + rows * vocab));
    group->step.Run();
    group->queue->Mark();
    group->tiles->Advance();
    first += rows;
  }
  first = 0;
  for (const auto& group : groups_) {
    const size_t rows = group->work.rows();
    // An error is the device's, and stays there for CheckWeights.
    if (group->queue->WaitForMark().ok()) {
      std::copy_n(group->host.as<float>(), rows * vocab,
                  logits + first * vocab);
    } else {
      std::fill_n(logits + first * vocab, rows * vocab, 0.0f);
    }
    first += rows;
  }
  ++position_;
  --room_;
  times_.blocks += std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace lcsm::cuda
