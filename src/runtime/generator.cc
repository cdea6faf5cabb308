#include "runtime/generator.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace lcsm {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point since) {
  return std::chrono::duration<double>(Clock::now() - since).count();
}

}  // namespace

const char* Name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kLength:
      return "length";
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kEos:
      return "eos";
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "";
}

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
      logits_(model.info().padded_vocab) {}

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

void Generator::Begin() {
  pending_.clear();
  pending_begin_ = 0;
  text_.clear();
  settled_ = 0;
  pending_.reserve(options_.max_new_tokens);
  figures_.token_ms.reserve(figures_.token_ms.size() + options_.max_new_tokens);
}

StatusOr<GeneratedSample> Generator::Run(std::span<const int32_t> prompt,
                                         uint64_t sample,
                                         const GenerateHooks& hooks) {
  LCSM_RETURN_IF_ERROR(CheckRun(prompt));
  Begin();
  LCSM_ASSIGN_OR_RETURN(const bool taken, TakePrompt(prompt, hooks));
  if (!taken) {
    GeneratedSample out;
    out.finish = FinishReason::kCancelled;
    return out;
  }
  const size_t steps = std::max<size_t>(options_.max_new_tokens, 1) - 1;
  if (state_.StepRoom() < steps) state_.BeginSteps();
  LCSM_RETURN_IF_ERROR(CheckSteps(0, steps));
  first_position_ = state_.position();
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
    if (Append(so_far.tokens[i],
               options_.logprobs ? so_far.logprobs[i] : 0.0)) {
      GeneratedSample out;
      out.finish = FinishReason::kStop;
      LCSM_RETURN_IF_ERROR(Settle(text_.size(), /*last=*/true, hooks, &out));
      out.text = text_.substr(0, settled_);
      return out;
    }
  }
  return Timed(sample, hooks);
}

SampledSoFar Generator::Sampled() const {
  SampledSoFar so_far;
  for (const Pending& token : pending_) {
    so_far.tokens.push_back(token.id);
    if (options_.logprobs) so_far.logprobs.push_back(token.logprob);
  }
  so_far.logits = logits_;
  return so_far;
}

StatusOr<GeneratedSample> Generator::Timed(uint64_t sample,
                                           const GenerateHooks& hooks) {
  GeneratedSample out;
  out.tokens.reserve(options_.max_new_tokens);
  const StepTimes before = state_.times();
  const Clock::time_point start = Clock::now();
  Status status = Continue(sample, hooks, &out);
  figures_.seconds += Seconds(start);
  const StepTimes& after = state_.times();
  figures_.mixer_seconds += after.mixers - before.mixers;
  figures_.block_seconds += after.blocks - before.blocks;
  figures_.head_seconds += after.head - before.head;
  if (status.code() == StatusCode::kCancelled) {
    out.finish = FinishReason::kCancelled;
    status = OkStatus();
  }
  LCSM_RETURN_IF_ERROR(status);
  out.text = text_.substr(0, settled_);
  return out;
}

bool Generator::Append(int32_t id, double logprob) {
  Pending token;
  token.id = id;
  token.logprob = logprob;
  token.begin = text_.size();
  if (tokenizer_ != nullptr) text_ += tokenizer_->TokenBytes(id);
  token.end = text_.size();
  pending_.push_back(token);
  const size_t match = stops_.Find(text_, token.begin);
  if (match == StopMatcher::kNone) return false;
  text_.resize(match);
  return true;
}

Status Generator::Continue(uint64_t sample, const GenerateHooks& hooks,
                           GeneratedSample* out) {
  out->finish = FinishReason::kLength;
  // A run that goes on first hands over what was settled before.
  LCSM_RETURN_IF_ERROR(Settle(text_.size() - stops_.HoldBack(text_),
                              /*last=*/false, hooks, out));
  while (pending_.size() < options_.max_new_tokens) {
    if (CancelWanted()) {
      out->finish = FinishReason::kCancelled;
      break;
    }
    Clock::time_point start = Clock::now();
    float milliseconds = 0;
    // The logits are those of the last token, unless it was not taken in yet.
    if (state_.position() < first_position_ + pending_.size()) {
      state_.Step(pending_.back().id, logits_.data());
      milliseconds = static_cast<float>(Seconds(start) * 1e3);
      LCSM_RETURN_IF_ERROR(model_.CheckWeights());
      start = Clock::now();
    }
    const int32_t id =
        sampler_.Sample(logits_.data(), sample, state_.position());
    const double logprob =
        options_.logprobs ? sampler_.LogProb(logits_.data(), id) : 0.0;
    const double sampling = Seconds(start);
    figures_.sampler_seconds += sampling;
    figures_.token_ms.push_back(milliseconds +
                                static_cast<float>(sampling * 1e3));
    ++figures_.new_tokens;
    if (options_.stop_at_eos && id == model_.info().eos_id) {
      out->finish = FinishReason::kEos;
      break;
    }
    if (Append(id, logprob)) {
      out->finish = FinishReason::kStop;
      break;
    }
    LCSM_RETURN_IF_ERROR(Settle(text_.size() - stops_.HoldBack(text_),
                                /*last=*/false, hooks, out));
  }
  return Settle(text_.size(), /*last=*/true, hooks, out);
}

Status Generator::Settle(size_t text_end, bool last, const GenerateHooks& hooks,
                         GeneratedSample* out) {
  for (; pending_begin_ < pending_.size(); ++pending_begin_) {
    const Pending& token = pending_[pending_begin_];
    if (token.end > text_end && !(last && token.begin < text_end)) break;
    out->tokens.push_back(token.id);
    if (options_.logprobs) out->logprobs.push_back(token.logprob);
    if (hooks.on_token) {
      LCSM_RETURN_IF_ERROR(hooks.on_token(token.id, token.logprob));
    }
  }
  if (text_end > settled_) {
    const std::string_view fresh =
        std::string_view(text_).substr(settled_, text_end - settled_);
    settled_ = text_end;
    if (hooks.on_text) LCSM_RETURN_IF_ERROR(hooks.on_text(fresh));
  }
  return OkStatus();
}

}  // namespace lcsm
