#include "models/hyena_filter.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/for_each_item.h"
#include "kernels/dense.h"
#include "kernels/lanes.h"
#include "kernels/pointwise.h"
#include "models/hyena_positions.h"

namespace lcsm {
namespace {

// Memory of one worker: a layer's network in float64, panels, [rows][kPanel],
// to evaluate it in, and the taps made from them.
struct Scratch {
  // Of each hidden layer weights, biases and frequencies, then the last layer's
  // weights and the decays.
  double* network;
  double *a, *b, *g, *t;
  float* lines;  // [kPanel][kLanes], of one group.
  float* z;      // [E], of one lag.
};

size_t HiddenRows(const HyenaConfig& config) {
  return std::max(config.features, config.filter_width);
}

// Inputs of hidden layer i.
size_t HiddenInputs(const HyenaConfig& config, size_t i) {
  return i == 0 ? config.features : config.filter_width;
}

size_t NetworkDoubles(const HyenaConfig& config) {
  size_t doubles = config.filter_channels() *
                   (config.filter_width + (config.modulate ? 1 : 0));
  for (size_t i = 0; i <= config.filter_inner_layers; ++i) {
    doubles += config.filter_width * (HiddenInputs(config, i) + 2);
  }
  constexpr size_t kLine = kCacheLineBytes / sizeof(double);
  return (doubles + kLine - 1) / kLine * kLine;  // Panels are aligned.
}

size_t ScratchFloats(const HyenaConfig& config) {
  const size_t doubles =
      NetworkDoubles(config) +
      (2 * HiddenRows(config) + config.filter_channels() + 1) * kPanel;
  const size_t floats = 2 * doubles + kPanel * kLanes + config.features;
  return (floats + kLanes - 1) / kLanes * kLanes;
}

// Lays it out in ScratchFloats() floats.
Scratch MakeScratch(const HyenaConfig& config, float* memory) {
  Scratch scratch;
  const size_t panel = HiddenRows(config) * kPanel;
  scratch.network = reinterpret_cast<double*>(memory);
  scratch.a = scratch.network + NetworkDoubles(config);
  scratch.b = scratch.a + panel;
  scratch.g = scratch.b + panel;
  scratch.t = scratch.g + config.filter_channels() * kPanel;
  scratch.lines = reinterpret_cast<float*>(scratch.t + kPanel);
  scratch.z = scratch.lines + kPanel * kLanes;
  return scratch;
}

void LoadNetwork(const HyenaConfig& config, const HyenaFilterWeights& w,
                 Scratch& scratch) {
  double* to = scratch.network;
  for (size_t i = 0; i < w.hidden.size(); ++i) {
    const LinearWeights& layer = w.hidden[i];
    to = std::copy_n(layer.weight, layer.in * layer.out, to);
    to = std::copy_n(layer.bias, layer.out, to);
    to = std::copy_n(w.frequencies[i], layer.out, to);
  }
  to = std::copy_n(w.last.weight, w.last.in * w.last.out, to);
  if (!config.modulate) return;
  for (size_t c = 0; c < config.filter_channels(); ++c) {
    to[c] = std::abs(static_cast<double>(w.deltas[c]));
  }
}

// Lags [first, first + count), count <= kPanel, into scratch.g. What stands in
// the other columns is finite and of no consequence. False if a position is not
// finite.
bool EvaluatePanel(const HyenaConfig& config, const HyenaFilterWeights& w,
                   size_t first, size_t count, Scratch& scratch) {
  const DenseKernels& dense = GetDenseKernels();
  const PointwiseKernels& pointwise = GetPointwiseKernels();
  bool finite = true;
  for (size_t p = 0; p < kPanel; ++p) {
    // Columns past the end repeat the last lag.
    const size_t n = first + std::min(p, count - 1);
    float t = 0;
    if (w.z == nullptr || w.t == nullptr) {
      ComputePosition(config, n, scratch.z, &t);
    }
    if (w.t != nullptr) t = w.t[n];
    const float* const z =
        w.z != nullptr ? w.z + n * config.features : scratch.z;
    scratch.t[p] = t;
    finite &= std::isfinite(t);
    for (size_t e = 0; e < config.features; ++e) {
      finite &= std::isfinite(z[e]);
      scratch.a[e * kPanel + p] = z[e];
    }
  }
  if (!finite) return false;
  const double* network = scratch.network;
  const size_t hidden = config.filter_width;
  for (size_t i = 0; i <= config.filter_inner_layers; ++i) {
    const size_t inputs = HiddenInputs(config, i);
    const double* const bias = network + inputs * hidden;
    const double* const frequencies = bias + hidden;
    dense.dense_f64(network, bias, inputs, hidden, scratch.a, scratch.b);
    for (size_t f = 0; f < hidden; ++f) {
      pointwise.sine_f64(frequencies[f], kPanel, scratch.b + f * kPanel);
    }
    std::swap(scratch.a, scratch.b);
    network = frequencies + hidden;
  }
  const size_t channels = config.filter_channels();
  dense.dense_f64(network, nullptr, hidden, channels, scratch.a, scratch.g);
  if (config.modulate) {
    const double* const decay = network + hidden * channels;
    for (size_t c = 0; c < channels; ++c) {
      pointwise.window_f64(scratch.t, decay[c], config.shift, kPanel,
                           scratch.g + c * kPanel);
    }
  }
  if (config.normalized) {
    for (size_t p = 0; p < count; ++p) {
      double norm = 0;
      for (size_t c = 0; c < channels; ++c) {
        norm += std::abs(scratch.g[c * kPanel + p]);
      }
      for (size_t c = 0; c < channels; ++c) {
        scratch.g[c * kPanel + p] /= norm;
      }
    }
  }
  return true;
}

size_t FilterChannel(const HyenaConfig& config, size_t o, size_t c) {
  return config.layout == FilterLayout::kOrderSlowest
             ? o * config.width + c
             : c * config.convolutions() + o;
}

// Rounds convolution o of a panel, of which the first `kept` lags become taps
// of `mixer` of the bank; false if one of the panel is not finite.
bool RoundTaps(const HyenaConfig& config, const HyenaFilterWeights& w, size_t o,
               size_t first, size_t count, size_t kept, size_t mixer,
               Scratch& scratch, conv::FilterBank& bank) {
  const PointwiseKernels& pointwise = GetPointwiseKernels();
  bool finite = true;
  for (size_t c = 0; c < config.width; c += kLanes) {
    const size_t lanes = std::min(kLanes, config.width - c);
    if (lanes < kLanes) std::fill_n(scratch.lines, count * kLanes, 0.0f);
    for (size_t lane = 0; lane < lanes; ++lane) {
      const size_t channel = FilterChannel(config, o, c + lane);
      double* const g = scratch.g + channel * kPanel;
      if (first == 0) g[0] += w.skip[channel];
      float rounded[kPanel];
      finite &= pointwise.round_f64(g, count, rounded);
      for (size_t p = 0; p < count; ++p) {
        scratch.lines[p * kLanes + lane] = rounded[p];
      }
    }
    if (kept != 0) {
      bank.SetGroupTaps(mixer, c / kLanes, first, kept, scratch.lines);
    }
  }
  return finite;
}

}  // namespace

Status HyenaPositionsNotFinite(const HyenaWeights& weights, size_t layer) {
  return InvalidInput(fmt::format(
      "{}: the filter positions (pos_emb.z or pos_emb.t) of layer {} hold NaN "
      "or infinity, expected finite numbers",
      weights.source().Name(), layer));
}

Status HyenaFilterNotFinite(const HyenaWeights& weights, size_t layer) {
  return InvalidInput(
      fmt::format("{}: the filter of layer {} is not finite when evaluated",
                  weights.source().Name(), layer));
}

// 24 MB a layer of a million positions, which would all be kept to the end.
void DropHyenaPositions(const HyenaWeights& weights, size_t layer,
                        size_t lags) {
  const HyenaFilterWeights& filter = weights.layers()[layer].filter;
  if (filter.z != nullptr) {
    weights.source().DropPages(filter.z, lags * weights.config().features);
  }
  if (filter.t != nullptr) weights.source().DropPages(filter.t, lags);
}

size_t HyenaFilterScratchBytes(const HyenaConfig& config, size_t threads) {
  return threads * ScratchFloats(config) * sizeof(float);
}

namespace {

// Of all workers.
struct Scratches {
  FloatBuffer memory;
  std::vector<Scratch> workers;
};

StatusOr<Scratches> MakeScratches(const HyenaConfig& config, size_t threads) {
  Scratches all;
  const size_t floats = ScratchFloats(config);
  LCSM_ASSIGN_OR_RETURN(
      all.memory, FloatBuffer::Allocate(threads * floats, "filter scratch"));
  for (size_t worker = 0; worker < threads; ++worker) {
    all.workers.push_back(
        MakeScratch(config, all.memory.data() + worker * floats));
  }
  return all;
}

// Lags [first_lag, lags), of which the bank takes what it has room for, into
// mixers first_mixer + o.
Status EvaluateLayer(const HyenaWeights& weights, size_t layer,
                     size_t first_lag, size_t lags, size_t first_mixer,
                     ThreadPool& pool, const ModelState::Progress& progress,
                     Scratches& scratch, conv::FilterBank& bank) {
  const HyenaConfig& config = weights.config();
  const HyenaFilterWeights& w = weights.layers()[layer].filter;
  for (Scratch& worker : scratch.workers) LoadNetwork(config, w, worker);
  std::atomic<bool> positions_finite{true}, taps_finite{true};
  const auto item = [&](size_t index, size_t worker) {
    Scratch& mine = scratch.workers[worker];
    const size_t begin = first_lag + index * conv::kLagsAtATime;
    const size_t end = std::min(lags, begin + conv::kLagsAtATime);
    for (size_t first = begin; first < end; first += kPanel) {
      const size_t count = std::min(kPanel, end - first);
      const size_t kept =
          std::min(count, bank.taps() - std::min(bank.taps(), first));
      if (!EvaluatePanel(config, w, first, count, mine)) {
        positions_finite = false;
        return;
      }
      for (size_t o = 0; o < config.convolutions(); ++o) {
        if (!RoundTaps(config, w, o, first, count, kept, first_mixer + o, mine,
                       bank)) {
          taps_finite = false;
        }
      }
    }
  };
  const size_t items =
      (lags - std::min(lags, first_lag) + conv::kLagsAtATime - 1) /
      conv::kLagsAtATime;
  const bool all = ForEachItem(pool, items, item, [&](size_t started) {
    if (!positions_finite || !taps_finite) return false;
    return !progress ||
           progress(static_cast<double>(started) / static_cast<double>(items));
  });
  if (!positions_finite) return HyenaPositionsNotFinite(weights, layer);
  if (!taps_finite) return HyenaFilterNotFinite(weights, layer);
  if (!all) return Cancelled("stopped while evaluating filters");
  if (lags > bank.taps()) DropHyenaPositions(weights, layer, lags);
  return OkStatus();
}

// Taps that a network gives while tiles run, see conv/tap_source.h.
class HyenaTaps final : public conv::TapSource {
 public:
  explicit HyenaTaps(std::shared_ptr<const HyenaWeights> weights)
      : weights_(std::move(weights)) {}

  void Evaluate(size_t mixer, size_t first, size_t count, float* memory,
                conv::FilterBank& out) const noexcept override {
    const HyenaConfig& config = weights_->config();
    const size_t o = mixer % config.convolutions();
    const HyenaFilterWeights& w =
        weights_->layers()[mixer / config.convolutions()].filter;
    Scratch scratch = MakeScratch(config, memory);
    LoadNetwork(config, w, scratch);
    for (size_t done = 0; done < count; done += kPanel) {
      const size_t now = std::min(kPanel, count - done);
      // All were finite when the model was prepared. If somebody has written to
      // the file since, the answers are wrong, as those of any weight are.
      if (!EvaluatePanel(config, w, first + done, now, scratch)) {
        std::fill_n(scratch.g, config.filter_channels() * kPanel, 0.0);
      }
      RoundTaps(config, w, o, first + done, now, now, 0, scratch, out);
    }
  }

  void Rest(size_t mixer, size_t count) const noexcept override {
    const size_t convolutions = weights_->config().convolutions();
    if (mixer % convolutions + 1 != convolutions) return;
    DropHyenaPositions(*weights_, mixer / convolutions, count);
  }

 private:
  const std::shared_ptr<const HyenaWeights> weights_;
};

}  // namespace

Status EvaluateHyenaFilters(const HyenaWeights& weights, ThreadPool& pool,
                            const ModelState::Progress& progress,
                            conv::FilterBank& bank, size_t checked,
                            size_t first) {
  const HyenaConfig& config = weights.config();
  LCSM_ASSIGN_OR_RETURN(Scratches scratch,
                        MakeScratches(config, pool.NumThreads()));
  const size_t layers = weights.layers().size();
  for (size_t layer = 0; layer < layers; ++layer) {
    ModelState::Progress part;
    if (progress) {
      part = [&](double done) {
        return progress((static_cast<double>(layer) + done) /
                        static_cast<double>(layers));
      };
    }
    LCSM_RETURN_IF_ERROR(EvaluateLayer(
        weights, layer, first, std::max(bank.taps(), checked),
        layer * config.convolutions(), pool, part, scratch, bank));
  }
  return OkStatus();
}

StatusOr<std::unique_ptr<conv::FilterBank>> MakeHyenaFilters(
    const HyenaWeights& weights, size_t taps, ThreadPool& pool,
    const ModelState::Progress& progress, size_t checked,
    const conv::FilterBank* shorter) {
  const HyenaConfig& config = weights.config();
  conv::Problem problem;
  problem.mixers = config.layers * config.convolutions();
  problem.channels = config.width;
  problem.length = problem.taps = taps;
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<conv::FilterBank> bank,
                        conv::FilterBank::Create(problem));
  if (shorter != nullptr) bank->CopyTaps(*shorter, pool);
  LCSM_RETURN_IF_ERROR(
      EvaluateHyenaFilters(weights, pool, progress, *bank, checked,
                           shorter != nullptr ? shorter->taps() : 0));
  return bank;
}

Status EvaluateHyenaLayerFilter(const HyenaWeights& weights, size_t layer,
                                ThreadPool& pool,
                                const ModelState::Progress& progress,
                                conv::FilterBank& bank) {
  LCSM_ASSIGN_OR_RETURN(Scratches scratch,
                        MakeScratches(weights.config(), pool.NumThreads()));
  LCSM_RETURN_IF_ERROR(EvaluateLayer(weights, layer, 0, bank.taps(), 0, pool,
                                     progress, scratch, bank));
  DropHyenaPositions(weights, layer, bank.taps());
  return OkStatus();
}

std::shared_ptr<const conv::TapSource> MakeHyenaTaps(
    std::shared_ptr<const HyenaWeights> weights) {
  return std::make_shared<HyenaTaps>(std::move(weights));
}

conv::TapCost HyenaTapCost(const HyenaConfig& config) {
  // From the filters' share of a prefill of 131 072 tokens of 8 x 256 on a 3
  // GHz Zen 3 (docs/benchmarks.md): 2.8 microseconds a lag of a layer, for 24
  // 900 products, which run at two thirds of the peak in float64, and 448 sines
  // and exponentials. Good to a factor of two elsewhere, which is less than the
  // next larger block costs or saves.
  const double hidden = static_cast<double>(config.filter_width);
  const double layers = static_cast<double>(config.filter_inner_layers) + 1;
  const double channels = static_cast<double>(config.filter_channels());
  const double products = hidden * (static_cast<double>(config.features) +
                                    (layers - 1) * hidden + channels);
  const double functions = layers * hidden + (config.modulate ? channels : 0.0);
  conv::TapCost cost;
  cost.lag_ns = (products / 16 + functions * 2.8) /
                static_cast<double>(GroupsFor(config.width));
  cost.scratch_floats = ScratchFloats(config);
  return cost;
}

Status EvaluateHyenaFilterRows(const HyenaConfig& config,
                               const HyenaFilterWeights& filter, size_t first,
                               size_t count, double* out) {
  LCSM_ASSIGN_OR_RETURN(Scratches scratches, MakeScratches(config, 1));
  Scratch& scratch = scratches.workers.front();
  LoadNetwork(config, filter, scratch);
  const size_t channels = config.filter_channels();
  for (size_t done = 0; done < count; done += kPanel) {
    const size_t now = std::min(kPanel, count - done);
    if (!EvaluatePanel(config, filter, first + done, now, scratch)) {
      return InvalidInput("filter positions hold NaN or infinity");
    }
    for (size_t c = 0; c < channels; ++c) {
      for (size_t p = 0; p < now; ++p) {
        out[(done + p) * channels + c] = scratch.g[c * kPanel + p];
      }
    }
  }
  return OkStatus();
}

}  // namespace lcsm
