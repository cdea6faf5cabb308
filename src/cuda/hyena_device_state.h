// One sequence of a Hyena model on a device, or on all among which the model is
// split (hyena_device_ranks.h).
//
// A step is captured once: the token is fetched, the layers' launches, the
// head, the logits sent back. What falls due behind it is captured as well, a
// graph for each level (tiles.h), and enqueued before the host waits for the
// logits, so that the device works while the host samples. With SampleSteps the
// device samples too, and the host fetches tokens a group at a time.
//
// A state owns its queues, graphs and buffers; weights and spectra are shared.
// A step neither allocates nor fails on the host's side. What the device has
// met is in Device::status(), which Model::CheckWeights hands on after each
// token.
//
// Session files are those of the CPU's states. A device saves "known tokens
// only": what the tokens so far contribute to the positions to come, from which
// any state of the same model and plan goes on, on any device or SIMD target
// (docs/cuda.md). Loading takes files of either kind.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "cuda/hyena_device_model.h"
#include "cuda/hyena_device_prefill.h"
#include "cuda/hyena_device_ranks.h"
#include "cuda/tiles.h"
#include "lcsm/status.h"
#include "runtime/model.h"

namespace lcsm::cuda {

class HyenaDeviceState : public ModelState {
 public:
  static StatusOr<std::unique_ptr<HyenaDeviceState>> Create(
      HyenaDeviceShared shared, ThreadPool& pool);
  // A rank's device memory of a state beside its Tiles, what it samples with
  // included.
  static size_t BytesFor(const HyenaConfig& config, const Share& share,
                         bool steps);
  ~HyenaDeviceState() override;

  void Step(int32_t token, float* logits) noexcept override;
  Status Prefill(std::span<const int32_t> tokens,
                 const PrefillRequest& request) override;
  void BeginSteps() noexcept override;
  StatusOr<std::unique_ptr<ModelState>> Fork() const override;
  // Side by side where the plan has no tiles of libraries, else forks in turn.
  StatusOr<std::unique_ptr<BatchState>> Spread(size_t rows) const override;
  Status Save(io::SectionWriter& writer) const override;
  Status Load(io::SectionReader& reader) override;
  bool SavesForAnyTarget() const override { return true; }
  size_t padded_vocab() const override { return config().padded_vocab; }
  size_t position() const override { return origin_ + Stepped(); }
  size_t StepRoom() const override;
  size_t horizon() const override { return horizon_; }
  void Reset() noexcept override;
  const StepTimes& times() const override { return times_; }
  void SkipMixers(bool skip) noexcept override;
  // The past is of zeros. Errors besides: a position that is to come by known
  // tokens; the device's.
  Status Pretend(size_t position) override;

  // Vocabularies of bases, amino acids and bytes; see SampleKernel.
  bool SamplesItself() const override {
    return shared_.has_steps() && MaySample(config());
  }
  Status SampleSteps(int32_t first, const SamplerOptions& options,
                     uint64_t sample, std::span<const int32_t> ids,
                     std::span<int32_t> tokens) override;

 private:
  HyenaDeviceState(HyenaDeviceShared shared, ThreadPool& pool)
      : shared_(std::move(shared)), pool_(pool), horizon_(shared_.horizon) {}

  // The leader's.
  const HyenaDeviceRanks::Rank& leader() const { return ranks_.leader(); }
  Device& device() const { return *leader().device; }
  const HyenaConfig& config() const { return shared_.config(); }
  static bool MaySample(const HyenaConfig& config) {
    return config.vocab <= SampleKernel::kMaxVocab;
  }
  size_t TailRows() const { return HyenaDeviceStep::TailRows(config()); }
  size_t Convolutions() const {
    return config().layers * config().convolutions();
  }
  // Of a rank.
  size_t Histories(const Share& share) const {
    return Convolutions() * GroupsFor(share.channels);
  }
  Status Allocate();
  Status Capture();
  Status CaptureSampling();
  size_t Stepped() const { return ranks_.known(); }
  bool PendingIsApart() const { return !apart_.empty(); }
  // What is pending where there are `count` lines for it in the tiles'
  // accumulators.
  DevicePending PendingInTiles(size_t count) const;
  // Room for that outside of them.
  StatusOr<std::vector<Array<float>>> NewApart(size_t stride) const;
  static DevicePending PendingIn(const std::vector<Array<float>>& apart,
                                 size_t stride, size_t count);
  Status UploadToAll(uint64_t StepControl::*field, uint64_t value);
  Status CheckTokens(std::span<const int32_t> tokens) const;
  Status PrefillBySteps(std::span<const int32_t> tokens,
                        const PrefillRequest& request);
  Status PrefillByLayers(std::span<const int32_t> tokens, size_t following,
                         const PrefillRequest& request);
  // hyena_device_session.cc
  conv::Plan HostPlan() const;
  Status SaveConvolution(io::SectionWriter& writer, const DevicePending& from,
                         size_t count) const;
  Status LoadConvolution(io::SectionReader& reader, size_t* origin,
                         size_t* pending);
  Status LoadContributions(io::SectionReader& reader, float* to,
                           size_t to_stride, size_t* pending);
  StatusOr<std::shared_ptr<const conv::FilterBank>> BringFilters();
  // A file has the channels of all ranks side by side. Lines of histories,
  // `count` from each rank's `lines` with its stride, and from there.
  Status GatherLines(const DevicePending& from, size_t count, float* to,
                     size_t to_stride) const;
  Status ScatterLines(const float* from, size_t from_stride, size_t count,
                      const DevicePending& to) const;
  Status SaveTails(io::SectionWriter& writer) const;
  Status LoadTails(io::SectionReader& reader);

  const HyenaDeviceShared shared_;
  ThreadPool& pool_;
  HyenaDeviceRanks ranks_;
  Replayed step_, sampling_;
  Array<int32_t> sampled_, ids_;
  Array<SampleOptions> sample_options_;
  HostMemory host_;  // The logits, then a token, for copies.
  size_t origin_ = 0, horizon_ = 0;
  DevicePending pending_;
  std::vector<Array<float>> apart_;              // Each rank's, or none.
  std::shared_ptr<HyenaDevicePrefill> prefill_;  // Scratch, shared with forks.
  StepTimes times_;
  bool skip_mixers_ = false;
};

}  // namespace lcsm::cuda
