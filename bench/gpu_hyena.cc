#include "bench/gpu_hyena.h"

#include <algorithm>
#include <numeric>

#include "bench/gpu_model.h"
#include "bench/paper_stack.h"
#include "cuda/hyena_device_model.h"
#include "models/hyena_synthetic.h"

namespace lcsm::bench {

StatusOr<GpuHyenaModel> GpuHyenaModel::Create(
    const std::shared_ptr<cuda::Device>& on, size_t layers, size_t width,
    size_t length) {
  LCSM_ASSIGN_OR_RETURN(const HyenaConfig config,
                        HyenaSetting(layers, width, length));
  GpuHyenaModel model;
  LCSM_ASSIGN_OR_RETURN(model.host,
                        MakeSyntheticModel(config, "the Hyena setting", 1));
  LCSM_ASSIGN_OR_RETURN(model.device, cuda::MakeDeviceModel(model.host, on));
  return model;
}

StatusOr<std::vector<float>> GpuHyenaModel::HostLogits(size_t count,
                                                       ThreadPool& pool) const {
  LCSM_ASSIGN_OR_RETURN(
      const auto prepared,
      host->Prepare({.horizon = count, .plan = {}}, pool, nullptr));
  LCSM_ASSIGN_OR_RETURN(const auto state, prepared->NewState(pool));
  return LogitsBySteps(*host, *state, SomeTokens(count, host->info().vocab));
}

StatusOr<std::unique_ptr<GpuHyena>> GpuHyena::Create(
    const GpuHyenaModel& model, const conv::PlanOptions& options, size_t length,
    ThreadPool& pool) {
  std::unique_ptr<GpuHyena> hyena(new GpuHyena);
  hyena->model_ = model.device;
  PrepareOptions prepare;
  prepare.horizon = length;
  prepare.plan = options;
  LCSM_ASSIGN_OR_RETURN(const ModelMemory memory,
                        model.device->EstimateMemory(prepare, 1));
  hyena->bytes_ = memory.Total() - memory.weights;
  LCSM_ASSIGN_OR_RETURN(hyena->prepared_,
                        model.device->Prepare(prepare, pool, nullptr));
  LCSM_ASSIGN_OR_RETURN(hyena->state_, hyena->prepared_->NewState(pool));
  hyena->ids_.resize(model.device->info().vocab);
  std::iota(hyena->ids_.begin(), hyena->ids_.end(), 0);
  hyena->logits_.resize(hyena->state_->padded_vocab());
  return hyena;
}

size_t GpuHyena::Launches(bool mixers) const {
  // The embedding, four a layer (which red cells ride along with), the head;
  // and the sampler.
  (void)mixers;
  return 2 + 4 * model_->info().layers + (state_->SamplesItself() ? 1 : 0);
}

Status GpuHyena::PutAt(size_t position) {
  state_->SkipMixers(bare_);
  return state_->Pretend(position);
}

Status GpuHyena::Go(size_t count, Host host) {
  if (count == 0) return OkStatus();
  if (host == Host::kAhead && state_->SamplesItself()) {
    tokens_.resize(count);
    LCSM_RETURN_IF_ERROR(state_->SampleSteps(1, {}, 0, ids_, tokens_));
    return model_->CheckWeights();
  }
  for (size_t k = 0; k < count; ++k) {
    const auto end = logits_.begin() + static_cast<std::ptrdiff_t>(ids_.size());
    const auto best = std::max_element(logits_.begin(), end);
    state_->Step(static_cast<int32_t>(best - logits_.begin()), logits_.data());
  }
  return model_->CheckWeights();
}

StatusOr<double> GpuHyena::Check(const std::vector<float>& want) {
  LCSM_RETURN_IF_ERROR(PutAt(0));
  const size_t count = want.size() / logits_.size();
  LCSM_ASSIGN_OR_RETURN(
      const std::vector<float> got,
      LogitsBySteps(*model_, *state_, SomeTokens(count, ids_.size())));
  return CompareLogits(want, got);
}

}  // namespace lcsm::bench
