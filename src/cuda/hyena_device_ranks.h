// Rows of a Hyena model that take their steps together on one device, or on all
// among which the model is split: of each rank a queue, its tiles and its part
// of the step, and the one place where the parts become a step.
//
// The launches of all ranks are enqueued by one thread, part after part, and
// behind each part the sum over the ranks (Communicator). So the sums come in
// the same order on all, and no rank waits for one that was never enqueued.
//
// Belongs to one thread at a time; waits for its queues before it goes.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "cuda/device.h"
#include "cuda/hyena_device_model.h"
#include "cuda/hyena_device_step.h"
#include "cuda/replayed.h"
#include "cuda/tiles.h"
#include "lcsm/status.h"

namespace lcsm::cuda {

class HyenaDeviceRanks {
 public:
  struct Rank {
    std::unique_ptr<Queue> queue;
    std::unique_ptr<Tiles> tiles;  // Null where no steps are to come.
    HyenaDeviceStep work;
    Device* device = nullptr;
    const Share* share = nullptr;
  };

  // Of `shared`, which must outlive this. Error: memory.
  Status Allocate(const HyenaDeviceShared& shared, size_t rows);
  ~HyenaDeviceRanks() { (void)Wait(); }

  const std::vector<Rank>& all() const { return ranks_; }
  const Rank& leader() const { return ranks_.front(); }
  size_t rows() const { return leader().work.rows(); }
  // The same on all ranks; 0 without tiles.
  size_t known() const;

  // Launches of the step of one token a row, which lie at the leader's
  // tokens(), to the logits there. For Capture.
  void EnqueueStep() noexcept;
  // Launches of ours on all queues, which Run then replays. `enqueue` as
  // Replayed has it.
  StatusOr<Replayed> Capture(std::function<void()> enqueue);
  // Replays, and behind it enqueues the tiles that fall due: one more token a
  // row. The logits' place is marked before the tiles.
  void Run(const Replayed& step) noexcept;

  // values(rank) of all ranks become their sum. Nothing where there is one.
  template <typename Values>
  void Sum(Values&& values, size_t count) noexcept {
    if (communicator_ == nullptr) return;
    for (size_t r = 0; r < ranks_.size(); ++r) summed_[r] = values(r);
    communicator_->Sum(queues_, summed_, count);
  }
  // Held while sums are enqueued (Communicator).
  std::unique_lock<SumOrder> Order() const;

  // For all ranks: error of the first that has one.
  Status Wait() const noexcept;
  Status WaitForMark() const noexcept;

 private:
  std::vector<Rank> ranks_;
  std::vector<Queue*> queues_;
  std::vector<float*> summed_;
  std::shared_ptr<Communicator> communicator_;
  size_t layers_ = 0, width_ = 0;
};

}  // namespace lcsm::cuda
