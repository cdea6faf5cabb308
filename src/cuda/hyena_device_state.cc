#include "cuda/hyena_device_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "cuda/hyena_device_prefill.h"
#include "cuda/hyena_device_rows.h"
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

size_t HyenaDeviceState::BytesFor(const HyenaConfig& config, bool steps) {
  size_t bytes = HyenaDeviceStep::BytesFor(config, 1);
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
  LCSM_ASSIGN_OR_RETURN(host_,
                        device().AllocateHost(c.padded_vocab * sizeof(float) +
                                              kSampleGroup * sizeof(int32_t)));
  if (shared_.tiles != nullptr) {
    LCSM_ASSIGN_OR_RETURN(tiles_, Tiles::Create(shared_.tiles, *queue_));
  }
  return work_.Allocate(shared_, *queue_, tiles_.get(), 1);
}

Status HyenaDeviceState::Capture() {
  const auto step = [this] {
    float* const logits = host_.as<float>();
    queue_->CopyIn(work_.tokens().data(), logits + config().padded_vocab,
                   sizeof(int32_t));
    work_.Enqueue();
    queue_->CopyOut(logits, work_.logits().data(), work_.logits().bytes());
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
    work_.Enqueue();
    queue_->Launch<SampleKernel>({.control = tiles_->control(),
                                  .options = sample_options_.data(),
                                  .ids = ids_.data(),
                                  .logits = work_.logits().data(),
                                  .token = work_.tokens().data(),
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
  LCSM_RETURN_IF_ERROR(
      device().Upload(work_.tokens().data(), &first, sizeof(first)));
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
  queue_->Clear(tails().data(), tails().bytes());
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
                                     request, tails().data(), pending_, after));
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

StatusOr<std::unique_ptr<BatchState>> HyenaDeviceState::Spread(
    size_t rows) const {
  if (tiles_ == nullptr || PendingIsApart() ||
      !Tiles::MayHaveRows(*shared_.tiles)) {
    return ModelState::Spread(rows);
  }
  LCSM_RETURN_IF_ERROR(queue_->Wait());
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<HyenaDeviceRows> batch,
                        HyenaDeviceRows::Create(shared_, *tiles_, tails(), rows,
                                                StepRoom(), position()));
  return std::unique_ptr<BatchState>(std::move(batch));
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
  fork->queue_->Copy(fork->tails().data(), tails().data(), tails().bytes());
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
