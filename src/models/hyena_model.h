// The Hyena family behind the Model interface: HyenaDNA and safari-style
// language models of any order N >= 2 (docs/models.md).
#pragma once

#include <memory>
#include <string>

#include "conv/online_convolution.h"
#include "lcsm/status.h"
#include "models/hyena_weights.h"
#include "runtime/model.h"

namespace lcsm {

class HyenaModel : public Model {
 public:
  HyenaModel(std::shared_ptr<const HyenaWeights> weights, std::string name);

  const ModelInfo& info() const override { return info_; }
  StatusOr<std::shared_ptr<const PreparedModel>> Prepare(
      const PrepareOptions& options, ThreadPool& pool,
      const ModelState::Progress& progress) const override;
  StatusOr<ModelMemory> EstimateMemory(const PrepareOptions& options,
                                       size_t threads) const override;
  Status CheckWeights() const override {
    return weights_->source().CheckIntact();
  }

 private:
  // A horizon of 0 means the model's limit. Errors: beyond it, or beyond the
  // memory limit.
  StatusOr<conv::Plan> MakePlan(const PrepareOptions& options) const;
  // Bytes of a run but for its convolutions.
  size_t OtherBytes(size_t length, size_t threads) const;

  std::shared_ptr<const HyenaWeights> weights_;
  ModelInfo info_;
};

class HyenaPrepared : public PreparedModel {
 public:
  HyenaPrepared(std::shared_ptr<const HyenaWeights> weights,
                std::shared_ptr<const conv::PreparedConvolution> convolution)
      : weights_(std::move(weights)), convolution_(std::move(convolution)) {}

  const conv::Plan& plan() const override { return convolution_->plan(); }
  size_t horizon() const override { return plan().problem.length; }
  size_t SpectraBytes() const override { return plan().Memory(1).spectra; }
  StatusOr<std::unique_ptr<ModelState>> NewState(
      ThreadPool& pool) const override;

 private:
  std::shared_ptr<const HyenaWeights> weights_;
  std::shared_ptr<const conv::PreparedConvolution> convolution_;
};

}  // namespace lcsm
