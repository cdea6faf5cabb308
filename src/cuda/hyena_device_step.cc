#include "cuda/hyena_device_step.h"

#include <algorithm>

#include "kernels/lanes.h"

namespace lcsm::cuda {
namespace {

// Floats of shared memory that a step's largest product wants.
size_t SharedFloats(const HyenaConfig& config, const Share& share,
                    size_t rows) {
  using Kernel = LinearKernel<float, HyenaDeviceStep::kMostRows>;
  const float norm = 0;  // Not read: that there is one is what counts.
  LinearWork narrow;
  narrow.in = static_cast<uint32_t>(config.width);
  narrow.rows = static_cast<uint32_t>(rows);
  narrow.rounds = static_cast<uint32_t>(config.order + 1);
  narrow.norm_weight = &norm;
  LinearWork wide;
  wide.in = static_cast<uint32_t>(share.inner);
  wide.rows = static_cast<uint32_t>(rows);
  return std::max(Kernel::SharedFloats(narrow), Kernel::SharedFloats(wide));
}

}  // namespace

size_t HyenaDeviceStep::MostRows(const DeviceInfo& info,
                                 const HyenaConfig& config,
                                 const Share& share) {
  size_t rows = kMostRows;
  while (rows > 1 && SharedFloats(config, share, rows) * sizeof(float) >
                         info.shared_bytes) {
    --rows;
  }
  return rows;
}

size_t HyenaDeviceStep::TailRows(const HyenaConfig& config) {
  return std::max<size_t>(config.fir_taps, 2) - 1;
}

size_t HyenaDeviceStep::BytesFor(const HyenaConfig& config, const Share& share,
                                 size_t rows) {
  const size_t streams = (config.order + 1) * share.channels;
  size_t floats = config.width + share.channels + share.inner +
                  config.layers * TailRows(config) * streams;
  if (share.leads) floats += config.padded_vocab;
  return rows * (floats * sizeof(float) + (share.leads ? sizeof(int32_t) : 0));
}

Status HyenaDeviceStep::Allocate(const HyenaDeviceShared::Rank& rank,
                                 Queue& queue, Tiles* tiles, size_t rows) {
  weights_ = rank.weights.get();
  prepared_ = rank.tiles.get();
  queue_ = &queue;
  tiles_ = tiles;
  rows_ = rows;
  const HyenaConfig& c = weights_->config();
  const Share& share = weights_->share();
  Device& device = weights_->device();
  const auto allocate = [&](size_t floats, Array<float>* out) -> Status {
    LCSM_ASSIGN_OR_RETURN(*out,
                          device.NewZeros<float>(rows * floats, "activations"));
    return OkStatus();
  };
  LCSM_RETURN_IF_ERROR(allocate(c.width, &x_));
  LCSM_RETURN_IF_ERROR(allocate(share.channels, &u_));
  LCSM_RETURN_IF_ERROR(allocate(share.inner, &hidden_));
  LCSM_RETURN_IF_ERROR(
      allocate(c.layers * TailRows(c) * weights_->streams(), &tails_));
  if (!share.leads) return OkStatus();
  LCSM_RETURN_IF_ERROR(allocate(c.padded_vocab, &logits_));
  LCSM_ASSIGN_OR_RETURN(tokens_, device.NewZeros<int32_t>(rows, "tokens"));
  return OkStatus();
}

LinearThen HyenaDeviceStep::Then() const {
  return weights_->share().leads ? LinearThen::kAdd : LinearThen::kStore;
}

void HyenaDeviceStep::Linear(const DeviceLinear& linear,
                             LinearWork work) noexcept {
  work.weight = linear.weight();
  work.bias = linear.bias.data();
  work.in = static_cast<uint32_t>(linear.in);
  work.out = static_cast<uint32_t>(linear.out);
  work.rows = static_cast<uint32_t>(rows_);
  work.log_teams = LinearKernel<float, 1>::LogTeams(work);
  if (linear.rounded() && rows_ == 1) {
    queue_->Launch<LinearKernel<Bfloat16, 1>>(work);
  } else if (linear.rounded()) {
    queue_->Launch<LinearKernel<Bfloat16, kMostRows>>(work);
  } else if (rows_ == 1) {
    queue_->Launch<LinearKernel<float, 1>>(work);
  } else {
    queue_->Launch<LinearKernel<float, kMostRows>>(work);
  }
}

void HyenaDeviceStep::Mix(size_t index) noexcept {
  const HyenaConfig& c = weights_->config();
  const DeviceLayer& layer = weights_->layers()[index];
  LinearWork project;
  project.x = x_.data();
  project.norm_weight = layer.norm1.weight.data();
  project.norm_bias = layer.norm1.bias.data();
  project.eps = static_cast<float>(c.block_norm_eps);
  project.y = u_.data();
  project.then = LinearThen::kMix;
  project.rounds = static_cast<uint32_t>(c.order + 1);
  MixWork& mix = project.mix;
  mix.control = tiles_->control();
  mix.width = static_cast<uint32_t>(weights_->share().channels);
  mix.order = static_cast<uint32_t>(c.order);
  mix.fir_taps = static_cast<uint32_t>(c.fir_taps);
  mix.tail_rows = static_cast<uint32_t>(TailRows(c));
  mix.fir = layer.fir.data();
  mix.fir_bias = layer.fir_bias.data();
  mix.tail = tails_.data() + index * rows_ * TailRows(c) * weights_->streams();
  mix.lines = tiles_->lines();
  mix.stride = tiles_->stride();
  mix.head = prepared_->head();
  mix.first_mixer = index * c.convolutions();
  mix.groups = GroupsFor(weights_->share().channels);
  mix.batch = rows_;
  mix.length = tiles_->length();
  mix.folds_tiny = tiles_->folds_tiny() ? 1 : 0;
  Linear(layer.in_proj, project);

  LinearWork back;
  back.x = u_.data();
  back.y = x_.data();
  back.then = Then();
  Linear(layer.out_proj, back);
}

void HyenaDeviceStep::Mlp(size_t index) noexcept {
  const DeviceLayer& layer = weights_->layers()[index];
  LinearWork up;
  up.x = x_.data();
  up.norm_weight = layer.norm2.weight.data();
  up.norm_bias = layer.norm2.bias.data();
  up.eps = static_cast<float>(weights_->config().block_norm_eps);
  up.y = hidden_.data();
  up.then = LinearThen::kGelu;
  Linear(layer.fc1, up);

  LinearWork down;
  down.x = hidden_.data();
  down.y = x_.data();
  down.then = Then();
  Linear(layer.fc2, down);
}

void HyenaDeviceStep::Embed() noexcept {
  queue_->Launch<EmbedKernel>({.control = tiles_->control(),
                               .tokens = tokens_.data(),
                               .embedding = weights_->embedding(),
                               .rows = rows_,
                               .width = weights_->config().width,
                               .x = x_.data()});
}

void HyenaDeviceStep::Head() noexcept {
  const HyenaConfig& c = weights_->config();
  LinearWork head;
  head.weight = weights_->head();
  head.in = static_cast<uint32_t>(c.width);
  head.out = static_cast<uint32_t>(c.padded_vocab);
  head.rows = static_cast<uint32_t>(rows_);
  head.x = x_.data();
  head.norm_weight = weights_->final_norm().weight.data();
  head.norm_bias = weights_->final_norm().bias.data();
  head.eps = static_cast<float>(c.final_norm_eps);
  head.y = logits_.data();
  head.log_teams = LinearKernel<float, 1>::LogTeams(head);
  if (rows_ == 1) {
    queue_->Launch<LinearKernel<float, 1>>(head);
  } else {
    queue_->Launch<LinearKernel<float, kMostRows>>(head);
  }
}

}  // namespace lcsm::cuda
