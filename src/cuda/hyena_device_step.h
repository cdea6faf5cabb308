// One decode step of a Hyena model on a device, for one to eight sequences at
// the same position: what it works on, and its launches (docs/cuda.md, "A
// step"). Weights are read once for all rows, and a row's bits do not depend on
// how many there are.
//
// Of a model that is split this is one rank's part, and HyenaDeviceRanks makes
// the step of the parts: each part leaves what is to be summed in x(), where
// the rank that leads has added it to what was there.
//
// Belongs to whoever owns its queue and tiles, which it must not outlive.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/device.h"
#include "cuda/hyena_device_model.h"
#include "cuda/tiles.h"
#include "lcsm/status.h"

namespace lcsm::cuda {

class HyenaDeviceStep {
 public:
  static constexpr size_t kMostRows = 8;
  // Rows that a block's shared memory holds, at least 1: a model of which not
  // even that is so has no weights on a device.
  static size_t MostRows(const DeviceInfo& info, const HyenaConfig& config,
                         const Share& share);
  // Rows that short FIRs remember.
  static size_t TailRows(const HyenaConfig& config);
  static size_t BytesFor(const HyenaConfig& config, const Share& share,
                         size_t rows);

  // `tiles` may be null: there are then no launches. Error: memory.
  Status Allocate(const HyenaDeviceShared::Rank& rank, Queue& queue,
                  Tiles* tiles, size_t rows);
  // The parts of a step, in order: Embed, which counts the position; for each
  // layer Mix and Mlp; Head, where the rank leads. Behind each but the last a
  // sum over the ranks, if there are several.
  void Embed() noexcept;
  void Mix(size_t layer) noexcept;
  void Mlp(size_t layer) noexcept;
  void Head() noexcept;

  size_t rows() const { return rows_; }
  // The residual stream, [row][width].
  const Array<float>& x() const { return x_; }
  // These two are the leader's.
  const Array<int32_t>& tokens() const { return tokens_; }
  const Array<float>& logits() const { return logits_; }
  // [layer][row][tail_rows][streams], of the rank's streams.
  const Array<float>& tails() const { return tails_; }

 private:
  // What a product does to x(): adds to it, or takes its place where another
  // rank adds.
  LinearThen Then() const;
  void Linear(const DeviceLinear& linear, LinearWork work) noexcept;

  const HyenaDeviceWeights* weights_ = nullptr;
  const PreparedTiles* prepared_ = nullptr;
  Queue* queue_ = nullptr;
  Tiles* tiles_ = nullptr;
  size_t rows_ = 1;
  Array<int32_t> tokens_;
  Array<float> x_, u_, hidden_, logits_;
  Array<float> tails_;
};

}  // namespace lcsm::cuda
