#include "models/hyena_prefill_shared.h"

#include <algorithm>
#include <utility>

#include "kernels/lanes.h"
#include "models/hyena_filter.h"

namespace lcsm {
namespace {

// Block sizes for which spectra are kept: the best for the whole horizon, and
// for shorter calls ones of a quarter of it each.
struct Table {
  size_t block, slices;
};
std::vector<Table> TablesFor(size_t horizon) {
  // Down to here a table costs less memory than the code that reads it.
  constexpr size_t kSmallest = 64;
  // Slices of the smaller tables: calls up to six blocks, so that neighbours
  // overlap by half.
  constexpr size_t kSlices = 6;
  std::vector<Table> tables;
  size_t block = conv::PrefillBlock(horizon, 0);
  tables.push_back({block, (horizon + block - 1) / block + 1});
  while (block / 4 >= kSmallest) {
    block /= 4;
    tables.push_back({block, kSlices});
  }
  std::reverse(tables.begin(), tables.end());
  return tables;
}

}  // namespace

size_t HyenaGroups(const HyenaConfig& config) {
  return GroupsFor(config.width);
}

conv::Problem HyenaLayerProblem(const HyenaConfig& config, size_t taps) {
  conv::Problem problem;
  problem.mixers = config.convolutions();
  problem.channels = config.width;
  problem.length = problem.taps = taps;
  return problem;
}

HyenaPrefillShared::Bytes HyenaPrefillShared::BytesFor(
    const HyenaConfig& config, size_t horizon,
    const HyenaPrefillLimits& limits) {
  Bytes bytes;
  const size_t width = config.width;
  bytes.panels =
      config.layers * ((config.order + 2) * PanelMatrix::Bytes(width, width) +
                       PanelMatrix::Bytes(width, config.inner) +
                       PanelMatrix::Bytes(config.inner, width));
  const size_t groups =
      config.layers * config.convolutions() * HyenaGroups(config);
  for (const Table& table : TablesFor(horizon)) {
    bytes.spectra +=
        conv::PrefillSpectra::BytesFor(groups, table.block, table.slices);
  }
  if (bytes.spectra > limits.spectra_bytes) {
    bytes.spectra = 0;
    return bytes;
  }
  conv::Problem problem = HyenaLayerProblem(config, horizon);
  problem.mixers *= config.layers;
  bytes.making = conv::FilterBank::BytesFor(problem, horizon);
  return bytes;
}

Status HyenaPrefillShared::MakePanels(const HyenaWeights& weights) {
  const HyenaConfig& config = weights.config();
  const size_t width = config.width;
  const auto pack = [](const LinearWeights& w, PanelMatrix* out) -> Status {
    LCSM_ASSIGN_OR_RETURN(*out, w.packed != nullptr
                                    ? PanelMatrix::Pack(*w.packed)
                                    : PanelMatrix::Pack(w.weight, w.in, w.out));
    return OkStatus();
  };
  for (const HyenaLayerWeights& w : weights.layers()) {
    HyenaLayerPanels layer;
    for (size_t s = 0; s <= config.order; ++s) {
      LCSM_ASSIGN_OR_RETURN(
          PanelMatrix stream,
          w.in_proj.packed != nullptr
              ? PanelMatrix::Pack(*w.in_proj.packed, s * width, width)
              : PanelMatrix::Pack(w.in_proj.weight + s * width * width, width,
                                  width));
      layer.streams.push_back(std::move(stream));
    }
    LCSM_RETURN_IF_ERROR(pack(w.out_proj, &layer.out_proj));
    LCSM_RETURN_IF_ERROR(pack(w.fc1, &layer.fc1));
    LCSM_RETURN_IF_ERROR(pack(w.fc2, &layer.fc2));
    panels_.push_back(std::move(layer));
  }
  return OkStatus();
}

StatusOr<std::shared_ptr<const HyenaPrefillShared>> HyenaPrefillShared::Create(
    const HyenaWeights& weights, size_t horizon,
    const HyenaPrefillLimits& limits, ThreadPool& pool,
    const ModelState::Progress& progress) {
  const HyenaConfig& config = weights.config();
  std::shared_ptr<HyenaPrefillShared> shared(new HyenaPrefillShared);
  shared->horizon_ = horizon;
  shared->limits_ = limits;
  LCSM_RETURN_IF_ERROR(shared->MakePanels(weights));
  if (BytesFor(config, horizon, limits).spectra != 0) {
    conv::Problem problem = HyenaLayerProblem(config, horizon);
    problem.mixers *= config.layers;
    LCSM_ASSIGN_OR_RETURN(std::unique_ptr<conv::FilterBank> bank,
                          conv::FilterBank::Create(problem));
    LCSM_RETURN_IF_ERROR(EvaluateHyenaFilters(weights, pool, progress, *bank));
    for (const Table& table : TablesFor(horizon)) {
      LCSM_ASSIGN_OR_RETURN(
          conv::PrefillSpectra spectra,
          conv::PrefillSpectra::Create(*bank, table.block, table.slices, pool));
      shared->spectra_.push_back(std::move(spectra));
    }
  }
  return std::shared_ptr<const HyenaPrefillShared>(std::move(shared));
}

const conv::PrefillSpectra* HyenaPrefillShared::FindSpectra(
    conv::PrefillShape* shape) const {
  const size_t wanted = conv::PrefillBlock(shape->inputs, shape->following);
  for (const conv::PrefillSpectra& table : spectra_) {
    shape->block = table.block();
    // Of two neighbours, a factor of four apart, the larger.
    if (shape->slices() <= table.slices() && table.block() >= wanted) {
      return &table;
    }
  }
  if (spectra_.empty()) return nullptr;
  shape->block = spectra_.back().block();
  return shape->slices() <= spectra_.back().slices() ? &spectra_.back()
                                                     : nullptr;
}

}  // namespace lcsm
