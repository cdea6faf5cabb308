#include "cuda/hyena_device_filters.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/lanes.h"
#include "models/hyena_filter.h"
#include "models/hyena_positions.h"

namespace lcsm::cuda {
namespace {

// Lags of a panel: 128 blocks of threads for a hidden layer of 64 rows, one a
// multiprocessor of the largest devices; panels of 64 and 256 rows are then 50
// MB and pass through L2. Wider networks have fewer, by the bytes.
constexpr size_t kPanelLags = 16384;
constexpr size_t kPanelBytes = 64 << 20;
constexpr size_t kFewestLags =
    FilterLinearKernel::kSide * FilterLinearKernel::kLags;

// Where the parts of a layer's network stand, in doubles. All begin at a
// multiple of kFilterRows.
struct Linear {
  size_t in = 0, out = 0;
  size_t weights = 0, bias = 0, frequencies = 0;
};
struct Network {
  std::vector<Linear> hidden;
  Linear last;
  size_t decays = 0, skips = 0;
  size_t size = 0;  // Of a layer.
};

size_t Padded(size_t rows) { return CeilDiv(rows, kFilterRows) * kFilterRows; }

// Rows of the last layer. A norm goes over all channels.
size_t LastRows(const HyenaConfig& config, const DeviceFilterPart& part) {
  return config.convolutions() *
         (config.normalized ? config.width : part.channels);
}

// What row o * channels + c of the last layer computes; all rows in the
// checkpoint's order where they are normalised.
size_t ChannelOfRow(const HyenaConfig& config, const DeviceFilterPart& part,
                    size_t row) {
  if (config.normalized) return row;
  const size_t o = row / part.channels;
  const size_t c = part.first_channel + row % part.channels;
  return config.layout == FilterLayout::kOrderSlowest
             ? o * config.width + c
             : c * config.convolutions() + o;
}

Network NetworkOf(const HyenaConfig& config, const DeviceFilterPart& part) {
  Network network;
  const auto take = [&](size_t doubles) {
    return std::exchange(network.size, network.size + doubles);
  };
  const auto linear = [&](size_t in, size_t out) {
    Linear one = {in, out, 0, 0, 0};
    one.weights = take(Padded(out) * in);
    return one;
  };
  for (size_t i = 0; i <= config.filter_inner_layers; ++i) {
    Linear one = linear(i == 0 ? config.features : config.filter_width,
                        config.filter_width);
    one.bias = take(Padded(one.out));
    one.frequencies = take(Padded(one.out));
    network.hidden.push_back(one);
  }
  network.last = linear(config.filter_width, LastRows(config, part));
  network.decays = take(Padded(network.last.out));
  network.skips = take(Padded(network.last.out));
  return network;
}

// Rows of the largest input or output of a hidden layer.
size_t HiddenRows(const HyenaConfig& config) {
  return std::max(config.features, config.filter_width);
}

size_t PanelRows(const HyenaConfig& config, const DeviceFilterPart& part) {
  return 2 * HiddenRows(config) + LastRows(config, part) +
         (config.normalized ? 1 : 0);
}

size_t PanelLags(const HyenaConfig& config, const DeviceFilterPart& part) {
  if (part.panel != 0) return std::min(part.panel, part.lags);
  const size_t fit = kPanelBytes / (PanelRows(config, part) * sizeof(double));
  return std::min(
      std::clamp(fit / kFewestLags * kFewestLags, kFewestLags, kPanelLags),
      part.lags);
}

// Positions of a panel: z, then t.
size_t PositionFloats(const HyenaConfig& config, size_t lags) {
  return lags * (config.features + 1);
}

// One layer's network as the kernels want it.
std::vector<double> Pack(const HyenaConfig& config,
                         const DeviceFilterPart& part, const Network& network,
                         const HyenaFilterWeights& w) {
  std::vector<double> packed(network.size, 0.0);
  const auto put = [&](const Linear& linear, size_t row, const float* from) {
    double* const to = packed.data() + linear.weights +
                       row / kFilterRows * linear.in * kFilterRows +
                       row % kFilterRows;
    for (size_t k = 0; k < linear.in; ++k) to[k * kFilterRows] = from[k];
  };
  for (size_t i = 0; i < network.hidden.size(); ++i) {
    const Linear& linear = network.hidden[i];
    for (size_t row = 0; row < linear.out; ++row) {
      put(linear, row, w.hidden[i].weight + row * linear.in);
    }
    std::copy_n(w.hidden[i].bias, linear.out, packed.data() + linear.bias);
    std::copy_n(w.frequencies[i], linear.out,
                packed.data() + linear.frequencies);
  }
  for (size_t row = 0; row < network.last.out; ++row) {
    const size_t channel = ChannelOfRow(config, part, row);
    put(network.last, row, w.last.weight + channel * network.last.in);
    if (config.modulate) {
      packed[network.decays + row] =
          std::abs(static_cast<double>(w.deltas[channel]));
    }
    packed[network.skips + row] = w.skip[channel];
  }
  return packed;
}

class Evaluation {
 public:
  Evaluation(const HyenaWeights& weights, const DeviceFilterPart& part,
             ThreadPool& pool)
      : weights_(weights),
        config_(weights.config()),
        part_(part),
        pool_(pool),
        network_(NetworkOf(config_, part)),
        panel_(PanelLags(config_, part)) {}

  Status Allocate(const std::shared_ptr<Device>& device);
  Status Run(const ModelState::Progress& progress, float* taps);

 private:
  const HyenaFilterWeights& LayerWeights(size_t layer) const {
    return weights_.layers()[part_.first_layer + layer].filter;
  }
  bool Computes(size_t layer) const {
    const HyenaFilterWeights& w = LayerWeights(layer);
    return w.z == nullptr || w.t == nullptr;
  }
  void ComputePositions(size_t first, size_t count);
  void GatherPositions(size_t layer, size_t first, size_t count, float* to);
  void Enqueue(size_t layer, size_t first, size_t count, const float* positions,
               float* taps) noexcept;
  Status CheckFlags();

  const HyenaWeights& weights_;
  const HyenaConfig& config_;
  const DeviceFilterPart part_;
  ThreadPool& pool_;
  const Network network_;
  const size_t panel_;
  std::shared_ptr<Device> device_;
  Array<double> networks_;  // [layer][network_.size]
  Array<double> a_, b_, g_, norms_;
  Array<float> positions_;
  Array<FilterFlags> flags_;     // Of each layer.
  std::vector<float> computed_;  // Positions of the panel, where none are kept.
  HostMemory staged_;            // Positions of two panels.
  std::unique_ptr<Queue> queue_;  // Goes first, and waits.
};

Status Evaluation::Allocate(const std::shared_ptr<Device>& device) {
  device_ = device;
  LCSM_ASSIGN_OR_RETURN(queue_, device->NewQueue(false));
  const char* const what = "what filters are evaluated in";
  const size_t layers = part_.layers, hidden = HiddenRows(config_) * panel_;
  LCSM_ASSIGN_OR_RETURN(networks_,
                        device->NewArray<double>(layers * network_.size, what));
  LCSM_ASSIGN_OR_RETURN(a_, device->NewArray<double>(hidden, what));
  LCSM_ASSIGN_OR_RETURN(b_, device->NewArray<double>(hidden, what));
  LCSM_ASSIGN_OR_RETURN(
      g_, device->NewArray<double>(network_.last.out * panel_, what));
  LCSM_ASSIGN_OR_RETURN(
      norms_, device->NewArray<double>(config_.normalized ? panel_ : 0, what));
  const size_t floats = PositionFloats(config_, panel_);
  LCSM_ASSIGN_OR_RETURN(positions_, device->NewArray<float>(floats, what));
  LCSM_ASSIGN_OR_RETURN(flags_, device->NewZeros<FilterFlags>(layers, what));
  LCSM_ASSIGN_OR_RETURN(staged_,
                        device->AllocateHost(2 * floats * sizeof(float)));
  bool computes = false;
  for (size_t layer = 0; layer < layers; ++layer) {
    computes |= Computes(layer);
    const std::vector<double> packed =
        Pack(config_, part_, network_, LayerWeights(layer));
    LCSM_RETURN_IF_ERROR(
        device->Upload(networks_.data() + layer * network_.size, packed.data(),
                       packed.size() * sizeof(double)));
  }
  if (computes) computed_.resize(floats);
  return OkStatus();
}

// The same for all layers that have none in the file.
void Evaluation::ComputePositions(size_t first, size_t count) {
  if (computed_.empty()) return;
  constexpr size_t kLeast = 256;  // Some 20 microseconds.
  pool_.ParallelFor(count, kLeast, [&](size_t begin, size_t end, size_t) {
    for (size_t n = begin; n < end; ++n) {
      ComputePosition(config_, first + n,
                      computed_.data() + n * config_.features,
                      computed_.data() + count * config_.features + n);
    }
  });
}

void Evaluation::GatherPositions(size_t layer, size_t first, size_t count,
                                 float* to) {
  const HyenaFilterWeights& w = LayerWeights(layer);
  const size_t features = config_.features;
  std::copy_n(w.z != nullptr ? w.z + first * features : computed_.data(),
              count * features, to);
  std::copy_n(
      w.t != nullptr ? w.t + first : computed_.data() + count * features, count,
      to + count * features);
}

void Evaluation::Enqueue(size_t layer, size_t first, size_t count,
                         const float* positions, float* taps) noexcept {
  const auto lags = static_cast<uint32_t>(count);
  const auto stride = static_cast<uint32_t>(panel_);
  const double* const network = networks_.data() + layer * network_.size;
  FilterFlags* const flags = flags_.data() + layer;
  queue_->CopyIn(positions_.data(), positions,
                 PositionFloats(config_, count) * sizeof(float));
  const float* const t = positions_.data() + count * config_.features;
  const double* x = a_.data();
  queue_->Launch<FilterPositionsKernel>(
      {.z = positions_.data(),
       .t = t,
       .x = a_.data(),
       .features = static_cast<uint32_t>(config_.features),
       .stride = stride,
       .count = lags,
       .flags = flags});
  const auto work_of = [&](const Linear& linear) {
    FilterLinearKernel::Args args;
    args.x = x;
    args.weights =
        reinterpret_cast<const FilterWeights*>(network + linear.weights);
    args.rows = static_cast<uint32_t>(linear.out);
    args.inputs = static_cast<uint32_t>(linear.in);
    args.stride = stride;
    args.count = lags;
    return args;
  };
  for (const Linear& linear : network_.hidden) {
    FilterLinearKernel::Args args = work_of(linear);
    args.y = x == a_.data() ? b_.data() : a_.data();
    args.bias = network + linear.bias;
    args.frequencies = network + linear.frequencies;
    queue_->Launch<FilterLinearKernel>(args);
    x = args.y;
  }
  FilterLinearKernel::Args last = work_of(network_.last);
  last.y = g_.data();
  last.decays = config_.modulate ? network + network_.decays : nullptr;
  last.t = t;
  last.shift = config_.shift;
  queue_->Launch<FilterLinearKernel>(last);
  FilterTapsKernel::Args out;
  out.g = g_.data();
  out.stride = stride;
  if (config_.normalized) {
    queue_->Launch<FilterNormKernel>({.g = g_.data(),
                                      .norms = norms_.data(),
                                      .rows = last.rows,
                                      .stride = stride,
                                      .count = lags});
    out.norms = norms_.data();
  }
  const size_t convolutions = config_.convolutions();
  const bool fastest =
      config_.normalized && config_.layout == FilterLayout::kOrderFastest;
  const size_t rows_a_channel = fastest ? convolutions : 1;
  out.rows_a_channel = static_cast<uint32_t>(rows_a_channel);
  out.rows_a_convolution =
      static_cast<uint32_t>(fastest ? 1 : network_.last.out / convolutions);
  out.first_row = static_cast<uint32_t>(
      config_.normalized ? part_.first_channel * rows_a_channel : 0);
  out.skips = network + network_.skips;
  out.first = first;
  out.count = lags;
  out.convolutions = static_cast<uint32_t>(convolutions);
  out.channels = static_cast<uint32_t>(part_.channels);
  out.groups = static_cast<uint32_t>(GroupsFor(part_.channels));
  out.num_taps = part_.lags;
  out.taps = taps + layer * convolutions * out.groups * part_.lags * kLanes;
  out.flags = flags;
  queue_->Launch<FilterTapsKernel>(out);
}

Status Evaluation::CheckFlags() {
  std::vector<FilterFlags> flags(part_.layers);
  LCSM_RETURN_IF_ERROR(
      device_->Download(flags.data(), flags_.data(), flags_.bytes()));
  for (size_t layer = 0; layer < flags.size(); ++layer) {
    const size_t named = part_.first_layer + layer;
    if (flags[layer].positions_not_finite != 0) {
      return HyenaPositionsNotFinite(weights_, named);
    }
    if (flags[layer].taps_not_finite != 0) {
      return HyenaFilterNotFinite(weights_, named);
    }
  }
  return OkStatus();
}

Status Evaluation::Run(const ModelState::Progress& progress, float* taps) {
  const auto go_on = [&](size_t lags) {
    return !progress || progress(static_cast<double>(lags) /
                                 static_cast<double>(part_.lags));
  };
  size_t turn = 0;
  for (size_t first = 0; first < part_.lags; first += panel_) {
    if (!go_on(first)) return Cancelled("stopped while evaluating filters");
    const size_t count = std::min(panel_, part_.lags - first);
    ComputePositions(first, count);
    for (size_t layer = 0; layer < part_.layers; ++layer, ++turn) {
      // The device has done what came two turns ago, and has the last one
      // before it.
      float* const staged =
          staged_.as<float>() + turn % 2 * PositionFloats(config_, panel_);
      GatherPositions(layer, first, count, staged);
      Enqueue(layer, first, count, staged, taps);
      if (turn != 0) LCSM_RETURN_IF_ERROR(queue_->WaitForMark());
      queue_->Mark();
    }
  }
  LCSM_RETURN_IF_ERROR(queue_->Wait());
  LCSM_RETURN_IF_ERROR(CheckFlags());
  return go_on(part_.lags) ? OkStatus()
                           : Cancelled("stopped while evaluating filters");
}

}  // namespace

size_t DeviceTapsSize(const HyenaConfig& config, const DeviceFilterPart& part) {
  return part.layers * config.convolutions() * GroupsFor(part.channels) *
         part.lags * kLanes;
}

size_t DeviceFilterBytes(const HyenaConfig& config,
                         const DeviceFilterPart& part) {
  const size_t panel = PanelLags(config, part);
  return (part.layers * NetworkOf(config, part).size +
          PanelRows(config, part) * panel) *
             sizeof(double) +
         PositionFloats(config, panel) * sizeof(float) +
         part.layers * sizeof(FilterFlags);
}

size_t DeviceFilterHostBytes(const HyenaConfig& config,
                             const DeviceFilterPart& part) {
  return NetworkOf(config, part).size * sizeof(double) +
         3 * PositionFloats(config, PanelLags(config, part)) * sizeof(float);
}

StatusOr<Array<float>> MakeDeviceTaps(const std::shared_ptr<Device>& device,
                                      const HyenaWeights& weights,
                                      const DeviceFilterPart& part,
                                      ThreadPool& pool,
                                      const ModelState::Progress& progress) {
  LCSM_ASSIGN_OR_RETURN(
      Array<float> taps,
      device->NewArray<float>(DeviceTapsSize(weights.config(), part),
                              "the filters' taps"));
  Evaluation evaluation(weights, part, pool);
  LCSM_RETURN_IF_ERROR(evaluation.Allocate(device));
  LCSM_RETURN_IF_ERROR(evaluation.Run(progress, taps.data()));
  return taps;
}

}  // namespace lcsm::cuda
