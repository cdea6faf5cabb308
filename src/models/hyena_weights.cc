#include "models/hyena_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <span>
#include <utility>

#include "kernels/dense.h"

namespace lcsm {
namespace {

// Of a million positions of eight layers, which no start should wait to read.
constexpr size_t kFingerprintPositions = 4096;

constexpr double kPi = 3.14159265358979323846;

}  // namespace

void LinearWeights::Apply(size_t row_begin, size_t row_end, const float* x,
                          size_t x_stride, size_t tokens, float* y,
                          size_t y_stride) const noexcept {
  const DenseKernels& kernels = GetDenseKernels();
  if (packed != nullptr) {
    kernels.dense_packed(*packed, bias, row_begin, row_end, x, x_stride, tokens,
                         y, y_stride);
  } else {
    kernels.dense(weight, bias, in, row_begin, row_end, x, x_stride, tokens, y,
                  y_stride);
  }
}

void HyenaWeights::Fingerprint(const std::string& name, const float* data,
                               size_t elements) {
  hasher_.Add(name);
  hasher_.AddNumber(elements);
  hasher_.Add(std::as_bytes(std::span(data, elements)));
}

StatusOr<const float*> HyenaWeights::Get(const std::string& name,
                                         const std::vector<size_t>& shape) {
  LCSM_ASSIGN_OR_RETURN(const float* const data,
                        source_->Get(name, shape, /*check_finite=*/true));
  size_t elements = 1;
  for (const size_t n : shape) elements *= n;
  parameters_ += elements;
  bytes_ += elements * sizeof(float);
  Fingerprint(name, data, elements);
  return data;
}

StatusOr<LinearWeights> HyenaWeights::GetLinear(const std::string& prefix,
                                                size_t in, size_t out,
                                                bool bias) {
  LinearWeights linear;
  linear.in = in;
  linear.out = out;
  LCSM_ASSIGN_OR_RETURN(linear.weight, Get(prefix + ".weight", {out, in}));
  if (bias) {
    LCSM_ASSIGN_OR_RETURN(linear.bias, Get(prefix + ".bias", {out}));
  }
  return linear;
}

StatusOr<LinearWeights> HyenaWeights::GetBlockLinear(const std::string& prefix,
                                                     size_t in, size_t out) {
  LCSM_ASSIGN_OR_RETURN(LinearWeights linear, GetLinear(prefix, in, out, true));
  const size_t float_bytes = in * out * sizeof(float);
  if (format_ == WeightFormat::kFloat32) {
    step_bytes_ += float_bytes;
    return linear;
  }
  LCSM_ASSIGN_OR_RETURN(PackedMatrix packed,
                        PackedMatrix::Pack(format_, linear.weight, in, out));
  source_->Release(linear.weight, in * out);
  bytes_ -= float_bytes;
  bytes_ += packed.bytes();
  step_bytes_ += packed.bytes();
  linear.weight = nullptr;
  linear.packed = std::make_shared<const PackedMatrix>(std::move(packed));
  return linear;
}

StatusOr<NormWeights> HyenaWeights::GetNorm(const std::string& prefix) {
  NormWeights norm;
  LCSM_ASSIGN_OR_RETURN(norm.weight, Get(prefix + ".weight", {config_.width}));
  LCSM_ASSIGN_OR_RETURN(norm.bias, Get(prefix + ".bias", {config_.width}));
  return norm;
}

StatusOr<std::shared_ptr<const HyenaWeights>> HyenaWeights::Bind(
    const HyenaConfig& config, std::unique_ptr<TensorSource> source,
    WeightFormat format) {
  std::shared_ptr<HyenaWeights> weights(new HyenaWeights);
  weights->config_ = config;
  weights->format_ = format;
  weights->source_ = std::move(source);
  const size_t width = config.width;
  // What else the function depends on; the shapes come with the tensors.
  for (const size_t number : {config.vocab, config.order, config.max_length,
                              static_cast<size_t>(config.modulate),
                              static_cast<size_t>(config.normalized),
                              static_cast<size_t>(config.layout)}) {
    weights->hasher_.AddNumber(number);
  }
  for (const double number :
       {config.shift, config.block_norm_eps, config.final_norm_eps}) {
    weights->hasher_.AddNumber(std::bit_cast<uint64_t>(number));
  }
  LCSM_ASSIGN_OR_RETURN(
      weights->embedding_,
      weights->Get("backbone.embeddings.word_embeddings.weight",
                   {config.padded_vocab, width}));
  for (size_t layer = 0; layer < config.layers; ++layer) {
    weights->layers_.emplace_back();
    LCSM_RETURN_IF_ERROR(weights->BindLayer(layer));
  }
  LCSM_ASSIGN_OR_RETURN(weights->final_norm_,
                        weights->GetNorm("backbone.ln_f"));
  if (weights->source_->Has("lm_head.weight")) {
    LCSM_ASSIGN_OR_RETURN(
        weights->head_,
        weights->GetLinear("lm_head", width, config.padded_vocab, false));
  } else {
    weights->head_.weight = weights->embedding_;
    weights->head_.in = width;
    weights->head_.out = config.padded_vocab;
  }
  weights->hash_ = weights->hasher_.Hex();
  weights->step_bytes_ += config.padded_vocab * width * sizeof(float);
  return std::shared_ptr<const HyenaWeights>(std::move(weights));
}

Status HyenaWeights::BindLayer(size_t layer) {
  const size_t width = config_.width;
  const size_t streams = (config_.order + 1) * width;
  const std::string prefix = fmt::format("backbone.layers.{}.", layer);
  const std::string mixer = prefix + "mixer.";
  HyenaLayerWeights& w = layers_.back();
  if (source_->Has(mixer + "Wqkv.weight")) {
    return Unsupported(fmt::format(
        "{}: layer {} is an attention layer, which is not supported",
        source_->Name(), layer));
  }
  LCSM_ASSIGN_OR_RETURN(w.norm1, GetNorm(prefix + "norm1"));
  LCSM_ASSIGN_OR_RETURN(w.in_proj,
                        GetBlockLinear(mixer + "in_proj", width, streams));
  LCSM_ASSIGN_OR_RETURN(
      const float* const fir,
      Get(mixer + "short_filter.weight", {streams, 1, config_.fir_taps}));
  LCSM_ASSIGN_OR_RETURN(const float* const fir_bias,
                        Get(mixer + "short_filter.bias", {streams}));
  LCSM_ASSIGN_OR_RETURN(
      w.short_fir, ShortFir::Create(fir, fir_bias, streams, config_.fir_taps));
  bytes_ += w.short_fir.bytes();
  LCSM_RETURN_IF_ERROR(BindFilter(mixer + "filter_fn.", &w.filter));
  LCSM_ASSIGN_OR_RETURN(w.out_proj,
                        GetBlockLinear(mixer + "out_proj", width, width));
  LCSM_ASSIGN_OR_RETURN(w.norm2, GetNorm(prefix + "norm2"));
  LCSM_ASSIGN_OR_RETURN(
      w.fc1, GetBlockLinear(prefix + "mlp.fc1", width, config_.inner));
  LCSM_ASSIGN_OR_RETURN(
      w.fc2, GetBlockLinear(prefix + "mlp.fc2", config_.inner, width));
  return OkStatus();
}

Status HyenaWeights::BindFilter(const std::string& prefix,
                                HyenaFilterWeights* filter) {
  const size_t hidden = config_.filter_width;
  const std::string mlp = prefix + "implicit_filter.";
  for (size_t i = 0; i <= config_.filter_inner_layers; ++i) {
    LCSM_ASSIGN_OR_RETURN(
        LinearWeights linear,
        GetLinear(mlp + std::to_string(2 * i),
                  i == 0 ? config_.features : hidden, hidden, true));
    filter->hidden.push_back(linear);
    // One module is used for all sines; some files list it once, some under
    // each of its names.
    const std::string freq = fmt::format("{}{}.freq", mlp, 2 * i + 1);
    if (i > 0 && !source_->Has(freq)) {
      filter->frequencies.push_back(filter->frequencies.front());
      continue;
    }
    const size_t parameters = parameters_;
    LCSM_ASSIGN_OR_RETURN(const float* const frequency, Get(freq, {1, hidden}));
    if (i > 0) parameters_ = parameters;  // Shared: counted once.
    filter->frequencies.push_back(frequency);
  }
  LCSM_ASSIGN_OR_RETURN(
      filter->last,
      GetLinear(mlp + std::to_string(2 * config_.filter_inner_layers + 2),
                hidden, config_.filter_channels(), false));
  LCSM_ASSIGN_OR_RETURN(filter->skip,
                        Get(prefix + "bias", {config_.filter_channels()}));
  LCSM_RETURN_IF_ERROR(BindPositions(prefix, filter));
  if (config_.modulate) LCSM_RETURN_IF_ERROR(BindDeltas(prefix, filter));
  return OkStatus();
}

Status HyenaWeights::BindPositions(const std::string& prefix,
                                   HyenaFilterWeights* filter) {
  const size_t length = config_.max_length, features = config_.features;
  if (source_->Has(prefix + "pos_emb.z")) {
    LCSM_ASSIGN_OR_RETURN(
        filter->z, source_->Get(prefix + "pos_emb.z", {1, length, features},
                                /*check_finite=*/false));
    Fingerprint(prefix + "pos_emb.z", filter->z,
                std::min(length, kFingerprintPositions) * features);
  }
  if (source_->Has(prefix + "pos_emb.t")) {
    LCSM_ASSIGN_OR_RETURN(filter->t,
                          source_->Get(prefix + "pos_emb.t", {1, length, 1},
                                       /*check_finite=*/false));
    Fingerprint(prefix + "pos_emb.t", filter->t,
                std::min(length, kFingerprintPositions));
  }
  return OkStatus();
}

Status HyenaWeights::BindDeltas(const std::string& prefix,
                                HyenaFilterWeights* filter) {
  const size_t channels = config_.filter_channels();
  const std::string name = prefix + "modulation.deltas";
  if (source_->Has(name)) {
    const size_t parameters = parameters_;
    LCSM_ASSIGN_OR_RETURN(filter->deltas, Get(name, {1, 1, channels}));
    parameters_ = parameters;  // A constant, not trained.
    return OkStatus();
  }
  if (deltas_.size() == 0) {
    LCSM_ASSIGN_OR_RETURN(deltas_,
                          FloatBuffer::Allocate(channels, "filter decays"));
    const double slow = std::log(0.01) / 1.5, fast = std::log(0.01) / 0.3;
    for (size_t c = 0; c < channels; ++c) {
      const double share =
          channels == 1
              ? 0
              : static_cast<double>(c) / static_cast<double>(channels - 1);
      deltas_.data()[c] = static_cast<float>(slow + (fast - slow) * share);
    }
  }
  filter->deltas = deltas_.data();
  return OkStatus();
}

size_t HyenaWeights::PositionBytes(size_t positions) const {
  // Computed ones are made a panel at a time. Stored float32 is mapped, and
  // only what a horizon reads comes into memory.
  size_t floats = 0;
  for (const HyenaLayerWeights& layer : layers_) {
    if (layer.filter.z != nullptr) floats += positions * config_.features;
    if (layer.filter.t != nullptr) floats += positions;
  }
  return floats * sizeof(float);
}

}  // namespace lcsm
