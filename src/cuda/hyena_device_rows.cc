#include "cuda/hyena_device_rows.h"

#include <algorithm>
#include <chrono>

namespace lcsm::cuda {

bool HyenaDeviceRows::MayHave(const HyenaDeviceShared& shared) {
  return std::all_of(shared.ranks.begin(), shared.ranks.end(),
                     [](const HyenaDeviceShared::Rank& rank) {
                       return Tiles::MayHaveRows(*rank.tiles);
                     });
}

StatusOr<std::unique_ptr<HyenaDeviceRows>> HyenaDeviceRows::Create(
    const HyenaDeviceShared& shared, const HyenaDeviceRanks& past, size_t rows,
    size_t room, size_t position) {
  std::unique_ptr<HyenaDeviceRows> batch(new HyenaDeviceRows);
  batch->shared_ = shared;
  batch->rows_ = rows;
  batch->room_ = room;
  batch->position_ = position;
  // As many as the rank with the least shared memory holds.
  size_t most = HyenaDeviceStep::kMostRows;
  for (const HyenaDeviceRanks::Rank& rank : past.all()) {
    most =
        std::min(most, HyenaDeviceStep::MostRows(rank.device->info(),
                                                 shared.config(), *rank.share));
  }
  for (size_t done = 0; done < rows; done += most) {
    batch->groups_.push_back(std::make_unique<Group>());
    LCSM_RETURN_IF_ERROR(Make(batch->shared_, past, std::min(most, rows - done),
                              batch->groups_.back().get()));
  }
  return batch;
}

HyenaDeviceRows::~HyenaDeviceRows() {
  for (const auto& group : groups_) (void)group->ranks.Wait();
}

Status HyenaDeviceRows::Make(const HyenaDeviceShared& shared,
                             const HyenaDeviceRanks& past, size_t rows,
                             Group* group) {
  const HyenaConfig& config = shared.config();
  LCSM_RETURN_IF_ERROR(group->ranks.Allocate(shared, rows));
  const size_t logits = rows * config.padded_vocab;
  LCSM_ASSIGN_OR_RETURN(group->host,
                        group->ranks.leader().device->AllocateHost(
                            logits * sizeof(float) + rows * sizeof(int32_t)));
  for (size_t r = 0; r < past.all().size(); ++r) {
    const HyenaDeviceRanks::Rank& rank = group->ranks.all()[r];
    LCSM_RETURN_IF_ERROR(rank.tiles->SpreadFrom(*past.all()[r].tiles));
    // Tails lie [layer][row]: each layer's for every row.
    const Array<float>& tails = past.all()[r].work.tails();
    const size_t floats = tails.size() / config.layers;
    for (size_t row = 0; row < rows; ++row) {
      rank.queue->Launch<MoveLinesKernel>(
          {.from = tails.data(),
           .to = rank.work.tails().data() + row * floats,
           .from_stride = floats,
           .to_stride = rows * floats,
           .histories = config.layers,
           .floats = floats});
    }
  }
  LCSM_RETURN_IF_ERROR(group->ranks.Wait());
  const auto step = [group, logits] {
    float* const host = group->host.as<float>();
    const HyenaDeviceRanks::Rank& leader = group->ranks.leader();
    leader.queue->CopyIn(leader.work.tokens().data(), host + logits,
                         leader.work.tokens().bytes());
    group->ranks.EnqueueStep();
    leader.queue->CopyOut(host, leader.work.logits().data(),
                          leader.work.logits().bytes());
  };
  LCSM_ASSIGN_OR_RETURN(group->step, group->ranks.Capture(step));
  return OkStatus();
}

void HyenaDeviceRows::Step(const int32_t* tokens, float* logits) noexcept {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  const size_t vocab = shared_.config().padded_vocab;
  size_t first = 0;
  for (const auto& group : groups_) {
    const size_t rows = group->ranks.rows();
    std::copy_n(
        tokens + first, rows,
        reinterpret_cast<int32_t*>(group->host.as<float>() + rows * vocab));
    group->ranks.Run(group->step);
    first += rows;
  }
  first = 0;
  for (const auto& group : groups_) {
    const size_t rows = group->ranks.rows();
    // An error is the device's, and stays there for CheckWeights.
    if (group->ranks.WaitForMark().ok()) {
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
