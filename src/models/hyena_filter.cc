#include "models/hyena_filter.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/dense.h"
#include "kernels/pointwise.h"
#include "models/hyena_positions.h"

namespace lcsm {
namespace {

// Panels of kPanel lags that one call of ParallelFor takes: enough to keep
// threads busy for some milliseconds, few enough for progress to move.
constexpr size_t kPanelsPerSlice = 64;

// One layer's MLP in float64. Immutable once made.
struct FilterMlp {
  struct Layer {
    std::vector<double> weight, bias;
    size_t in = 0, out = 0;
  };
  std::vector<Layer> hidden;
  std::vector<std::vector<double>> frequencies;
  Layer last;
  std::vector<double> decay;  // Empty: no modulation.
};

FilterMlp::Layer Widen(const LinearWeights& w) {
  FilterMlp::Layer layer;
  layer.in = w.in;
  layer.out = w.out;
  layer.weight.assign(w.weight, w.weight + w.in * w.out);
  if (w.bias != nullptr) layer.bias.assign(w.bias, w.bias + w.out);
  return layer;
}

FilterMlp MakeMlp(const HyenaConfig& config, const HyenaFilterWeights& w) {
  FilterMlp mlp;
  for (const LinearWeights& layer : w.hidden) {
    mlp.hidden.push_back(Widen(layer));
  }
  for (const float* frequency : w.frequencies) {
    mlp.frequencies.emplace_back(frequency, frequency + config.filter_width);
  }
  mlp.last = Widen(w.last);
  if (config.modulate) {
    for (size_t c = 0; c < config.filter_channels(); ++c) {
      mlp.decay.push_back(std::abs(static_cast<double>(w.deltas[c])));
    }
  }
  return mlp;
}

// Float64 panels of one worker, [rows][kPanel], and the taps made from them.
struct Scratch {
  FloatBuffer memory;
  double *a, *b, *g, *t;
  float* taps;  // [kPanel][D]
  float* z;     // [E], of one lag.
};

size_t HiddenRows(const HyenaConfig& config) {
  return std::max(config.features, config.filter_width);
}

size_t ScratchFloats(const HyenaConfig& config) {
  const size_t doubles =
      (2 * HiddenRows(config) + config.filter_channels() + 1) * kPanel;
  return 2 * doubles + kPanel * config.width + config.features;
}

StatusOr<Scratch> MakeScratch(const HyenaConfig& config) {
  Scratch scratch;
  LCSM_ASSIGN_OR_RETURN(
      scratch.memory,
      FloatBuffer::Allocate(ScratchFloats(config), "filter scratch"));
  const size_t panel = HiddenRows(config) * kPanel;
  scratch.a = reinterpret_cast<double*>(scratch.memory.data());
  scratch.b = scratch.a + panel;
  scratch.g = scratch.b + panel;
  scratch.t = scratch.g + config.filter_channels() * kPanel;
  scratch.taps = reinterpret_cast<float*>(scratch.t + kPanel);
  scratch.z = scratch.taps + kPanel * config.width;
  return scratch;
}

// Lags [first, first + count), count <= kPanel, into scratch.g. What stands in
// the other columns is finite and of no consequence. False if a position is not
// finite.
bool EvaluatePanel(const HyenaConfig& config, const HyenaFilterWeights& w,
                   const FilterMlp& mlp, size_t first, size_t count,
                   Scratch& scratch) {
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
  for (size_t i = 0; i < mlp.hidden.size(); ++i) {
    const FilterMlp::Layer& layer = mlp.hidden[i];
    dense.dense_f64(layer.weight.data(), layer.bias.data(), layer.in, layer.out,
                    scratch.a, scratch.b);
    for (size_t f = 0; f < layer.out; ++f) {
      pointwise.sine_f64(mlp.frequencies[i][f], kPanel, scratch.b + f * kPanel);
    }
    std::swap(scratch.a, scratch.b);
  }
  dense.dense_f64(mlp.last.weight.data(), nullptr, mlp.last.in, mlp.last.out,
                  scratch.a, scratch.g);
  for (size_t c = 0; c < mlp.decay.size(); ++c) {
    pointwise.window_f64(scratch.t, mlp.decay[c], config.shift, kPanel,
                         scratch.g + c * kPanel);
  }
  if (config.normalized) {
    for (size_t p = 0; p < count; ++p) {
      double norm = 0;
      for (size_t c = 0; c < mlp.last.out; ++c) {
        norm += std::abs(scratch.g[c * kPanel + p]);
      }
      for (size_t c = 0; c < mlp.last.out; ++c) {
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

// Rounds convolution o of a panel into scratch.taps; false if a tap is not
// finite.
bool RoundTaps(const HyenaConfig& config, const HyenaFilterWeights& w, size_t o,
               size_t first, size_t count, Scratch& scratch) {
  bool finite = true;
  for (size_t c = 0; c < config.width; ++c) {
    const size_t channel = FilterChannel(config, o, c);
    const double* const g = scratch.g + channel * kPanel;
    for (size_t p = 0; p < count; ++p) {
      const double skip = first + p == 0 ? w.skip[channel] : 0.0;
      const float tap = static_cast<float>(g[p] + skip);
      finite &= tap - tap == 0;
      scratch.taps[p * config.width + c] = tap;
    }
  }
  return finite;
}

}  // namespace

size_t HyenaFilterScratchBytes(const HyenaConfig& config, size_t threads) {
  return threads * ScratchFloats(config) * sizeof(float);
}

namespace {

StatusOr<std::vector<Scratch>> MakeScratches(const HyenaConfig& config,
                                             size_t threads) {
  std::vector<Scratch> scratch;
  for (size_t worker = 0; worker < threads; ++worker) {
    LCSM_ASSIGN_OR_RETURN(Scratch one, MakeScratch(config));
    scratch.push_back(std::move(one));
  }
  return scratch;
}

// Into mixers first_mixer + o of the bank.
Status EvaluateLayer(const HyenaWeights& weights, size_t layer,
                     size_t first_mixer, ThreadPool& pool,
                     const ModelState::Progress& progress,
                     std::vector<Scratch>& scratch, conv::FilterBank& bank) {
  const HyenaConfig& config = weights.config();
  const size_t lags = bank.taps();
  const size_t panels = (lags + kPanel - 1) / kPanel;
  const size_t slice = kPanelsPerSlice * pool.NumThreads();
  const HyenaFilterWeights& w = weights.layers()[layer].filter;
  const FilterMlp mlp = MakeMlp(config, w);
  std::atomic<bool> positions_finite{true}, taps_finite{true};
  for (size_t done = 0; done < panels; done += slice) {
    const size_t now = std::min(slice, panels - done);
    pool.ParallelFor(now, 1, [&](size_t begin, size_t end, size_t worker) {
      for (size_t panel = done + begin; panel < done + end; ++panel) {
        const size_t first = panel * kPanel;
        const size_t count = std::min(kPanel, lags - first);
        Scratch& mine = scratch[worker];
        if (!EvaluatePanel(config, w, mlp, first, count, mine)) {
          positions_finite = false;
          return;
        }
        for (size_t o = 0; o < config.convolutions(); ++o) {
          if (!RoundTaps(config, w, o, first, count, mine)) {
            taps_finite = false;
          }
          bank.SetTaps(first_mixer + o, first, count, mine.taps);
        }
      }
    });
    if (!positions_finite) {
      return InvalidInput(fmt::format(
          "{}: the filter positions (pos_emb.z or pos_emb.t) of layer {} "
          "hold NaN or infinity, expected finite numbers",
          weights.source().Name(), layer));
    }
    if (!taps_finite) {
      return InvalidInput(
          fmt::format("{}: the filter of layer {} is not finite when evaluated",
                      weights.source().Name(), layer));
    }
    if (progress && !progress(static_cast<double>(done + now) /
                              static_cast<double>(panels))) {
      return Cancelled("stopped while evaluating filters");
    }
  }
  return OkStatus();
}

}  // namespace

Status EvaluateHyenaFilters(const HyenaWeights& weights, ThreadPool& pool,
                            const ModelState::Progress& progress,
                            conv::FilterBank& bank) {
  const HyenaConfig& config = weights.config();
  LCSM_ASSIGN_OR_RETURN(std::vector<Scratch> scratch,
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
    LCSM_RETURN_IF_ERROR(EvaluateLayer(weights, layer,
                                       layer * config.convolutions(), pool,
                                       part, scratch, bank));
  }
  return OkStatus();
}

StatusOr<std::unique_ptr<conv::FilterBank>> MakeHyenaFilters(
    const HyenaWeights& weights, size_t taps, ThreadPool& pool,
    const ModelState::Progress& progress) {
  const HyenaConfig& config = weights.config();
  conv::Problem problem;
  problem.mixers = config.layers * config.convolutions();
  problem.channels = config.width;
  problem.length = problem.taps = taps;
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<conv::FilterBank> bank,
                        conv::FilterBank::Create(problem));
  LCSM_RETURN_IF_ERROR(EvaluateHyenaFilters(weights, pool, progress, *bank));
  return bank;
}

Status EvaluateHyenaLayerFilter(const HyenaWeights& weights, size_t layer,
                                ThreadPool& pool,
                                const ModelState::Progress& progress,
                                conv::FilterBank& bank) {
  LCSM_ASSIGN_OR_RETURN(std::vector<Scratch> scratch,
                        MakeScratches(weights.config(), pool.NumThreads()));
  LCSM_RETURN_IF_ERROR(
      EvaluateLayer(weights, layer, 0, pool, progress, scratch, bank));
  // 24 MB a layer of a million positions, which would all be kept to the end.
  const HyenaFilterWeights& filter = weights.layers()[layer].filter;
  const size_t lags = bank.taps();
  if (filter.z != nullptr) {
    weights.source().DropPages(filter.z, lags * weights.config().features);
  }
  if (filter.t != nullptr) weights.source().DropPages(filter.t, lags);
  return OkStatus();
}

Status EvaluateHyenaFilterRows(const HyenaConfig& config,
                               const HyenaFilterWeights& filter, size_t first,
                               size_t count, double* out) {
  const FilterMlp mlp = MakeMlp(config, filter);
  LCSM_ASSIGN_OR_RETURN(Scratch scratch, MakeScratch(config));
  const size_t channels = config.filter_channels();
  for (size_t done = 0; done < count; done += kPanel) {
    const size_t now = std::min(kPanel, count - done);
    if (!EvaluatePanel(config, filter, mlp, first + done, now, scratch)) {
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
