#include "api/engine.h"  // First: see there.

#include <algorithm>
#include <string>
#include <utility>

#include "api/allowed_ids.h"
#include "api/execution.h"
#include "base/thread_pool.h"
#include "lcsm/session.h"

namespace lcsm {
inline namespace v0 {
namespace {

FinishReason ToPublic(api::EngineFinishReason reason) {
  switch (reason) {
    case api::EngineFinishReason::kStop:
      return FinishReason::kStop;
    case api::EngineFinishReason::kEos:
      return FinishReason::kEos;
    case api::EngineFinishReason::kCancelled:
      return FinishReason::kCancelled;
    case api::EngineFinishReason::kLength:
      break;
  }
  return FinishReason::kLength;
}

Generation ToPublic(api::EngineSample sample) {
  Generation out;
  out.tokens = std::move(sample.tokens);
  out.text = std::move(sample.text);
  out.logprobs = std::move(sample.logprobs);
  out.finish = ToPublic(sample.finish);
  return out;
}

api::EngineHooks ToHooks(const GenerateOptions& options) {
  api::EngineHooks hooks;
  if (options.on_text) {
    hooks.on_text = [&options](std::string_view text) {
      return options.on_text(text) ? OkStatus() : Cancelled("not wanted");
    };
  }
  return hooks;
}

StatusOr<api::EngineGenerateOptions> ToEngine(const GenerateOptions& options,
                                              const Engine& engine) {
  api::EngineGenerateOptions out;
  out.max_new_tokens = options.max_new_tokens;
  out.sampler.temperature = options.sampling.temperature;
  out.sampler.top_k = options.sampling.top_k;
  out.sampler.top_p = options.sampling.top_p;
  out.sampler.min_p = options.sampling.min_p;
  out.sampler.seed = options.sampling.seed;
  out.stop = options.stop;
  out.stop_at_eos = options.stop_at_eos;
  out.logprobs = options.logprobs;
  if (!options.allow.empty()) {
    if (engine.tokenizer() == nullptr) return engine.tokenizer_status();
    LCSM_ASSIGN_OR_RETURN(out.allowed,
                          api::AllowedIds(*engine.tokenizer(), options.allow));
  }
  return out;
}

// That a generation takes in at most: the last token sampled is not.
size_t Positions(std::span<const int32_t> prompt,
                 const GenerateOptions& options) {
  // Nobody's sequence is that long, and it can be added to.
  constexpr size_t kAny = size_t{1} << 60;
  return prompt.size() +
         std::min(kAny, std::max<size_t>(options.max_new_tokens, 1) - 1);
}

// Stricter than the engine, which would take the head's padding in: those rows
// of the embedding were never trained.
Status CheckToken(int32_t token, size_t vocab) {
  if (token >= 0 && static_cast<size_t>(token) < vocab) return OkStatus();
  return InvalidInput("the token id " + std::to_string(token) +
                      " is outside the vocabulary, expected 0 to " +
                      std::to_string(vocab - 1));
}

}  // namespace

struct Session::Impl {
  // A generator for this session.
  StatusOr<std::unique_ptr<api::EngineGenerator>> NewGenerator(
      const GenerateOptions& options) const;

  Impl(std::shared_ptr<const Engine> shared,
       std::shared_ptr<ThreadPool> threads)
      : engine(std::move(shared)), pool(std::move(threads)) {}

  static StatusOr<std::unique_ptr<Impl>> Create(
      std::shared_ptr<const Engine> engine,
      const api::EnginePrepareOptions& prepare, size_t threads,
      bool keep_tokens);

  // Session::Reserve. What fails leaves everything as it was.
  Status Reserve(size_t positions);
  // The same before `more` positions are taken in by a session that grows by
  // itself, with more to spare.
  Status MakeRoom(size_t more);

  // Tells that `tokens` were taken in. Allocates nothing: room for all was made
  // at the start.
  void Took(std::span<const int32_t> more) {
    if (keep_tokens) tokens.insert(tokens.end(), more.begin(), more.end());
  }

  std::shared_ptr<const Engine> engine;
  std::shared_ptr<ThreadPool> pool;  // Shared with forks.
  // What a longer preparation is made with, but for its horizon.
  api::EnginePrepareOptions options;
  std::shared_ptr<const api::EnginePreparedModel> prepared;
  std::unique_ptr<api::EngineState> state;  // Before the pool dies.
  std::vector<float> logits;
  bool with_logits = false;
  bool keep_tokens = true;
  std::vector<int32_t> tokens;  // Taken in, if they are kept.
};

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

StatusOr<std::unique_ptr<Session::Impl>> Session::Impl::Create(
    std::shared_ptr<const Engine> engine,
    const api::EnginePrepareOptions& prepare, size_t threads,
    bool keep_tokens) {
  auto impl = std::make_unique<Impl>(std::move(engine),
                                     std::make_shared<ThreadPool>(threads));
  LCSM_ASSIGN_OR_RETURN(impl->prepared, impl->engine->model().Prepare(
                                            prepare, *impl->pool, nullptr));
  LCSM_ASSIGN_OR_RETURN(impl->state, impl->prepared->NewState(*impl->pool));
  impl->options = prepare;
  impl->keep_tokens = keep_tokens;
  if (keep_tokens) impl->tokens.reserve(impl->state->horizon());
  impl->logits.resize(impl->engine->info().padded_vocab);
  return impl;
}

Status Session::Impl::Reserve(size_t positions) {
  const ModelInfo& info = engine->info();
  if (positions < state->horizon()) {
    return InvalidInput(
        "the session has room for " + std::to_string(state->horizon()) +
        " positions and cannot shrink to " + std::to_string(positions));
  }
  if (positions == state->horizon()) return OkStatus();
  if (positions > info.max_length) {
    return InvalidInput("the session would have " + std::to_string(positions) +
                        " positions, expected at most " +
                        std::to_string(info.max_length) +
                        ", the length limit of the model " + info.name);
  }
  if (!options.growable && !keep_tokens) {
    return InvalidInput(
        "the session cannot be made longer: it was made with keep_tokens off "
        "and not growable, expected one of them");
  }
  api::EnginePrepareOptions longer = options;
  // Steps may have given up more than is asked for now.
  longer.horizon = std::max(positions, prepared->horizon());
  if (options.growable) longer.shorter = prepared.get();
  LCSM_ASSIGN_OR_RETURN(auto next_prepared,
                        engine->model().Prepare(longer, *pool, nullptr));
  std::unique_ptr<api::EngineState> next;
  if (options.growable) {
    LCSM_ASSIGN_OR_RETURN(next, next_prepared->Grow(*state));
  } else {
    LCSM_ASSIGN_OR_RETURN(next, next_prepared->NewState(*pool));
    if (!tokens.empty()) LCSM_RETURN_IF_ERROR(next->Prefill(tokens, {}));
    LCSM_RETURN_IF_ERROR(engine->model().CheckWeights());
  }
  if (keep_tokens) tokens.reserve(next->horizon());
  state = std::move(next);
  prepared = std::move(next_prepared);
  return OkStatus();
}

Status Session::Impl::MakeRoom(size_t more) {
  const size_t at = state->position(), room = state->horizon() - at;
  if (!options.growable || more <= room) return OkStatus();
  const size_t limit = engine->info().max_length;
  // Growing takes as long as reading all tokens: by a factor it stays a part of
  // the whole.
  return Reserve(std::max(at + more, std::min(limit, 2 * state->horizon())));
}

StatusOr<Session> Session::Create(const Model& model,
                                  const SessionOptions& options) {
  return api::NoThrow([&]() -> StatusOr<Session> {
    LCSM_ASSIGN_OR_RETURN(const auto prepare,
                          model.engine_->ToPrepareOptions(options));
    LCSM_ASSIGN_OR_RETURN(auto impl, Impl::Create(model.engine_, prepare,
                                                  options.execution.threads,
                                                  options.keep_tokens));
    return Session(std::move(impl));
  });
}

Status Session::Save(const std::filesystem::path& path) const {
  return api::NoThrow([&]() -> Status {
    if (!impl_->keep_tokens) {
      return InvalidInput(
          "the session cannot be saved: it was made with keep_tokens off, "
          "expected on");
    }
    auto record = MakeSessionRecord(impl_->engine->model(), *impl_->prepared,
                                    impl_->tokens);
    record.sampled.logits = impl_->logits;
    return SaveSession(path, record, *impl_->state);
  });
}

StatusOr<Session> Session::Load(const Model& model,
                                const std::filesystem::path& path,
                                const ExecutionOptions& options) {
  return api::NoThrow([&]() -> StatusOr<Session> {
    LCSM_ASSIGN_OR_RETURN(auto file, OpenSession(path));
    LCSM_RETURN_IF_ERROR(file.Check(model.engine_->model().info()));
    LCSM_ASSIGN_OR_RETURN(auto plan, api::ToPlanOptions(options));
    LCSM_ASSIGN_OR_RETURN(const auto prepare, file.ToPrepareOptions(plan));
    LCSM_ASSIGN_OR_RETURN(auto impl,
                          Impl::Create(model.engine_, prepare, options.threads,
                                       /*keep_tokens=*/true));
    PlanAnew(&impl->options);
    LCSM_RETURN_IF_ERROR(file.Load(*impl->state));
    // A generation in progress, if that is what it is, may have drawn one token
    // more than it took in.
    impl->tokens = std::move(file.record.prompt);
    const std::vector<int32_t>& sampled = file.record.sampled.tokens;
    impl->tokens.insert(impl->tokens.end(), sampled.begin(), sampled.end());
    impl->tokens.resize(impl->state->position());
    impl->tokens.reserve(impl->state->horizon());
    impl->logits = std::move(file.record.sampled.logits);
    impl->with_logits = impl->state->position() > 0;
    return Session(std::move(impl));
  });
}

Status Session::Reserve(size_t max_length) {
  return api::NoThrow([&] { return impl_->Reserve(max_length); });
}

Status Session::Prefill(std::span<const int32_t> tokens) {
  return api::NoThrow([&]() -> Status {
    if (tokens.empty()) return OkStatus();
    for (const int32_t token : tokens) {
      LCSM_RETURN_IF_ERROR(CheckToken(token, impl_->engine->info().vocab));
    }
    LCSM_RETURN_IF_ERROR(impl_->MakeRoom(tokens.size()));
    LCSM_RETURN_IF_ERROR(
        impl_->state->Prefill(tokens, {.last_logits = impl_->logits.data()}));
    impl_->with_logits = true;
    impl_->Took(tokens);
    return impl_->engine->model().CheckWeights();
  });
}

StatusOr<Session> Session::Fork() const {
  return api::NoThrow([&]() -> StatusOr<Session> {
    auto fork = std::make_unique<Impl>(impl_->engine, impl_->pool);
    fork->options = impl_->options;
    fork->prepared = impl_->prepared;
    LCSM_ASSIGN_OR_RETURN(fork->state, impl_->state->Fork());
    fork->logits = impl_->logits;
    fork->with_logits = impl_->with_logits;
    fork->keep_tokens = impl_->keep_tokens;
    if (fork->keep_tokens) fork->tokens.reserve(fork->state->horizon());
    fork->Took(impl_->tokens);
    return Session(std::move(fork));
  });
}

Status Session::Truncate(size_t wanted) {
  return api::NoThrow([&]() -> Status {
    if (wanted == position()) return OkStatus();
    if (wanted > position() || !impl_->keep_tokens) {
      return InvalidInput(
          "the session cannot be cut to position " + std::to_string(wanted) +
          ", expected " +
          (impl_->keep_tokens
               ? "0 to " + std::to_string(position()) + ", where it stands"
               : "position " + std::to_string(position()) +
                     ", the earliest it has kept"));
    }
    std::vector<int32_t> tokens = std::move(impl_->tokens);
    impl_->tokens.clear();
    impl_->tokens.reserve(impl_->state->horizon());
    tokens.resize(wanted);
    Reset();
    return Prefill(tokens);
  });
}

Status Session::Step(int32_t token) {
  const ModelInfo& info = impl_->engine->info();
  LCSM_RETURN_IF_ERROR(CheckToken(token, info.vocab));
  if (position() >= max_length()) {
    return ResourceExhausted("the session is full: it has taken " +
                             std::to_string(position()) +
                             " tokens in, and Reserve makes it longer");
  }
  if (impl_->state->StepRoom() == 0) impl_->state->BeginSteps();
  impl_->state->Step(token, impl_->logits.data());
  impl_->with_logits = true;
  impl_->Took({&token, 1});
  return impl_->engine->model().CheckWeights();
}

std::span<const float> Session::logits() const {
  if (!impl_->with_logits) return {};
  return impl_->logits;
}

StatusOr<std::unique_ptr<api::EngineGenerator>> Session::Impl::NewGenerator(
    const GenerateOptions& wanted) const {
  LCSM_ASSIGN_OR_RETURN(const auto engine_options, ToEngine(wanted, *engine));
  return api::EngineGenerator::Create(engine->model(), *state,
                                      engine->tokenizer(), engine_options);
}

StatusOr<Generation> Session::Generate(std::span<const int32_t> prompt,
                                       const GenerateOptions& options) {
  return api::NoThrow([&]() -> StatusOr<Generation> {
    LCSM_RETURN_IF_ERROR(impl_->MakeRoom(Positions(prompt, options)));
    LCSM_ASSIGN_OR_RETURN(const auto generator, impl_->NewGenerator(options));
    impl_->with_logits = false;  // Should it fail.
    const size_t before = position();
    LCSM_ASSIGN_OR_RETURN(
        api::EngineSample sample,
        generator->Run(prompt, options.sampling.sample, ToHooks(options)));
    const size_t taken = position() - before;
    auto so_far = generator->Sampled();
    impl_->Took(prompt.first(std::min(taken, prompt.size())));
    if (taken > prompt.size()) {
      impl_->Took(std::span(so_far.tokens).first(taken - prompt.size()));
    }
    impl_->logits = std::move(so_far.logits);
    impl_->with_logits = taken >= prompt.size();
    return ToPublic(std::move(sample));
  });
}

StatusOr<Generation> Session::Generate(std::string_view prompt,
                                       const GenerateOptions& options) {
  return api::NoThrow([&]() -> StatusOr<Generation> {
    const io::Tokenizer* tokenizer = impl_->engine->tokenizer();
    if (tokenizer == nullptr) return impl_->engine->tokenizer_status();
    return Generate(tokenizer->Encode(prompt).ids, options);
  });
}

StatusOr<std::vector<Generation>> Session::Samples(
    std::span<const int32_t> prompt, size_t count,
    const GenerateOptions& options) {
  return api::NoThrow([&]() -> StatusOr<std::vector<Generation>> {
    if (count == 0) {
      return InvalidInput("0 samples were asked for, expected at least 1");
    }
    LCSM_RETURN_IF_ERROR(impl_->MakeRoom(Positions(prompt, options)));
    LCSM_ASSIGN_OR_RETURN(const auto generator, impl_->NewGenerator(options));
    impl_->with_logits = false;  // Should it fail.
    const api::EngineHooks first = ToHooks(options);
    std::vector<Generation> out(count);
    LCSM_ASSIGN_OR_RETURN(const bool read,
                          generator->ReadPrompt(prompt, first));
    if (!read) {
      for (Generation& one : out) one.finish = FinishReason::kCancelled;
      return out;
    }
    impl_->Took(prompt);
    impl_->logits = generator->Sampled().logits;
    impl_->with_logits = true;
    std::vector<api::EngineHooks> hooks(count);
    hooks[0] = first;
    LCSM_ASSIGN_OR_RETURN(std::vector<api::EngineSample> samples,
                          generator->Samples(options.sampling.sample, hooks));
    for (size_t k = 0; k < count; ++k) out[k] = ToPublic(std::move(samples[k]));
    return out;
  });
}

StatusOr<std::vector<Generation>> Session::Samples(
    std::string_view prompt, size_t count, const GenerateOptions& options) {
  return api::NoThrow([&]() -> StatusOr<std::vector<Generation>> {
    const io::Tokenizer* tokenizer = impl_->engine->tokenizer();
    if (tokenizer == nullptr) return impl_->engine->tokenizer_status();
    return Samples(tokenizer->Encode(prompt).ids, count, options);
  });
}

size_t Session::position() const { return impl_->state->position(); }
size_t Session::max_length() const { return impl_->state->horizon(); }

void Session::Reset() {
  impl_->state->Reset();
  impl_->with_logits = false;
  impl_->tokens.clear();
}

}  // namespace v0
}  // namespace lcsm
