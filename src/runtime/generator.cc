#include "runtime/generator.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <utility>

namespace lcsm {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point since) {
  return std::chrono::duration<double>(Clock::now() - since).count();
}

}  // namespace

StatusOr<std::unique_ptr<Generator>> Generator::Create(
    const Model& model, ModelState& state, const io::Tokenizer* tokenizer,
    const GenerateOptions& options) {
  const ModelInfo& info = model.info();
  LCSM_ASSIGN_OR_RETURN(
      Sampler sampler,
      Sampler::Create(options.sampler, info.vocab, options.allowed));
  for (const std::string& stop : options.stop) {
    if (stop.empty()) return InvalidInput("a stop text is empty");
  }
  if (!options.stop.empty() && tokenizer == nullptr) {
    return InvalidInput("stop texts need a tokenizer, and the model has none");
  }
  if (options.stop_at_eos && info.eos_id < 0) {
    return InvalidInput(fmt::format(
        "the model {} has no end-of-sequence token to stop at", info.name));
  }
  return std::unique_ptr<Generator>(new Generator(model, state, tokenizer,
                                                  options, std::move(sampler),
                                                  StopMatcher(options.stop)));
}

Generator::Generator(const Model& model, ModelState& state,
                     const io::Tokenizer* tokenizer,
                     const GenerateOptions& options, Sampler sampler,
                     StopMatcher stops)
    : model_(model),
      state_(state),
      tokenizer_(tokenizer),
      options_(options),
      sampler_(std::move(sampler)),
      stops_(std::move(stops)),
      logits_(model.info().padded_vocab),
      running_(tokenizer, stops_, options_.logprobs) {}

Status Generator::CheckRun(std::span<const int32_t> prompt) const {
  if (prompt.empty()) {
    return InvalidInput(
        "the prompt is empty; the model needs at least one token to go on "
        "from");
  }
  const size_t room = state_.horizon() - state_.position();
  // The last token sampled is never taken in.
  const size_t steps = std::max<size_t>(options_.max_new_tokens, 1) - 1;
  if (prompt.size() > room || steps > room - prompt.size()) {
    return InvalidInput(fmt::format(
        "{} prompt tokens and {} new ones do not fit into the {} positions "
        "that are left of {}",
        prompt.size(), options_.max_new_tokens, room, state_.horizon()));
  }
  // The state takes padding ids in as well (benchmarks do not care); a text has
  // none.
  for (size_t i = 0; i < prompt.size(); ++i) {
    if (prompt[i] < 0 ||
        static_cast<size_t>(prompt[i]) >= model_.info().vocab) {
      return InvalidInput(
          fmt::format("prompt token {} is {}, expected an id from 0 to {}", i,
                      prompt[i], model_.info().vocab - 1));
    }
  }
  return OkStatus();
}

bool Generator::CancelWanted() const {
  return options_.cancel != nullptr &&
         options_.cancel->load(std::memory_order_relaxed);
}

StatusOr<bool> Generator::TakePrompt(std::span<const int32_t> prompt,
                                     const GenerateHooks& hooks) {
  const Clock::time_point start = Clock::now();
  ModelState::PrefillRequest request;
  request.last_logits = logits_.data();
  if (options_.ends_sequence) request.following = options_.max_new_tokens - 1;
  request.progress = [&](double done) {
    if (hooks.on_prefill) hooks.on_prefill(done);
    return !CancelWanted();
  };
  const Status status = state_.Prefill(prompt, request);
  figures_.prefill_seconds += Seconds(start);
  figures_.prompt_tokens += prompt.size();
  if (status.code() == StatusCode::kCancelled && CancelWanted()) return false;
  LCSM_RETURN_IF_ERROR(status);
  LCSM_RETURN_IF_ERROR(model_.CheckWeights());
  return true;
}

StatusOr<bool> Generator::ReadPrompt(std::span<const int32_t> prompt,
                                     const GenerateHooks& hooks) {
  LCSM_RETURN_IF_ERROR(CheckRun(prompt));
  LCSM_ASSIGN_OR_RETURN(const bool taken, TakePrompt(prompt, hooks));
  if (!taken) return false;
  const size_t steps = std::max<size_t>(options_.max_new_tokens, 1) - 1;
  if (state_.StepRoom() < steps) state_.BeginSteps();
  LCSM_RETURN_IF_ERROR(CheckSteps(0, steps));
  first_position_ = state_.position();
  return true;
}

void Generator::Begin() {
  running_.Begin(options_.max_new_tokens);
  ahead_.clear();
  ahead_begin_ = 0;
}

StatusOr<GeneratedSample> Generator::Run(std::span<const int32_t> prompt,
                                         uint64_t sample,
                                         const GenerateHooks& hooks) {
  Begin();
  LCSM_ASSIGN_OR_RETURN(const bool taken, ReadPrompt(prompt, hooks));
  if (!taken) {
    GeneratedSample out;
    out.finish = FinishReason::kCancelled;
    return out;
  }
  return Timed(sample, hooks);
}

Status Generator::CheckSteps(size_t taken, size_t steps) const {
  if (steps <= taken || steps - taken <= state_.StepRoom()) return OkStatus();
  return InvalidInput(
      fmt::format("{} new tokens are wanted, and the session has room for {}",
                  steps + 1, taken + state_.StepRoom() + 1));
}

StatusOr<GeneratedSample> Generator::Resume(size_t prompt_size,
                                            const SampledSoFar& so_far,
                                            uint64_t sample,
                                            const GenerateHooks& hooks) {
  const size_t sampled = so_far.tokens.size();
  const size_t taken = state_.position() - prompt_size;
  if (state_.position() < prompt_size || taken > sampled ||
      taken + 1 < sampled || so_far.logits.size() != logits_.size() ||
      (options_.logprobs && so_far.logprobs.size() != sampled)) {
    return InvalidInput(fmt::format(
        "a state at position {} cannot go on behind {} prompt tokens and {} "
        "new ones",
        state_.position(), prompt_size, sampled));
  }
  LCSM_RETURN_IF_ERROR(
      CheckSteps(taken, std::max<size_t>(options_.max_new_tokens, 1) - 1));
  Begin();
  first_position_ = prompt_size;
  logits_ = so_far.logits;
  for (size_t i = 0; i < std::min(sampled, options_.max_new_tokens); ++i) {
    if (running_.Append(so_far.tokens[i],
                        options_.logprobs ? so_far.logprobs[i] : 0.0)) {
      GeneratedSample out;
      out.finish = FinishReason::kStop;
      LCSM_RETURN_IF_ERROR(running_.Finish(hooks, &out));
      return out;
    }
  }
  return Timed(sample, hooks);
}

SampledSoFar Generator::Sampled() const {
  SampledSoFar so_far;
  for (size_t i = 0; i < running_.size(); ++i) {
    so_far.tokens.push_back(running_.id(i));
    if (options_.logprobs) so_far.logprobs.push_back(running_.logprob(i));
  }
  so_far.logits = logits_;
  return so_far;
}

void Generator::AddTimes(const StepTimes& before, const StepTimes& after) {
  figures_.mixer_seconds += after.mixers - before.mixers;
  figures_.block_seconds += after.blocks - before.blocks;
  figures_.head_seconds += after.head - before.head;
}

StatusOr<GeneratedSample> Generator::Timed(uint64_t sample,
                                           const GenerateHooks& hooks) {
  GeneratedSample out;
  out.tokens.reserve(options_.max_new_tokens);
  const StepTimes before = state_.times();
  const Clock::time_point start = Clock::now();
  Status status = Continue(sample, hooks, &out);
  figures_.seconds += Seconds(start);
  AddTimes(before, state_.times());
  if (status.code() == StatusCode::kCancelled) {
    out.finish = FinishReason::kCancelled;
    out.text = running_.text();
    status = OkStatus();
  }
  LCSM_RETURN_IF_ERROR(status);
  return out;
}

StatusOr<bool> Generator::Next(const float* logits, uint64_t sample,
                               size_t position, double seconds,
                               const GenerateHooks& hooks,
                               RunningSample& running, GeneratedSample* out) {
  const Clock::time_point start = Clock::now();
  const int32_t id = sampler_.Sample(logits, sample, position);
  const double logprob = options_.logprobs ? sampler_.LogProb(logits, id) : 0.0;
  const double sampling = Seconds(start);
  figures_.sampler_seconds += sampling;
  return Take(id, logprob, seconds + sampling, hooks, running, out);
}

StatusOr<bool> Generator::Take(int32_t id, double logprob, double seconds,
                               const GenerateHooks& hooks,
                               RunningSample& running, GeneratedSample* out) {
  figures_.token_ms.push_back(static_cast<float>(seconds * 1e3));
  ++figures_.new_tokens;
  if (options_.stop_at_eos && id == model_.info().eos_id) {
    out->finish = FinishReason::kEos;
    return true;
  }
  if (running.Append(id, logprob)) {
    out->finish = FinishReason::kStop;
    return true;
  }
  LCSM_RETURN_IF_ERROR(running.Settle(hooks, out));
  return false;
}

StatusOr<int32_t> Generator::NextAhead(uint64_t sample) {
  if (ahead_begin_ == ahead_.size()) {
    ahead_.resize(
        std::min(options_.ahead, options_.max_new_tokens - running_.size()));
    ahead_begin_ = 0;
    LCSM_RETURN_IF_ERROR(state_.SampleSteps(running_.last(), options_.sampler,
                                            sample, sampler_.ids(), ahead_));
    LCSM_RETURN_IF_ERROR(model_.CheckWeights());
  }
  return ahead_[ahead_begin_++];
}

Status Generator::Continue(uint64_t sample, const GenerateHooks& hooks,
                           GeneratedSample* out) {
  out->finish = FinishReason::kLength;
  // A run that goes on first hands over what was settled before.
  LCSM_RETURN_IF_ERROR(running_.Settle(hooks, out));
  const bool by_itself =
      options_.ahead > 1 && !options_.logprobs && state_.SamplesItself();
  while (running_.size() < options_.max_new_tokens) {
    if (ahead_begin_ == ahead_.size() && CancelWanted()) {
      out->finish = FinishReason::kCancelled;
      break;
    }
    // The logits are those of the last token, unless it was not taken in yet.
    const bool taken = ahead_begin_ == ahead_.size() &&
                       state_.position() >= first_position_ + running_.size();
    bool ended = false;
    const Clock::time_point start = Clock::now();
    if (!taken && by_itself) {
      LCSM_ASSIGN_OR_RETURN(const int32_t id, NextAhead(sample));
      LCSM_ASSIGN_OR_RETURN(
          ended, Take(id, 0.0, Seconds(start), hooks, running_, out));
    } else {
      double seconds = 0;
      if (!taken) {
        state_.Step(running_.last(), logits_.data());
        seconds = Seconds(start);
        LCSM_RETURN_IF_ERROR(model_.CheckWeights());
      }
      LCSM_ASSIGN_OR_RETURN(
          ended, Next(logits_.data(), sample, state_.position(), seconds, hooks,
                      running_, out));
    }
    if (ended) break;
  }
  return running_.Finish(hooks, out);
}

Status Generator::ContinueMany(uint64_t first_sample,
                               std::span<const GenerateHooks> hooks,
                               BatchState& batch,
                               std::vector<RunningSample>& running,
                               std::vector<GeneratedSample>& out) {
  const size_t rows = hooks.size(), vocab = logits_.size();
  std::vector<float> logits;
  for (size_t r = 0; r < rows; ++r) {
    logits.insert(logits.end(), logits_.begin(), logits_.end());
  }
  std::vector<size_t> live(rows);
  std::iota(live.begin(), live.end(), size_t{0});
  // Rows whose sample has ended go on with whatever comes: a step is over when
  // its longest sample is.
  std::vector<int32_t> tokens(rows, 0);
  FinishReason finish = FinishReason::kLength;
  for (size_t n = 0; n < options_.max_new_tokens && !live.empty(); ++n) {
    if (CancelWanted()) {
      finish = FinishReason::kCancelled;
      break;
    }
    double seconds = 0;
    if (n != 0) {
      const Clock::time_point start = Clock::now();
      for (size_t r : live) tokens[r] = running[r].last();
      batch.Step(tokens.data(), logits.data());
      seconds = Seconds(start);
      LCSM_RETURN_IF_ERROR(model_.CheckWeights());
    }
    std::vector<size_t> still;
    for (size_t r : live) {
      LCSM_ASSIGN_OR_RETURN(
          const bool ended,
          Next(logits.data() + r * vocab, first_sample + r, batch.position(),
               seconds, hooks[r], running[r], &out[r]));
      if (ended) {
        LCSM_RETURN_IF_ERROR(running[r].Finish(hooks[r], &out[r]));
      } else {
        still.push_back(r);
      }
    }
    live = std::move(still);
  }
  for (size_t r : live) {
    out[r].finish = finish;
    LCSM_RETURN_IF_ERROR(running[r].Finish(hooks[r], &out[r]));
  }
  return OkStatus();
}

StatusOr<std::vector<GeneratedSample>> Generator::Samples(
    uint64_t first_sample, std::span<const GenerateHooks> hooks) {
  const Clock::time_point start = Clock::now();
  const size_t rows = hooks.size();
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<BatchState> batch,
                        state_.Spread(rows));
  std::vector<RunningSample> running(
      rows, RunningSample(tokenizer_, stops_, options_.logprobs));
  for (RunningSample& one : running) one.Begin(options_.max_new_tokens);
  // What is not told otherwise below was broken off.
  std::vector<GeneratedSample> out(rows);
  for (GeneratedSample& one : out) one.finish = FinishReason::kCancelled;
  const StepTimes before = batch->times();
  const Status status = ContinueMany(first_sample, hooks, *batch, running, out);
  figures_.seconds += Seconds(start);
  AddTimes(before, batch->times());
  if (status.code() != StatusCode::kCancelled) LCSM_RETURN_IF_ERROR(status);
  for (size_t r = 0; r < rows; ++r) out[r].text = running[r].text();
  return out;
}

}  // namespace lcsm
