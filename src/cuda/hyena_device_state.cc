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
  if (state->shared_.num_taps != 0) {
    state->prefill_ = std::make_shared<HyenaDevicePrefill>(state->shared_);
  }
  if (state->shared_.has_steps()) LCSM_RETURN_IF_ERROR(state->Capture());
  return state;
}

HyenaDeviceState::~HyenaDeviceState() { (void)ranks_.Wait(); }

size_t HyenaDeviceState::BytesFor(const HyenaConfig& config, const Share& share,
                                  bool steps) {
  size_t bytes = HyenaDeviceStep::BytesFor(config, share, 1);
  if (steps && share.leads && MaySample(config)) {
    bytes +=
        (kSampleGroup + config.vocab) * sizeof(int32_t) + sizeof(SampleOptions);
  }
  return bytes;
}

Status HyenaDeviceState::Allocate() {
  LCSM_RETURN_IF_ERROR(ranks_.Allocate(shared_, 1));
  LCSM_ASSIGN_OR_RETURN(
      host_, device().AllocateHost(config().padded_vocab * sizeof(float) +
                                   kSampleGroup * sizeof(int32_t)));
  return OkStatus();
}

Status HyenaDeviceState::Capture() {
  const auto step = [this] {
    float* const logits = host_.as<float>();
    const HyenaDeviceStep& work = leader().work;
    leader().queue->CopyIn(work.tokens().data(), logits + config().padded_vocab,
                           sizeof(int32_t));
    ranks_.EnqueueStep();
    leader().queue->CopyOut(logits, work.logits().data(),
                            work.logits().bytes());
  };
  LCSM_ASSIGN_OR_RETURN(step_, ranks_.Capture(step));
  return OkStatus();
}

void HyenaDeviceState::Step(int32_t token, float* logits) noexcept {
  const Clock::time_point start = Clock::now();
  const size_t vocab = config().padded_vocab;
  *reinterpret_cast<int32_t*>(host_.as<float>() + vocab) = token;
  ranks_.Run(step_);
  // An error is the device's, and stays there for CheckWeights; zeros are
  // logits that a sampler can bear until somebody asks.
  if (ranks_.WaitForMark().ok()) {
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
    ranks_.EnqueueStep();
    leader().queue->Launch<SampleKernel>(
        {.control = leader().tiles->control(),
         .options = sample_options_.data(),
         .ids = ids_.data(),
         .logits = leader().work.logits().data(),
         .token = leader().work.tokens().data(),
         .sampled = sampled_.data(),
         .ring = kSampleGroup});
  };
  LCSM_ASSIGN_OR_RETURN(sampling_, ranks_.Capture(step));
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
  LCSM_RETURN_IF_ERROR(ranks_.Wait());
  LCSM_RETURN_IF_ERROR(
      device().Upload(sample_options_.data(), &with_count, sizeof(with_count)));
  LCSM_RETURN_IF_ERROR(
      device().Upload(ids_.data(), ids.data(), ids.size_bytes()));
  LCSM_RETURN_IF_ERROR(
      device().Upload(leader().work.tokens().data(), &first, sizeof(first)));
  int32_t* const fetched =
      reinterpret_cast<int32_t*>(host_.as<float>() + config().padded_vocab);
  for (size_t done = 0; done < tokens.size();) {
    const size_t count = std::min(kSampleGroup, tokens.size() - done);
    const size_t begin = position() + 1;
    for (size_t k = 0; k < count; ++k) ranks_.Run(sampling_);
    leader().queue->CopyOut(fetched, sampled_.data(), sampled_.bytes());
    LCSM_RETURN_IF_ERROR(ranks_.Wait());
    for (size_t k = 0; k < count; ++k) {
      tokens[done + k] = fetched[(begin + k) % kSampleGroup];
    }
    done += count;
  }
  times_.blocks += Seconds(start);
  return OkStatus();
}

size_t HyenaDeviceState::StepRoom() const {
  if (!shared_.has_steps() || PendingIsApart()) return 0;
  return std::min(horizon_, origin_ + shared_.steps()) - position();
}

Status HyenaDeviceState::UploadToAll(uint64_t StepControl::*field,
                                     uint64_t value) {
  for (const HyenaDeviceRanks::Rank& rank : ranks_.all()) {
    if (rank.tiles == nullptr) continue;
    LCSM_RETURN_IF_ERROR(rank.device->Upload(&(rank.tiles->control()->*field),
                                             &value, sizeof(value)));
  }
  return OkStatus();
}

void HyenaDeviceState::SkipMixers(bool skip) noexcept {
  skip_mixers_ = skip;
  if (!ranks_.Wait().ok()) return;
  for (const HyenaDeviceRanks::Rank& rank : ranks_.all()) {
    if (rank.tiles != nullptr) (void)rank.tiles->SkipMixers(skip);
  }
}

Status HyenaDeviceState::Pretend(size_t position) {
  if (!shared_.has_steps() || position > shared_.steps()) {
    return Unsupported(fmt::format(
        "a session on {} can be put at positions that it takes in by steps",
        device().info().label));
  }
  Reset();
  for (const HyenaDeviceRanks::Rank& rank : ranks_.all()) {
    LCSM_RETURN_IF_ERROR(rank.tiles->PretendKnown(position));
  }
  return OkStatus();
}

void HyenaDeviceState::Reset() noexcept {
  // What goes wrong here is the device's and stands in its status.
  (void)ranks_.Wait();
  for (const HyenaDeviceRanks::Rank& rank : ranks_.all()) {
    if (rank.tiles != nullptr) (void)rank.tiles->Reset(0, skip_mixers_);
    const Array<float>& tails = rank.work.tails();
    rank.queue->Clear(tails.data(), tails.bytes());
  }
  (void)ranks_.Wait();
  times_ = StepTimes();
  origin_ = 0;
  pending_ = DevicePending();
  apart_.clear();
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
    for (const HyenaDeviceRanks::Rank& rank : ranks_.all()) {
      LCSM_RETURN_IF_ERROR(rank.device->status());
    }
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

DevicePending HyenaDeviceState::PendingInTiles(size_t count) const {
  DevicePending pending;
  pending.stride = leader().tiles->stride();
  pending.count = count;
  for (const HyenaDeviceRanks::Rank& rank : ranks_.all()) {
    pending.lines.push_back(rank.tiles->lines());
  }
  return pending;
}

DevicePending HyenaDeviceState::PendingIn(
    const std::vector<Array<float>>& apart, size_t stride, size_t count) {
  DevicePending pending;
  pending.stride = stride;
  pending.count = count;
  for (const Array<float>& own : apart) pending.lines.push_back(own.data());
  return pending;
}

StatusOr<std::vector<Array<float>>> HyenaDeviceState::NewApart(
    size_t stride) const {
  std::vector<Array<float>> apart;
  for (const HyenaDeviceRanks::Rank& rank : ranks_.all()) {
    LCSM_ASSIGN_OR_RETURN(
        Array<float> own,
        rank.device->NewZeros<float>(Histories(*rank.share) * stride,
                                     "contributions to coming positions"));
    apart.push_back(std::move(own));
  }
  return apart;
}

Status HyenaDeviceState::PrefillByLayers(std::span<const int32_t> tokens,
                                         size_t following,
                                         const PrefillRequest& request) {
  const Clock::time_point start = Clock::now();
  DevicePending after;
  std::vector<Array<float>> apart;
  if (following != 0 && following <= shared_.steps()) {
    after = PendingInTiles(following);
  } else if (following != 0 && PendingIsApart()) {
    after = pending_;
    after.count = following;
  } else if (following != 0) {
    const size_t stride = (following | 1) * kLanes;
    LCSM_ASSIGN_OR_RETURN(apart, NewApart(stride));
    after = PendingIn(apart, stride, following);
  }
  LCSM_RETURN_IF_ERROR(prefill_->Run(ranks_, tokens, origin_, following,
                                     request, pending_, after));
  origin_ += tokens.size();
  const bool stays = PendingIsApart() && after.lines == pending_.lines;
  pending_ = std::move(after);
  if (!stays) apart_ = std::move(apart);
  LCSM_RETURN_IF_ERROR(UploadToAll(&StepControl::origin, origin_));
  times_.blocks += Seconds(start);
  return OkStatus();
}

void HyenaDeviceState::BeginSteps() noexcept {
  if (!shared_.has_steps() || !PendingIsApart()) return;
  const size_t stride = leader().tiles->stride();
  pending_.count = std::min(pending_.count, shared_.steps());
  for (size_t r = 0; r < ranks_.all().size(); ++r) {
    const HyenaDeviceRanks::Rank& rank = ranks_.all()[r];
    rank.queue->Launch<MoveLinesKernel>({.from = pending_.lines[r],
                                         .to = rank.tiles->lines(),
                                         .from_stride = pending_.stride,
                                         .to_stride = stride,
                                         .histories = Histories(*rank.share),
                                         .floats = pending_.count * kLanes});
    pending_.lines[r] = rank.tiles->lines();
  }
  pending_.stride = stride;
  (void)ranks_.Wait();
  apart_.clear();
  horizon_ = origin_ + pending_.count;
}

StatusOr<std::unique_ptr<BatchState>> HyenaDeviceState::Spread(
    size_t rows) const {
  if (!shared_.has_steps() || PendingIsApart() ||
      !HyenaDeviceRows::MayHave(shared_)) {
    return ModelState::Spread(rows);
  }
  LCSM_RETURN_IF_ERROR(ranks_.Wait());
  LCSM_ASSIGN_OR_RETURN(
      std::unique_ptr<HyenaDeviceRows> batch,
      HyenaDeviceRows::Create(shared_, ranks_, rows, StepRoom(), position()));
  return std::unique_ptr<BatchState>(std::move(batch));
}

StatusOr<std::unique_ptr<ModelState>> HyenaDeviceState::Fork() const {
  LCSM_RETURN_IF_ERROR(ranks_.Wait());
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<HyenaDeviceState> fork,
                        Create(shared_, pool_));
  fork->origin_ = origin_;
  fork->horizon_ = horizon_;
  fork->pending_ = pending_;
  fork->prefill_ = prefill_;
  fork->skip_mixers_ = skip_mixers_;
  if (PendingIsApart()) {
    LCSM_ASSIGN_OR_RETURN(fork->apart_, NewApart(pending_.stride));
    fork->pending_ = PendingIn(fork->apart_, pending_.stride, pending_.count);
  } else if (!pending_.lines.empty()) {
    fork->pending_ = fork->PendingInTiles(pending_.count);
  }
  for (size_t r = 0; r < ranks_.all().size(); ++r) {
    const HyenaDeviceRanks::Rank& from = ranks_.all()[r];
    const HyenaDeviceRanks::Rank& to = fork->ranks_.all()[r];
    if (from.tiles != nullptr) {
      LCSM_RETURN_IF_ERROR(to.tiles->CopyFrom(*from.tiles));
    }
    to.queue->Copy(to.work.tails().data(), from.work.tails().data(),
                   from.work.tails().bytes());
    if (PendingIsApart()) {
      to.queue->Copy(fork->apart_[r].data(), apart_[r].data(),
                     apart_[r].bytes());
    }
  }
  LCSM_RETURN_IF_ERROR(fork->ranks_.Wait());
  return std::unique_ptr<ModelState>(std::move(fork));
}

}  // namespace lcsm::cuda
