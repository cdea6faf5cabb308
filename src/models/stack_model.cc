#include "models/stack_model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

namespace lcsm {
namespace {

// A second copy of the matrices may take up to this share of a memory limit:
// as much as a Hyena model's spectra for known tokens.
constexpr size_t kPanelShare = 4;

std::string DrawNorm(const StackNorm& norm) {
  return norm.kind == StackNorm::Kind::kNone    ? ""
         : norm.kind == StackNorm::Kind::kLayer ? "layer norm; "
                                                : "RMS norm; ";
}

std::string DrawStep(const StackWeights& weights, const StackStep& step,
                     const StackOp& op) {
  const std::string to = fmt::format("{}", fmt::join(step.to, " "));
  const std::string from = fmt::format("{}", fmt::join(step.from, " "));
  switch (step.kind) {
    case StackStepKind::kLinear:
      return fmt::format("{} = linear {} ({} to {})", to, from, op.in, op.out);
    case StackStepKind::kMultiply:
      return fmt::format("{} = {}", to, fmt::join(step.from, " * "));
    case StackStepKind::kAdd:
      return fmt::format("{} = {}", to, fmt::join(step.from, " + "));
    case StackStepKind::kActivate:
      return fmt::format("{} = {} {}", to, Name(step.activation), from);
    case StackStepKind::kNorm:
      return fmt::format("{} = norm {}", to, from);
    case StackStepKind::kRead:
      if (step.ahead) {
        return fmt::format("{} = block {}'s convolution, ahead", to,
                           step.block);
      }
      return fmt::format("{} = block {}{}", to, step.block,
                         step.delay == 0 ? "" : " one position ago");
    case StackStepKind::kConvolve:
      return fmt::format("{} = {} filter of {} [{}]", to,
                         Name(step.filter.kind), from,
                         weights.mixers()[op.mixer].mixer->Describe());
    case StackStepKind::kAttention:
    case StackStepKind::kLinearAttention:
    case StackStepKind::kSelectiveScan:
    case StackStepKind::kRelaxedConvolve:
      return fmt::format("{} = {} {} [{}]", to, Name(step.kind), from,
                         weights.mixers()[op.mixer].mixer->Describe());
  }
  return "";
}

// A block's parts: name, and what it does.
std::vector<std::pair<std::string, std::string>> DrawBlock(
    const StackWeights& weights, size_t b) {
  std::vector<std::pair<std::string, std::string>> lines;
  const StackBlock& block = weights.description().blocks[b];
  for (size_t p = 0; p < block.parts.size(); ++p) {
    const StackPart& part = block.parts[p];
    std::vector<std::string> steps;
    for (size_t s = 0; s < part.steps.size(); ++s) {
      steps.push_back(DrawStep(weights, part.steps[s],
                               weights.blocks()[b].parts[p].ops[s]));
    }
    lines.emplace_back(
        part.name.empty() ? fmt::format("part {}", p) : part.name,
        fmt::format("x + ({}{})", DrawNorm(part.norm), fmt::join(steps, "; ")));
  }
  return lines;
}

ModelInfo MakeInfo(const StackWeights& weights, const std::string& name) {
  const StackDescription& stack = weights.description();
  ModelInfo info;
  info.family = stack.family;
  info.name = name;
  info.hash = weights.hash();
  info.layers = stack.blocks.size();
  info.width = stack.width;
  info.vocab = stack.vocab;
  info.padded_vocab = stack.padded_vocab;
  info.max_length = stack.max_length;
  info.eos_id = stack.eos_id;
  info.parameters = weights.parameters();
  info.weight_bytes = weights.bytes();
  info.step_bytes = weights.step_bytes();
  info.weight_format = Name(weights.format());
  info.details = DrawStack(weights);
  info.details.emplace_back(
      "head", stack.head.empty() ? "tied to the embedding" : "its own");
  info.details.emplace_back(
      "known tokens",
      weights.reads_past()
          ? "taken in one at a time: a block reads its own or a later one's "
            "past, or something ahead"
          : "taken in by blocks of positions");
  const std::vector<std::string> unused = weights.tensors().Unused();
  if (!unused.empty()) {
    info.details.emplace_back(
        "unused tensors",
        fmt::format("{}, such as {}", unused.size(), unused.front()));
  }
  return info;
}

conv::Plan FirstPlan(const MixerSchedule& schedule,
                     const MixerSetOptions& options) {
  if (!schedule.groups.empty()) return schedule.groups.front().plan;
  conv::Plan none;
  none.problem.mixers = 0;
  none.problem.length = none.problem.taps = options.horizon;
  none.problem.growable = options.longest != 0;
  return none;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> DrawStack(
    const StackWeights& weights) {
  std::vector<std::pair<std::string, std::string>> lines;
  const size_t count = weights.description().blocks.size();
  for (size_t first = 0, next = 0; first < count; first = next) {
    const auto drawn = DrawBlock(weights, first);
    next = first + 1;
    while (next < count && DrawBlock(weights, next) == drawn) ++next;
    const std::string label =
        next == first + 1 ? fmt::format("block {}", first)
                          : fmt::format("blocks {} to {}", first, next - 1);
    for (const auto& [part, what] : drawn) {
      lines.emplace_back(fmt::format("{}, {}", label, part), what);
    }
  }
  return lines;
}

StackModel::StackModel(std::shared_ptr<const StackWeights> weights,
                       std::string name)
    : weights_(std::move(weights)), info_(MakeInfo(*weights_, name)) {}

StatusOr<StackModel::Extent> StackModel::GetExtent(
    const PrepareOptions& options) const {
  if (options.horizon > info_.max_length) {
    return InvalidInput(fmt::format(
        "{} positions are wanted, and the model {} is made for at most {}",
        options.horizon, info_.name, info_.max_length));
  }
  Extent extent;
  MixerSetOptions& mixers = extent.mixers;
  mixers.horizon = options.horizon != 0 ? options.horizon : info_.max_length;
  mixers.plan = options.plan;
  mixers.levels = options.levels;
  if (options.growable) mixers.longest = info_.max_length;
  if (options.shorter != nullptr) {
    const auto* const shorter =
        dynamic_cast<const StackPrepared*>(options.shorter);
    if (shorter == nullptr || &shorter->weights() != weights_.get()) {
      return InvalidInput(
          fmt::format("{}: a longer preparation was to be made from one of "
                      "another model",
                      info_.name));
    }
    mixers.shorter = &shorter->mixers();
  }
  if (options.steps < mixers.horizon) {
    const size_t bytes = StackPanels::Bytes(*weights_);
    if (options.memory_limit == 0 ||
        bytes <= options.memory_limit / kPanelShare) {
      extent.panel_bytes = bytes;
    }
  }
  if (options.memory_limit != 0) {
    const size_t others = weights_->bytes() + extent.panel_bytes +
                          StackState::Bytes(*weights_, mixers.horizon);
    LCSM_ASSIGN_OR_RETURN(
        mixers.plan.memory_limit,
        LeftForPlan(info_.name, others, options.memory_limit));
  }
  return extent;
}

Status StackModel::Named(const Status& status) const {
  return Status(status.code(),
                fmt::format("{}: {}", info_.name, status.message()));
}

StatusOr<std::shared_ptr<const PreparedModel>> StackModel::Prepare(
    const PrepareOptions& options, ThreadPool& pool,
    const ModelState::Progress& progress) const {
  LCSM_ASSIGN_OR_RETURN(const Extent extent, GetExtent(options));
  if (progress && !progress(0)) return Cancelled("stopped while preparing");
  auto prepared =
      PreparedMixers::Create(weights_->mixers(), extent.mixers, pool);
  if (!prepared.ok()) return Named(prepared.status());
  std::shared_ptr<const StackPanels> panels;
  if (extent.panel_bytes != 0) {
    LCSM_ASSIGN_OR_RETURN(panels, StackPanels::Create(*weights_));
  }
  // Filters made of a file that was cut short meanwhile are made of zeros.
  LCSM_RETURN_IF_ERROR(CheckWeights());
  const MixerSchedule& schedule = (*prepared)->schedule();
  size_t spectra = 0;
  for (const MixerSchedule::Group& group : schedule.groups) {
    spectra += group.plan.Memory(pool.NumThreads()).spectra;
  }
  // All positions may come by steps, whatever was said of them.
  PreparedPlans plans = {extent.mixers.horizon, options.plan.method,
                         options.plan.schedule, schedule.Levels()};
  conv::Plan plan = FirstPlan(schedule, extent.mixers);
  return std::shared_ptr<const PreparedModel>(std::make_shared<StackPrepared>(
      weights_, *std::move(prepared), std::move(panels), std::move(plan),
      std::move(plans), spectra));
}

StatusOr<ModelMemory> StackModel::EstimateMemory(const PrepareOptions& options,
                                                 size_t threads) const {
  LCSM_ASSIGN_OR_RETURN(const Extent extent, GetExtent(options));
  const auto foretold =
      PreparedMixers::Foretell(weights_->mixers(), extent.mixers, threads);
  if (!foretold.ok()) return Named(foretold.status());
  LCSM_ASSIGN_OR_RETURN(
      const MixerSchedule schedule,
      PreparedMixers::Schedule(weights_->mixers(), extent.mixers));
  ModelMemory memory;
  memory.weights = weights_->bytes() + foretold->weights;
  memory.convolution = foretold->convolution;
  memory.preparing = memory.weights + memory.convolution.Preparing();
  memory.activations =
      StackState::Bytes(*weights_, extent.mixers.horizon) + foretold->states;
  memory.prefill = extent.panel_bytes;
  memory.plan = FirstPlan(schedule, extent.mixers);
  memory.schedule = schedule.Print();
  return memory;
}

StatusOr<std::unique_ptr<ModelState>> StackPrepared::NewState(
    ThreadPool& pool) const {
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<StackState> state,
                        StackState::Create(weights_, mixers_, panels_, pool));
  return std::unique_ptr<ModelState>(std::move(state));
}

StatusOr<std::unique_ptr<ModelState>> StackPrepared::Grow(
    const ModelState& shorter) const {
  const auto* const state = dynamic_cast<const StackState*>(&shorter);
  if (state == nullptr) return PreparedModel::Grow(shorter);
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<StackState> grown,
                        state->Grown(weights_, mixers_, panels_));
  return std::unique_ptr<ModelState>(std::move(grown));
}

}  // namespace lcsm
