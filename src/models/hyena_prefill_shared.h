// What prefills of one model read, made once and shared by all states.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/thread_pool.h"
#include "conv/filter_bank.h"
#include "conv/prefill.h"
#include "kernels/panel_matrix.h"
#include "lcsm/status.h"
#include "models/hyena_weights.h"
#include "runtime/model.h"

namespace lcsm {

// What may be held in memory to save work.
struct HyenaPrefillLimits {
  // Filters' spectra of more than this are made anew for each call: at a width
  // of 256 and 8 layers beyond 40 000 positions, where evaluating the filters
  // again takes a tenth of a call.
  size_t spectra_bytes = size_t{1} << 30;
  // Gates that wait for the end of a convolution, of more than this, are
  // projected when it has ended: their norms once more against 1 GB at a
  // million tokens of width 256.
  size_t gate_bytes = size_t{512} << 20;
};

// Matrices of a layer, laid out for many tokens at a time.
struct HyenaLayerPanels {
  std::vector<PanelMatrix> streams;  // Of in_proj, each [D][D].
  PanelMatrix out_proj, fc1, fc2;
};

// What the prefills of all states share: the matrices, and the spectra of all
// filters for calls of up to `horizon` positions in all; or, if those would
// take more than the limit, none: then each call evaluates each layer's filter
// when it comes to it. Immutable.
class HyenaPrefillShared {
 public:
  // Taps that the kept spectra are made of, 0 where none are kept.
  static size_t TapsFor(const HyenaConfig& config, size_t horizon,
                        const HyenaPrefillLimits& limits);
  // `filters` holds at least TapsFor taps of all layers and is not needed
  // afterwards; null if that is 0. Error: memory.
  static StatusOr<std::shared_ptr<const HyenaPrefillShared>> Create(
      const HyenaWeights& weights, size_t horizon,
      const HyenaPrefillLimits& limits, const conv::FilterBank* filters,
      ThreadPool& pool);
  struct Bytes {
    size_t panels = 0;
    size_t spectra = 0;  // 0: more than the limit.
  };
  static Bytes BytesFor(const HyenaConfig& config, size_t horizon,
                        const HyenaPrefillLimits& limits);

  const HyenaPrefillLimits& limits() const { return limits_; }
  const HyenaLayerPanels& panels(size_t layer) const { return panels_[layer]; }
  // Null: none are kept.
  const conv::PrefillSpectra* FindSpectra(
      const conv::PrefillShape& shape) const;

 private:
  HyenaPrefillShared() = default;
  Status MakePanels(const HyenaWeights& weights);

  HyenaPrefillLimits limits_;
  std::vector<HyenaLayerPanels> panels_;
  std::vector<conv::PrefillSpectra> spectra_;  // Small blocks first.
};

// Groups of channels of one mixer.
size_t HyenaGroups(const HyenaConfig& config);
// The mixers of one layer, for `taps` positions.
conv::Problem HyenaLayerProblem(const HyenaConfig& config, size_t taps);

}  // namespace lcsm
