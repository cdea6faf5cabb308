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
size_t StepSharedBytes(const HyenaConfig& config) {
  using Kernel = LinearKernel<float, 1>;
  const float norm = 0;  // Not read: that there is one is what counts.
  LinearWork narrow;
  narrow.in = static_cast<uint32_t>(config.width);
  narrow.rounds = static_cast<uint32_t>(config.order + 1);
  narrow.norm_weight = &norm;
  LinearWork wide;
  wide.in = static_cast<uint32_t>(config.inner);
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

StatusOr<DeviceLinear> HyenaDeviceWeights::BringLinear(
    const LinearWeights& linear) {
  DeviceLinear out;
  out.in = linear.in;
  out.out = linear.out;
  if (linear.packed == nullptr) {
    LCSM_ASSIGN_OR_RETURN(out.floats,
                          Bring(linear.weight, linear.in * linear.out));
  } else {
    std::vector<Bfloat16> halves(linear.in * linear.out);
    std::vector<float> row(linear.in);
    for (size_t r = 0; r < linear.out; ++r) {
      linear.packed->UnpackRow(r, row.data());
      for (size_t i = 0; i < linear.in; ++i) {
        halves[r * linear.in + i] = Upper(row[i]);
      }
    }
    bytes_ += halves.size() * sizeof(Bfloat16);
    LCSM_ASSIGN_OR_RETURN(out.halves,
                          device_->Bring<Bfloat16>(halves, "weights"));
  }
  if (linear.bias != nullptr) {
    LCSM_ASSIGN_OR_RETURN(out.bias, Bring(linear.bias, linear.out));
  }
  return out;
}

StatusOr<DeviceLayer> HyenaDeviceWeights::BringLayer(
    const HyenaLayerWeights& layer) {
  DeviceLayer out;
  LCSM_ASSIGN_OR_RETURN(out.norm1, BringNorm(layer.norm1));
  LCSM_ASSIGN_OR_RETURN(out.norm2, BringNorm(layer.norm2));
  LCSM_ASSIGN_OR_RETURN(out.in_proj, BringLinear(layer.in_proj));
  LCSM_ASSIGN_OR_RETURN(out.out_proj, BringLinear(layer.out_proj));
  LCSM_ASSIGN_OR_RETURN(out.fc1, BringLinear(layer.fc1));
  LCSM_ASSIGN_OR_RETURN(out.fc2, BringLinear(layer.fc2));
  const ShortFir& fir = layer.short_fir;
  LCSM_ASSIGN_OR_RETURN(out.fir,
                        Bring(fir.weights(), fir.taps() * fir.channels()));
  LCSM_ASSIGN_OR_RETURN(out.fir_bias, Bring(fir.bias(), fir.channels()));
  return out;
}

StatusOr<std::shared_ptr<const HyenaDeviceWeights>> HyenaDeviceWeights::Create(
    std::shared_ptr<Device> device,
    std::shared_ptr<const HyenaWeights> weights) {
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
  if (StepSharedBytes(config) > device->info().shared_bytes) {
    return Unsupported(fmt::format(
        "{} ({}) has {} KiB of shared memory a block, and steps of this model, "
        "with a width of {} and an inner one of {}, want {}",
        device->info().label, device->info().name,
        device->info().shared_bytes >> 10, config.width, config.inner,
        CeilDiv(StepSharedBytes(config), 1024)));
  }
  LCSM_ASSIGN_OR_RETURN(const size_t left, device->FreeBytes());
  if (weights->step_bytes() > left) {
    return ResourceExhausted(fmt::format(
        "the weights take {:.2f} GiB, and {} ({}) has {:.2f} of {:.2f} GiB "
        "free",
        static_cast<double>(weights->step_bytes()) / 0x1p30,
        device->info().label, device->info().name,
        static_cast<double>(left) / 0x1p30,
        static_cast<double>(device->info().memory_bytes) / 0x1p30));
  }
  std::shared_ptr<HyenaDeviceWeights> out(new HyenaDeviceWeights);
  out->device_ = std::move(device);
  out->host_ = std::move(weights);
  const HyenaWeights& host = *out->host_;
  const size_t embedding = config.padded_vocab * config.width;
  LCSM_ASSIGN_OR_RETURN(out->embedding_,
                        out->Bring(host.embedding(), embedding));
  if (!host.tied_head()) {
    LCSM_ASSIGN_OR_RETURN(out->head_,
                          out->Bring(host.head().weight, embedding));
  }
  LCSM_ASSIGN_OR_RETURN(out->final_norm_, out->BringNorm(host.final_norm()));
  for (const HyenaLayerWeights& layer : host.layers()) {
    LCSM_ASSIGN_OR_RETURN(DeviceLayer brought, out->BringLayer(layer));
    out->layers_.push_back(std::move(brought));
  }
  return std::shared_ptr<const HyenaDeviceWeights>(std::move(out));
}

}  // namespace lcsm::cuda
