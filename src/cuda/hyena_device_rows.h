// Several sequences of a Hyena model on a device that take positions together,
// a token each: weights are read once for up to eight of them, filters' spectra
// for as many.
//
// Groups of up to eight rows have queues, tiles and a captured step each; all
// are enqueued before the first is waited for. A row's bits are those of a
// state by itself. Of a model that is split each rank has its channels of all
// rows. Belongs to one thread at a time.
#pragma once

#include <memory>
#include <vector>

#include "cuda/hyena_device_ranks.h"
#include "cuda/replayed.h"
#include "lcsm/status.h"
#include "runtime/model.h"

namespace lcsm::cuda {

class HyenaDeviceRows : public BatchState {
 public:
  // `rows` sequences with the past of one: its tiles, its short filters' tails,
  // its room and its position. `past` is waited for. Requires MayHave. Error:
  // memory.
  static StatusOr<std::unique_ptr<HyenaDeviceRows>> Create(
      const HyenaDeviceShared& shared, const HyenaDeviceRanks& past,
      size_t rows, size_t room, size_t position);
  // Whether the preparation's tiles can be had for several rows.
  static bool MayHave(const HyenaDeviceShared& shared);
  ~HyenaDeviceRows() override;

  size_t rows() const override { return rows_; }
  void Step(const int32_t* tokens, float* logits) noexcept override;
  size_t position() const override { return position_; }
  size_t StepRoom() const override { return room_; }
  const StepTimes& times() const override { return times_; }

 private:
  // Rows that go through one step.
  struct Group {
    HostMemory host;  // Logits, then tokens.
    HyenaDeviceRanks ranks;
    Replayed step;
  };

  HyenaDeviceRows() = default;
  static Status Make(const HyenaDeviceShared& shared,
                     const HyenaDeviceRanks& past, size_t rows, Group* group);

  HyenaDeviceShared shared_;
  std::vector<std::unique_ptr<Group>> groups_;
  size_t rows_ = 0, room_ = 0, position_ = 0;
  StepTimes times_;
};

}  // namespace lcsm::cuda
