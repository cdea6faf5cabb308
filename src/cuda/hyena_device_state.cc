#include "cuda/hyena_device_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "cuda/hyena_device_prefill.h"
#include "kernels/lanes.h"

namespace lcsm::cuda {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point since) {
  return std::chrono::duration<double>(Clock::now() - since).count();
}

// Sampled tokens that the device may be ahead of the host.
constexpr size_t kSampleGroup = 64;

}  // namespace

StatusOr<std::unique_ptr<HyenaDeviceState>> HyenaDeviceState::Create(
    HyenaDeviceShared shared, ThreadPool& pool) {
  std::unique_ptr<HyenaDeviceState> state(
      new HyenaDeviceState(std::move(shared), pool));
  LCSM_RETURN_IF_ERROR(state->Allocate());
  if (state->shared_.taps != nullptr) {
    state->prefill_ = std::make_shared<HyenaDevicePrefill>(state->shared_);
  }
  if (state->tiles_ != nullptr) LCSM_RETURN_IF_ERROR(state->Capture());
  return state;
}

HyenaDeviceState::~HyenaDeviceState() {
  if (queue_ != nullptr) (void)queue_->Wait();
}

size_t HyenaDeviceState::TailRows(const HyenaConfig& config) {
  return std::max<size_t>(config.fir_taps, 2) - 1;
}

size_t HyenaDeviceState::BytesFor(const HyenaConfig& config, bool steps) {
  const size_t streams = (config.order + 1) * config.width;
  size_t bytes = (2 * config.width + config.inner + config.padded_vocab +
                  config.layers * TailRows(config) * streams) *
                     sizeof(float) +
                 sizeof(int32_t);
  if (steps && MaySample(config)) {
    bytes +=
        (kSampleGroup + config.vocab) * sizeof(int32_t) + sizeof(SampleOptions);
  }
  return bytes;
}

size_t HyenaDeviceState::Histories() const {
  return config().layers * config().convolutions() * GroupsFor(config().width);
}

Status HyenaDeviceState::Allocate() {
  const HyenaConfig& c = config();
  LCSM_ASSIGN_OR_RETURN(queue_, device().NewQueue(false));
  const auto allocate = [this](size_t floats, Array<float>* out) -> Status {
    LCSM_ASSIGN_OR_RETURN(*out,
                          device().NewZeros<float>(floats, "activations"));
    return OkStatus();
  };
  LCSM_RETURN_IF_ERROR(allocate(c.width, &x_));
  LCSM_RETURN_IF_ERROR(allocate(c.width, &u_));
  LCSM_RETURN_IF_ERROR(allocate(c.inner, &hidden_));
  LCSM_RETURN_IF_ERROR(allocate(c.padded_vocab, &logits_));
  LCSM_RETURN_IF_ERROR(allocate(c.layers * TailRows() * Streams(), &tails_));
  LCSM_ASSIGN_OR_RETURN(token_, device().NewZeros<int32_t>(1, "a token"));
  LCSM_ASSIGN_OR_RETURN(host_,
                        device().AllocateHost(c.padded_vocab * sizeof(float) +
                                              kSampleGroup * sizeof(int32_t)));
  if (shared_.tiles != nullptr) {
    LCSM_ASSIGN_OR_RETURN(tiles_, Tiles::Create(shared_.tiles, *queue_));
  }
  return OkStatus();
}

void HyenaDeviceState::EnqueueLinear(const DeviceLinear& linear,
                                     LinearWork work) noexcept {
  work.weight = linear.weight();
  work.bias = linear.bias.data();
  work.in = static_cast<uint32_t>(linear.in);
  work.out = static_cast<uint32_t>(linear.out);
  if (linear.rounded()) {
    queue_->Launch<LinearKernel<Bfloat16, 1>>(work);
  } else {
    queue_->Launch<LinearKernel<float, 1>>(work);
  }
}

void HyenaDeviceState::EnqueueLayer(size_t index) noexcept {
  const HyenaConfig& c = config();
  const DeviceLayer& layer = shared_.weights->layers()[index];
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
  mix.width = static_cast<uint32_t>(c.width);
  mix.order = static_cast<uint32_t>(c.order);
  mix.fir_taps = static_cast<uint32_t>(c.fir_taps);
  mix.tail_rows = static_cast<uint32_t>(TailRows());
  mix.fir = layer.fir.data();
  mix.fir_bias = layer.fir_bias.data();
  mix.tail = tails_.data() + index * TailRows() * Streams();
  mix.lines = tiles_->lines();
  mix.stride = tiles_->stride();
  mix.head = shared_.tiles->head();
  mix.first_mixer = index * c.convolutions();
  mix.groups = GroupsFor(c.width);
  mix.length = tiles_->length();
  mix.folds_tiny = tiles_->folds_tiny() ? 1 : 0;
  EnqueueLinear(layer.in_proj, project);

  LinearWork back;
  back.x = u_.data();
  back.y = x_.data();
  back.then = LinearThen::kAdd;
  EnqueueLinear(layer.out_proj, back);

  LinearWork up;
  up.x = x_.data();
  up.norm_weight = layer.norm2.weight.data();
  up.norm_bias = layer.norm2.bias.data();
  up.eps = static_cast<float>(c.block_norm_eps);
  up.y = hidden_.data();
  up.then = LinearThen::kGelu;
  EnqueueLinear(layer.fc1, up);

  LinearWork down;
  down.x = hidden_.data();
  down.y = x_.data();
  down.then = LinearThen::kAdd;
  EnqueueLinear(layer.fc2, down);
}

void HyenaDeviceState::EnqueueForward() noexcept {
  const HyenaConfig& c = config();
  queue_->Launch<EmbedKernel>({.control = tiles_->control(),
                               .tokens = token_.data(),
                               .embedding = shared_.weights->embedding(),
                               .rows = 1,
                               .width = c.width,
                               .x = x_.data()});
  for (size_t layer = 0; layer < c.layers; ++layer) EnqueueLayer(layer);
  LinearWork head;
  head.weight = shared_.weights->head();
  head.in = static_cast<uint32_t>(c.width);
  head.out = static_cast<uint32_t>(c.padded_vocab);
  head.x = x_.data();
  head.norm_weight = shared_.weights->final_norm().weight.data();
  head.norm_bias = shared_.weights->final_norm().bias.data();
  head.eps = static_cast<float>(c.final_norm_eps);
  head.y = logits_.data();
  queue_->Launch<LinearKernel<float, 1>>(head);
}

Status HyenaDeviceState::Capture() {
  const auto step = [this] {
    float* const logits = host_.as<float>();
    queue_->CopyIn(token_.data(), logits + config().padded_vocab,
                   sizeof(int32_t));
    EnqueueForward();
    queue_->CopyOut(logits, logits_.data(), logits_.bytes());
  };
  LCSM_ASSIGN_OR_RETURN(step_, Replayed::Create(*queue_, step));
  return OkStatus();
}

void HyenaDeviceState::Step(int32_t token, float* logits) noexcept {
  const Clock::time_point start = Clock::now();
  const size_t vocab = config().padded_vocab;
  *reinterpret_cast<int32_t*>(host_.as<float>() + vocab) = token;
  step_.Run();
  queue_->Mark();
  tiles_->Advance();
  // An error is the device's, and stays there for CheckWeights; zeros are
  // logits that a sampler can bear until somebody asks.
  if (queue_->WaitForMark().ok()) {
    std::copy_n(host_.as<float>(), vocab, logits);
  } else {
    std::fill_n(logits, vocab, 0.0f);
  }
  times_.blocks += Seconds(start);
}

Status HyenaDeviceState::CaptureSampling() {
  LCSM_ASSIGN_OR_RETURN(
      sampled_, device().NewZeros<int32_t>(kSampleGroup, "sampled tokens"));
  LCSM_ASSIGN_OR_RETURN(sample_options_, device().NewZeros<SampleOptions>(
                                             1, "a sampler's options"));
  LCSM_ASSIGN_OR_RETURN(
      ids_, device().NewZeros<int32_t>(config().vocab, "a sampler's ids"));
  const auto step = [this] {
    EnqueueForward();
    queue_->Launch<SampleKernel>({.control = tiles_->control(),
                                  .options = sample_options_.data(),
                                  .ids = ids_.data(),
                                  .logits = logits_.data(),
                                  .token = token_.data(),
                                  .sampled = sampled_.data(),
                                  .ring = kSampleGroup});
  };
  LCSM_ASSIGN_OR_RETURN(sampling_, Replayed::Create(*queue_, step));
  return OkStatus();
}

Status HyenaDeviceState::SampleSteps(int32_t first,
                                     const SamplerOptions& options,
                                     uint64_t sample,
                                     std::span<const int32_t> ids,
                                     std::span<int32_t> tokens) {
  const Clock::time_point start = Clock::now();
  if (!sampling_) LCSM_RETURN_IF_ERROR(CaptureSampling());
  const SampleOptions with_count = {
      options.temperature, options.top_p, options.min_p, options.top_k,
      options.seed,        sample,        ids.size()};
  LCSM_RETURN_IF_ERROR(queue_->Wait());
  LCSM_RETURN_IF_ERROR(
      device().Upload(sample_options_.data(), &with_count, sizeof(with_count)));
  LCSM_RETURN_IF_ERROR(
      device().Upload(ids_.data(), ids.data(), ids.size_bytes()));
  LCSM_RETURN_IF_ERROR(device().Upload(token_.data(), &first, sizeof(first)));
  int32_t* const fetched =
      reinterpret_cast<int32_t*>(host_.as<float>() + config().padded_vocab);
  for (size_t done = 0; done < tokens.size();) {
    const size_t count = std::min(kSampleGroup, tokens.size() - done);
    const size_t begin = position() + 1;
    for (size_t k = 0; k < count; ++k) {
      sampling_.Run();
      tiles_->Advance();
    }
    queue_->CopyOut(fetched, sampled_.data(), sampled_.bytes());
    LCSM_RETURN_IF_ERROR(queue_->Wait());
    for (size_t k = 0; k < count; ++k) {
      tokens[done + k] = fetched[(begin + k) % kSampleGroup];
    }
    done += count;
  }
  times_.blocks += Seconds(start);
  return OkStatus();
}

size_t HyenaDeviceState::StepRoom() const {
  if (tiles_ == nullptr || PendingIsApart()) return 0;
  return std::min(horizon_, origin_ + shared_.steps()) - position();
}

void HyenaDeviceState::SkipMixers(bool skip) noexcept {
  skip_mixers_ = skip;
  if (tiles_ == nullptr || !queue_->Wait().ok()) return;
  const uint64_t flag = skip ? 1 : 0;
  (void)device().Upload(&tiles_->control()->skip_mixers, &flag, sizeof(flag));
}

void HyenaDeviceState::Reset() noexcept {
  // What goes wrong here is the device's and stands in its status.
  (void)queue_->Wait();
  if (tiles_ != nullptr) (void)tiles_->Reset(0, skip_mixers_);
  queue_->Clear(tails_.data(), tails_.bytes());
  (void)queue_->Wait();
  times_ = StepTimes();
  origin_ = 0;
  pending_ = DevicePending();
  apart_ = Array<float>();
  horizon_ = shared_.horizon;
}

Status HyenaDeviceState::CheckTokens(std::span<const int32_t> tokens) const {
  const size_t at = position();
  const size_t end =
      prefill_ != nullptr && Stepped() == 0 ? horizon_ : at + StepRoom();
  if (tokens.size() > end - std::min(at, end)) {
    return InvalidInput(fmt::format(
        "{} tokens do not fit into the {} positions that are left of {}",
        tokens.size(), end - std::min(at, end), end));
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 ||
        static_cast<size_t>(tokens[i]) >= config().padded_vocab) {
      return InvalidInput(
          fmt::format("token {} at position {} is outside the {} rows of the "
                      "embedding",
                      tokens[i], at + i, config().padded_vocab));
    }
  }
  return OkStatus();
}

Status HyenaDeviceState::Prefill(std::span<const int32_t> tokens,
                                 const PrefillRequest& request) {
  LCSM_RETURN_IF_ERROR(CheckTokens(tokens));
  const bool by_layers = prefill_ != nullptr && Stepped() == 0;
  if (!by_layers && request.on_hidden) {
    return Unsupported(fmt::format(
        "activations on {} are handed out for tokens that come before steps, "
        "and this session is prepared for steps alone",
        device().info().label));
  }
  const size_t taken = position() + tokens.size();
  const size_t following = std::min(request.following, horizon_ - taken);
  horizon_ = taken + following;
  if (tokens.empty()) return OkStatus();
  return by_layers ? PrefillByLayers(tokens, following, request)
                   : PrefillBySteps(tokens, request);
}

Status HyenaDeviceState::PrefillBySteps(std::span<const int32_t> tokens,
                                        const PrefillRequest& request) {
  std::vector<float> logits(config().padded_vocab);
  for (size_t i = 0; i < tokens.size(); ++i) {
    const size_t at = position();
    Step(tokens[i], logits.data());
    LCSM_RETURN_IF_ERROR(device().status());
    if (request.on_logits) LCSM_RETURN_IF_ERROR(request.on_logits(at, logits));
    if (request.progress &&
        !request.progress(static_cast<double>(i + 1) /
                          static_cast<double>(tokens.size()))) {
      return Cancelled("stopped while taking known tokens in");
    }
  }
  if (request.last_logits != nullptr) {
    std::copy(logits.begin(), logits.end(), request.last_logits);
  }
  return OkStatus();
}

Status HyenaDeviceState::PrefillByLayers(std::span<const int32_t> tokens,
                                         size_t following,
                                         const PrefillRequest& request) {
  const Clock::time_point start = Clock::now();
  LCSM_RETURN_IF_ERROR(queue_->PrepareGemm());
  DevicePending after;
  Array<float> apart;
  if (following != 0 && following <= shared_.steps()) {
    after = {tiles_->lines(), tiles_->stride(), following};
  } else if (following != 0 && PendingIsApart()) {
    after = {pending_.lines, pending_.stride, following};
  } else if (following != 0) {
    const size_t stride = (following | 1) * kLanes;
    LCSM_ASSIGN_OR_RETURN(
        apart, device().NewZeros<float>(Histories() * stride,
                                        "contributions to coming positions"));
    after = {apart.data(), stride, following};
  }
  LCSM_RETURN_IF_ERROR(prefill_->Run(*queue_, tokens, origin_, following,
                                     request, tails_.data(), pending_, after));
  origin_ += tokens.size();
  pending_ = after;
  if (apart.size() != 0 || !PendingIsApart()) apart_ = std::move(apart);
  if (tiles_ != nullptr) {
    const uint64_t origin = origin_;
    LCSM_RETURN_IF_ERROR(
        device().Upload(&tiles_->control()->origin, &origin, sizeof(origin)));
  }
  times_.blocks += Seconds(start);
  return OkStatus();
}

void HyenaDeviceState::BeginSteps() noexcept {
  if (tiles_ == nullptr || !PendingIsApart()) return;
  const DevicePending from = pending_;
  pending_ = {tiles_->lines(), tiles_->stride(),
              std::min(from.count, shared_.steps())};
  queue_->Launch<MoveLinesKernel>({.from = from.lines,
                                   .to = pending_.lines,
                                   .from_stride = from.stride,
                                   .to_stride = pending_.stride,
                                   .histories = Histories(),
                                   .floats = pending_.count * kLanes});
  (void)queue_->Wait();
  apart_ = Array<float>();
  horizon_ = origin_ + pending_.count;
}

StatusOr<std::unique_ptr<ModelState>> HyenaDeviceState::Fork() const {
  LCSM_RETURN_IF_ERROR(queue_->Wait());
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<HyenaDeviceState> fork,
                        Create(shared_, pool_));
  fork->origin_ = origin_;
  fork->horizon_ = horizon_;
  fork->pending_ = pending_;
  fork->prefill_ = prefill_;
  fork->skip_mixers_ = skip_mixers_;
  if (tiles_ != nullptr) LCSM_RETURN_IF_ERROR(fork->tiles_->CopyFrom(*tiles_));
  fork->queue_->Copy(fork->tails_.data(), tails_.data(), tails_.bytes());
  if (PendingIsApart()) {
    LCSM_ASSIGN_OR_RETURN(
        fork->apart_, device().NewArray<float>(
                          apart_.size(), "contributions to coming positions"));
    fork->queue_->Copy(fork->apart_.data(), apart_.data(), apart_.bytes());
    fork->pending_.lines = fork->apart_.data();
  } else if (pending_.lines != nullptr) {
    fork->pending_.lines = fork->tiles_->lines();
  }
  LCSM_RETURN_IF_ERROR(fork->queue_->Wait());
  return std::unique_ptr<ModelState>(std::move(fork));
}

}  // namespace lcsm::cuda
