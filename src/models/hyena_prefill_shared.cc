#include "models/hyena_prefill_shared.h"

#include <algorithm>
#include <utility>

#include "kernels/lanes.h"

namespace lcsm {
namespace {

// Block sizes for which spectra are kept: all that calls within the horizon
// use.
struct Table {
  size_t block, slices;
};
std::vector<Table> TablesFor(size_t horizon) {
  std::vector<Table> tables;
  const size_t largest = std::max(conv::PrefillBlock(horizon, 0),
                                  conv::PrefillBlock(1, horizon - 1));
  for (size_t block = conv::kSmallestPrefillBlock; block <= largest;
       block *= conv::kPrefillBlockStep) {
    const size_t all = (horizon + block - 1) / block;
    tables.push_back({block, block == conv::kLargestPrefillBlock
                                 ? all
                                 : std::min(all, conv::kPrefillSlices)});
  }
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
  if (bytes.spectra > limits.spectra_bytes) bytes.spectra = 0;
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

size_t HyenaPrefillShared::TapsFor(const HyenaConfig& config, size_t horizon,
                                   const HyenaPrefillLimits& limits) {
  if (BytesFor(config, horizon, limits).spectra == 0) return 0;
  size_t taps = 1;
  for (const Table& table : TablesFor(horizon)) {
    taps = std::max(taps, table.block * table.slices);  // PrefillShape::taps
  }
  return std::min(taps, config.max_length);
}

StatusOr<std::shared_ptr<const HyenaPrefillShared>> HyenaPrefillShared::Create(
    const HyenaWeights& weights, size_t horizon,
    const HyenaPrefillLimits& limits, const conv::FilterBank* filters,
    ThreadPool& pool) {
  std::shared_ptr<HyenaPrefillShared> shared(new HyenaPrefillShared);
  shared->limits_ = limits;
  LCSM_RETURN_IF_ERROR(shared->MakePanels(weights));
  if (filters != nullptr) {
    for (const Table& table : TablesFor(horizon)) {
      LCSM_ASSIGN_OR_RETURN(conv::PrefillSpectra spectra,
                            conv::PrefillSpectra::Create(*filters, table.block,
                                                         table.slices, pool));
      shared->spectra_.push_back(std::move(spectra));
    }
  }
  return std::shared_ptr<const HyenaPrefillShared>(std::move(shared));
}

const conv::PrefillSpectra* HyenaPrefillShared::FindSpectra(
    const conv::PrefillShape& shape) const {
  for (const conv::PrefillSpectra& table : spectra_) {
    if (table.block() == shape.block && shape.slices() <= table.slices()) {
      return &table;
    }
  }
  return nullptr;
}

}  // namespace lcsm
