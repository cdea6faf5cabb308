#include "cuda/hyena_device_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <utility>

namespace lcsm::cuda {
namespace {

// Exact where the weights were rounded to as many bits before.
Bfloat16 Upper(float value) {
  return {static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16)};
}

// Bytes of shared memory that a block of a step's largest product wants: what
// it multiplies lies there whole.
size_t StepSharedBytes(const HyenaConfig& config, const Share& share) {
  using Kernel = LinearKernel<float, 1>;
  const float norm = 0;  // Not read: that there is one is what counts.
  LinearWork narrow;
  narrow.in = static_cast<uint32_t>(config.width);
  narrow.rounds = static_cast<uint32_t>(config.order + 1);
  narrow.norm_weight = &norm;
  LinearWork wide;
  wide.in = static_cast<uint32_t>(share.inner);
  return sizeof(float) *
         std::max(Kernel::SharedFloats(narrow), Kernel::SharedFloats(wide));
}

}  // namespace

StatusOr<Array<float>> HyenaDeviceWeights::Bring(const float* values,
                                                 size_t count) {
  bytes_ += count * sizeof(float);
  return device_->Bring<float>(std::span(values, count), "weights");
}

StatusOr<DeviceNorm> HyenaDeviceWeights::BringNorm(const NormWeights& norm) {
  DeviceNorm out;
  LCSM_ASSIGN_OR_RETURN(out.weight, Bring(norm.weight, config().width));
  LCSM_ASSIGN_OR_RETURN(out.bias, Bring(norm.bias, config().width));
  return out;
}

StatusOr<Array<float>> HyenaDeviceWeights::BringRows(const float* values,
                                                     const Cut& cut,
                                                     size_t lines,
                                                     size_t line_floats) {
  if (cut.all() == line_floats) return Bring(values, lines * line_floats);
  std::vector<float> part(lines * cut.all());
  for (size_t line = 0; line < lines; ++line) {
    for (size_t r = 0; r < cut.all(); ++r) {
      part[line * cut.all() + r] = values[line * line_floats + cut.RowAt(r)];
    }
  }
  return Bring(part.data(), part.size());
}

StatusOr<DeviceLinear> HyenaDeviceWeights::BringLinear(
    const LinearWeights& linear, const Cut& cut, bool with_bias) {
  DeviceLinear out;
  out.in = cut.columns;
  out.out = cut.all();
  if (linear.packed != nullptr) {
    std::vector<Bfloat16> halves(out.in * out.out);
    std::vector<float> row(linear.in);
    for (size_t r = 0; r < out.out; ++r) {
      linear.packed->UnpackRow(cut.RowAt(r), row.data());
      for (size_t i = 0; i < out.in; ++i) {
        halves[r * out.in + i] = Upper(row[cut.first_column + i]);
      }
    }
    bytes_ += halves.size() * sizeof(Bfloat16);
    LCSM_ASSIGN_OR_RETURN(out.halves,
                          device_->Bring<Bfloat16>(halves, "weights"));
  } else if (out.in == linear.in && out.out == linear.out) {
    LCSM_ASSIGN_OR_RETURN(out.floats, Bring(linear.weight, out.in * out.out));
  } else {
    std::vector<float> part(out.in * out.out);
    for (size_t r = 0; r < out.out; ++r) {
      std::copy_n(linear.weight + cut.RowAt(r) * linear.in + cut.first_column,
                  out.in, part.data() + r * out.in);
    }
    LCSM_ASSIGN_OR_RETURN(out.floats, Bring(part.data(), part.size()));
  }
  if (linear.bias != nullptr && with_bias) {
    LCSM_ASSIGN_OR_RETURN(out.bias, BringRows(linear.bias, cut, 1, linear.out));
  }
  return out;
}

StatusOr<DeviceLayer> HyenaDeviceWeights::BringLayer(
    const HyenaLayerWeights& layer) {
  const size_t width = config().width;
  const Cut streams = {config().order + 1, width, share_.first_channel,
                       share_.channels,    0,     width};
  const Cut mixed = {1, width, 0, width, share_.first_channel, share_.channels};
  const Cut up = {1, config().inner, share_.first_inner, share_.inner,
                  0, width};
  const Cut down = {1, width, 0, width, share_.first_inner, share_.inner};
  DeviceLayer out;
  LCSM_ASSIGN_OR_RETURN(out.norm1, BringNorm(layer.norm1));
  LCSM_ASSIGN_OR_RETURN(out.norm2, BringNorm(layer.norm2));
  LCSM_ASSIGN_OR_RETURN(out.in_proj, BringLinear(layer.in_proj, streams, true));
  LCSM_ASSIGN_OR_RETURN(out.out_proj,
                        BringLinear(layer.out_proj, mixed, share_.leads));
  LCSM_ASSIGN_OR_RETURN(out.fc1, BringLinear(layer.fc1, up, true));
  LCSM_ASSIGN_OR_RETURN(out.fc2, BringLinear(layer.fc2, down, share_.leads));
  const ShortFir& fir = layer.short_fir;
  LCSM_ASSIGN_OR_RETURN(
      out.fir, BringRows(fir.weights(), streams, fir.taps(), fir.channels()));
  LCSM_ASSIGN_OR_RETURN(out.fir_bias,
                        BringRows(fir.bias(), streams, 1, fir.channels()));
  return out;
}

size_t HyenaDeviceWeights::MatrixBytes(const HyenaWeights& weights,
                                       const Share& share) {
  const HyenaConfig& config = weights.config();
  const size_t rows =
      (config.order + 1) * share.channels + share.channels + 2 * share.inner;
  const size_t element = weights.format() == WeightFormat::kFloat32
                             ? sizeof(float)
                             : sizeof(Bfloat16);
  const size_t tables = !share.leads ? 0 : weights.tied_head() ? 1 : 2;
  return config.layers * rows * config.width * element +
         tables * config.padded_vocab * config.width * sizeof(float);
}

StatusOr<std::shared_ptr<const HyenaDeviceWeights>> HyenaDeviceWeights::Create(
    std::shared_ptr<Device> device, std::shared_ptr<const HyenaWeights> weights,
    const Share& share) {
  const HyenaConfig& config = weights->config();
  if (weights->format() == WeightFormat::kInt8) {
    return Unsupported(
        fmt::format("{} takes weights as f32 or bf16, and int8 was asked for",
                    device->info().label));
  }
  if (config.order + 1 > LinearKernel<float, 1>::kMaxStreams) {
    return Unsupported(
        fmt::format("{} runs Hyena models of orders up to {}, and this one "
                    "has order {}",
                    device->info().label,
                    LinearKernel<float, 1>::kMaxStreams - 1, config.order));
  }
  if (StepSharedBytes(config, share) > device->info().shared_bytes) {
    return Unsupported(fmt::format(
        "{} ({}) has {} KiB of shared memory a block, and steps of this model, "
        "with a width of {} and an inner one of {}, want {}",
        device->info().label, device->info().name,
        device->info().shared_bytes >> 10, config.width, share.inner,
        CeilDiv(StepSharedBytes(config, share), 1024)));
  }
  LCSM_ASSIGN_OR_RETURN(const size_t left, device->FreeBytes());
  const size_t wanted = MatrixBytes(*weights, share);
  if (wanted > left) {
    return ResourceExhausted(fmt::format(
        "the weights take {:.2f} GiB, and {} ({}) has {:.2f} of {:.2f} GiB "
        "free",
        static_cast<double>(wanted) / 0x1p30, device->info().label,
        device->info().name, static_cast<double>(left) / 0x1p30,
        static_cast<double>(device->info().memory_bytes) / 0x1p30));
  }
  std::shared_ptr<HyenaDeviceWeights> out(new HyenaDeviceWeights);
  out->device_ = std::move(device);
  out->host_ = std::move(weights);
  out->share_ = share;
  const HyenaWeights& host = *out->host_;
  const size_t embedding = config.padded_vocab * config.width;
  if (share.leads) {
    LCSM_ASSIGN_OR_RETURN(out->embedding_,
                          out->Bring(host.embedding(), embedding));
    LCSM_ASSIGN_OR_RETURN(out->final_norm_, out->BringNorm(host.final_norm()));
  }
  if (share.leads && !host.tied_head()) {
    LCSM_ASSIGN_OR_RETURN(out->head_,
                          out->Bring(host.head().weight, embedding));
  }
  for (const HyenaLayerWeights& layer : host.layers()) {
    LCSM_ASSIGN_OR_RETURN(DeviceLayer brought, out->BringLayer(layer));
    out->layers_.push_back(std::move(brought));
  }
  return std::shared_ptr<const HyenaDeviceWeights>(std::move(out));
}

}  // namespace lcsm::cuda
