#include "models/hyena_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "models/hyena_filter.h"
#include "models/hyena_state.h"

namespace lcsm {
namespace {

ModelInfo MakeInfo(const HyenaWeights& weights, const std::string& name) {
  const HyenaConfig& config = weights.config();
  ModelInfo info;
  info.family = "hyena";
  info.name = name;
  info.hash = weights.hash();
  info.layers = config.layers;
  info.width = config.width;
  info.order = config.order;
  info.vocab = config.vocab;
  info.padded_vocab = config.padded_vocab;
  info.max_length = config.max_length;
  info.eos_id = config.eos_id;
  info.parameters = weights.parameters();
  info.weight_bytes = weights.bytes();
  info.step_bytes = weights.step_bytes();
  info.weight_format = Name(weights.format());
  const auto add = [&info](const char* label, std::string value) {
    info.details.emplace_back(label, std::move(value));
  };
  add("dialect", config.dialect);
  add("MLP width", std::to_string(config.inner));
  add("short filter", fmt::format("{} taps", config.fir_taps));
  add("implicit filter",
      fmt::format("{} features, {} sine layers of {}, {} channels",
                  config.features, config.filter_inner_layers + 1,
                  config.filter_width, config.filter_channels()));
  add("filter window", config.modulate
                           ? fmt::format("exponential, shift {}", config.shift)
                           : "none");
  if (config.normalized) add("filter norm", "L1 over channels");
  if (config.order > 2) add("filter layout", Name(config.layout));
  add("matrices of blocks",
      weights.format() == WeightFormat::kFloat32
          ? "f32"
          : fmt::format("{}, rounded when loaded", Name(weights.format())));
  add("head", weights.tied_head() ? "tied to the embedding" : "its own");
  const std::vector<std::string> unused = weights.source().Unused();
  if (!unused.empty()) {
    add("unused tensors",
        fmt::format("{}, such as {}", unused.size(), unused.front()));
  }
  return info;
}

}  // namespace

HyenaModel::HyenaModel(std::shared_ptr<const HyenaWeights> weights,
                       std::string name)
    : weights_(std::move(weights)), info_(MakeInfo(*weights_, name)) {}

StatusOr<HyenaModel::Extent> HyenaModel::GetExtent(
    const PrepareOptions& options) const {
  const HyenaConfig& config = weights_->config();
  LCSM_RETURN_IF_ERROR(CheckOneExecutor(info_.name, options));
  if (options.horizon > config.max_length) {
    return InvalidInput(fmt::format(
        "{} positions are wanted, and the model {} is made for at most {}",
        options.horizon, info_.name, config.max_length));
  }
  Extent extent;
  extent.horizon = options.horizon != 0 ? options.horizon : config.max_length;
  extent.steps = std::min(options.steps, extent.horizon);
  extent.growable = options.growable;
  if (extent.growable && extent.steps != extent.horizon) {
    return InvalidInput(fmt::format(
        "{}: a session of {} positions of which {} may come by steps cannot "
        "grow, for it does not keep what the others add to later ones; "
        "expected as many steps as positions",
        info_.name, extent.horizon, extent.steps));
  }
  if (options.shorter != nullptr) {
    extent.shorter = dynamic_cast<const HyenaPrepared*>(options.shorter);
    if (extent.shorter == nullptr || !extent.growable ||
        extent.shorter->shared().weights != weights_ ||
        extent.shorter->shared().taps == nullptr) {
      return InvalidInput(fmt::format(
          "{}: a longer preparation was to be made from one of another model "
          "or one that may not grow",
          info_.name));
    }
    if (extent.horizon < extent.shorter->horizon()) {
      return InvalidInput(fmt::format(
          "{}: a preparation for {} positions was to grow to {}, expected at "
          "least as many",
          info_.name, extent.shorter->horizon(), extent.horizon));
    }
  }
  if (options.memory_limit != 0) {
    HyenaPrefillLimits& limits = extent.limits;
    limits.spectra_bytes =
        std::min(limits.spectra_bytes, options.memory_limit / 4);
    limits.gate_bytes = std::min(limits.gate_bytes, options.memory_limit / 8);
  }
  return extent;
}

size_t HyenaModel::ActivationBytes(const Extent& extent, size_t threads) const {
  return HyenaState::Bytes(weights_->config(), extent.steps) +
         HyenaFilterScratchBytes(weights_->config(), threads);
}

size_t HyenaModel::PrefillBytes(const Extent& extent, size_t threads) const {
  if (extent.steps == extent.horizon) return 0;
  const HyenaConfig& config = weights_->config();
  const HyenaPrefillShared::Bytes shared =
      HyenaPrefillShared::BytesFor(config, extent.horizon, extent.limits);
  return shared.panels + shared.spectra +
         HyenaPrefill::BytesFor(config, extent.horizon - extent.steps,
                                extent.steps, extent.limits,
                                shared.spectra != 0, threads);
}

StatusOr<conv::Plan> HyenaModel::MakePlan(const PrepareOptions& options,
                                          const Extent& extent) const {
  const HyenaConfig& config = weights_->config();
  conv::Problem problem;
  problem.mixers = config.layers * config.convolutions();
  problem.channels = config.width;
  problem.length = problem.taps = extent.steps;
  problem.primed = extent.steps < extent.horizon;
  if (extent.growable) {
    problem.growable = true;
    // As many as may ever be wanted, so that longer problems are alike.
    problem.taps = config.max_length;
  } else {
    problem.evaluation = HyenaTapCost(config);
  }
  conv::PlanOptions plan = options.plan;
  if (options.memory_limit != 0) {
    const size_t others = weights_->bytes() +
                          weights_->PositionBytes(extent.horizon) +
                          ActivationBytes(extent, plan.threads) +
                          PrefillBytes(extent, plan.threads) +
                          conv::FilterBank::BytesToGrow(problem);
    LCSM_ASSIGN_OR_RETURN(plan.memory_limit, LeftForPlan(info_.name, others,
                                                         options.memory_limit));
  }
  if (extent.steps == 0) {
    conv::Plan none;
    none.problem = problem;
    // What a session file says of it is what a longer session goes by.
    none.method = plan.method;
    none.schedule = plan.schedule;
    return none;
  }
  if (extent.shorter != nullptr) {
    return conv::GrowPlan(extent.shorter->plan(), extent.steps, plan);
  }
  return conv::MakePlan(problem, plan);
}

StatusOr<std::shared_ptr<const PreparedModel>> HyenaModel::Prepare(
    const PrepareOptions& options, ThreadPool& pool,
    const ModelState::Progress& progress) const {
  LCSM_ASSIGN_OR_RETURN(const Extent extent, GetExtent(options));
  LCSM_ASSIGN_OR_RETURN(const conv::Plan plan, MakePlan(options, extent));
  HyenaState::Shared shared;
  shared.weights = weights_;
  shared.horizon = extent.horizon;
  // Evaluated once, for steps and prefills alike.
  const bool by_layers = extent.steps != extent.horizon;
  const size_t kept_taps =
      by_layers ? HyenaPrefillShared::TapsFor(weights_->config(),
                                              extent.horizon, extent.limits)
                : 0;
  const size_t step_taps = extent.steps != 0 ? conv::TapsMade(plan) : 0;
  std::shared_ptr<const conv::FilterBank> filters;
  if (const size_t taps = std::max(step_taps, kept_taps); taps != 0) {
    LCSM_ASSIGN_OR_RETURN(
        filters, MakeHyenaFilters(*weights_, taps, pool, progress, extent.steps,
                                  extent.shorter != nullptr
                                      ? extent.shorter->shared().taps.get()
                                      : nullptr));
  }
  if (extent.growable) shared.taps = filters;
  if (by_layers) {
    LCSM_ASSIGN_OR_RETURN(shared.prefill,
                          HyenaPrefillShared::Create(
                              *weights_, extent.horizon, extent.limits,
                              kept_taps != 0 ? filters.get() : nullptr, pool));
  }
  if (extent.steps != 0) {
    if (filters->taps() != step_taps) {
      LCSM_ASSIGN_OR_RETURN(filters,
                            conv::FilterBank::First(*filters, step_taps, pool));
    }
    LCSM_ASSIGN_OR_RETURN(
        shared.convolution,
        conv::PreparedConvolution::Create(
            plan, std::move(filters), pool,
            extent.shorter != nullptr
                ? extent.shorter->shared().convolution.get()
                : nullptr,
            conv::Evaluates(plan) ? MakeHyenaTaps(weights_) : nullptr));
  }
  // Filters made of a file that was cut short meanwhile are made of zeros.
  LCSM_RETURN_IF_ERROR(CheckWeights());
  return std::shared_ptr<const PreparedModel>(
      std::make_shared<HyenaPrepared>(std::move(shared), plan));
}

StatusOr<ModelMemory> HyenaModel::EstimateMemory(const PrepareOptions& options,
                                                 size_t threads) const {
  LCSM_ASSIGN_OR_RETURN(const Extent extent, GetExtent(options));
  LCSM_ASSIGN_OR_RETURN(conv::Plan plan, MakePlan(options, extent));
  ModelMemory memory;
  memory.weights = weights_->bytes() + weights_->PositionBytes(extent.horizon);
  if (extent.steps != 0) memory.convolution = plan.Memory(threads);
  if (extent.growable) memory.convolution.KeepAllTaps();
  memory.activations = ActivationBytes(extent, threads);
  memory.prefill = PrefillBytes(extent, threads);
  memory.preparing = memory.weights + memory.convolution.Preparing();
  memory.plan = std::move(plan);
  return memory;
}

StatusOr<std::unique_ptr<ModelState>> HyenaPrepared::NewState(
    ThreadPool& pool) const {
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<HyenaState> state,
                        HyenaState::Create(shared_, pool));
  return std::unique_ptr<ModelState>(std::move(state));
}

StatusOr<std::unique_ptr<ModelState>> HyenaPrepared::Grow(
    const ModelState& shorter) const {
  const auto* const state = dynamic_cast<const HyenaState*>(&shorter);
  if (state == nullptr) return PreparedModel::Grow(shorter);
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<HyenaState> grown,
                        state->Grown(shared_));
  return std::unique_ptr<ModelState>(std::move(grown));
}

}  // namespace lcsm
