#include "cuda/hyena_device_ranks.h"

#include <utility>

namespace lcsm::cuda {

Status HyenaDeviceRanks::Allocate(const HyenaDeviceShared& shared,
                                  size_t rows) {
  communicator_ = shared.communicator;
  layers_ = shared.config().layers;
  width_ = shared.config().width;
  for (const HyenaDeviceShared::Rank& part : shared.ranks) {
    Rank& rank = ranks_.emplace_back();
    rank.device = &part.weights->device();
    rank.share = &part.weights->share();
    LCSM_ASSIGN_OR_RETURN(rank.queue, rank.device->NewQueue(false));
    queues_.push_back(rank.queue.get());
    if (part.tiles != nullptr) {
      LCSM_ASSIGN_OR_RETURN(rank.tiles,
                            Tiles::Create(part.tiles, *rank.queue, rows));
    }
    LCSM_RETURN_IF_ERROR(
        rank.work.Allocate(part, *rank.queue, rank.tiles.get(), rows));
  }
  summed_.resize(ranks_.size());
  return OkStatus();
}

size_t HyenaDeviceRanks::known() const {
  return leader().tiles == nullptr ? 0 : leader().tiles->known();
}

std::unique_lock<SumOrder> HyenaDeviceRanks::Order() const {
  return communicator_ == nullptr ? std::unique_lock<SumOrder>()
                                  : communicator_->Order();
}

void HyenaDeviceRanks::EnqueueStep() noexcept {
  const auto sum = [this] {
    Sum([this](size_t r) { return ranks_[r].work.x().data(); },
        rows() * width_);
  };
  for (Rank& rank : ranks_) rank.work.Embed();
  sum();
  for (size_t layer = 0; layer < layers_; ++layer) {
    for (Rank& rank : ranks_) rank.work.Mix(layer);
    sum();
    for (Rank& rank : ranks_) rank.work.Mlp(layer);
    sum();
  }
  ranks_.front().work.Head();
}

StatusOr<Replayed> HyenaDeviceRanks::Capture(std::function<void()> enqueue) {
  if (communicator_ != nullptr && !communicator_->MayBeCaptured()) {
    return Replayed::Anew(queues_, std::move(enqueue));
  }
  const auto order = Order();
  // Of zeros, or of what the next step writes over: the first sum must not be
  // one that is captured.
  Sum([this](size_t r) { return ranks_[r].work.x().data(); }, rows() * width_);
  LCSM_RETURN_IF_ERROR(Wait());
  return Replayed::Create(queues_, std::move(enqueue));
}

void HyenaDeviceRanks::Run(const Replayed& step) noexcept {
  const auto order = Order();
  step.Run();
  for (Rank& rank : ranks_) rank.queue->Mark();
  for (Rank& rank : ranks_) rank.tiles->Advance();
}

Status HyenaDeviceRanks::Wait() const noexcept {
  Status first;
  for (const Rank& rank : ranks_) {
    const Status status =
        rank.queue == nullptr ? OkStatus() : rank.queue->Wait();
    if (first.ok()) first = status;
  }
  return first;
}

Status HyenaDeviceRanks::WaitForMark() const noexcept {
  Status first;
  for (const Rank& rank : ranks_) {
    const Status status = rank.queue->WaitForMark();
    if (first.ok()) first = status;
  }
  return first;
}

}  // namespace lcsm::cuda
