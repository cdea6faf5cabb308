#include "generate_session.h"

#include <fmt/format.h>

#include <utility>

namespace lcsm::cli {
namespace {

// An option that was given must say what the session says.
template <typename T>
Status Agree(const GenerateArguments& arguments, const char* option,
             const T& given, const T& saved) {
  if (!arguments.given.contains(option) || given == saved) return OkStatus();
  return InvalidInput(fmt::format(
      "{}: was generated with another {}, expected the same or none",
      *arguments.resume, option));
}

}  // namespace

StatusOr<std::unique_ptr<OpenedSession>> OpenToResume(GenerateArguments& a) {
  LCSM_ASSIGN_OR_RETURN(OpenedSession opened, OpenSession(*a.resume));
  auto session = std::make_unique<OpenedSession>(std::move(opened));
  const GenerateOptions& saved = session->record.options;
  const SamplerOptions& sampler = saved.sampler;
  LCSM_RETURN_IF_ERROR(
      Agree(a, "--temperature", a.temperature, sampler.temperature));
  LCSM_RETURN_IF_ERROR(Agree(a, "--top-k", a.top_k, sampler.top_k));
  LCSM_RETURN_IF_ERROR(Agree(a, "--top-p", a.top_p, sampler.top_p));
  LCSM_RETURN_IF_ERROR(Agree(a, "--min-p", a.min_p, sampler.min_p));
  LCSM_RETURN_IF_ERROR(Agree(a, "--seed", a.seed.value_or(0), sampler.seed));
  LCSM_RETURN_IF_ERROR(Agree(a, "--stop", a.stop, saved.stop));
  LCSM_RETURN_IF_ERROR(
      Agree(a, "--stop-at-eos", a.stop_at_eos, saved.stop_at_eos));
  LCSM_RETURN_IF_ERROR(Agree(a, "--logprobs", a.logprobs, saved.logprobs));
  a.temperature = sampler.temperature;
  a.top_k = sampler.top_k;
  a.top_p = sampler.top_p;
  a.min_p = sampler.min_p;
  a.seed = sampler.seed;
  a.stop = saved.stop;
  a.stop_at_eos = saved.stop_at_eos;
  a.logprobs = saved.logprobs;
  if (!a.given.contains("--max-new-tokens")) {
    a.max_new_tokens = saved.max_new_tokens;
  }
  if (a.logprobs && a.format != "jsonl") {
    return InvalidInput(fmt::format(
        "{}: was generated with --logprobs, which need --format jsonl",
        *a.resume));
  }
  return session;
}

StatusOr<Prompt> ResumedPrompt(const GenerateArguments& arguments,
                               const OpenedSession& session,
                               const std::optional<Prompt>& given,
                               const io::Tokenizer* tokenizer) {
  if (given && given->ids != session.record.prompt) {
    return InvalidInput(fmt::format(
        "{}: was generated from another prompt, expected the same or none",
        *arguments.resume));
  }
  if (given) return *given;
  Prompt prompt;
  prompt.ids = session.record.prompt;
  if (tokenizer != nullptr) prompt.text = tokenizer->Decode(prompt.ids);
  return prompt;
}

bool WantsLonger(const GenerateArguments& arguments,
                 const OpenedSession& session) {
  const SessionRecord& record = session.record;
  const size_t steps = arguments.max_new_tokens - 1;
  return record.prompt.size() > record.horizon ||
         steps > record.horizon - record.prompt.size();
}

std::vector<int32_t> TokensSoFar(const OpenedSession& session) {
  std::vector<int32_t> tokens = session.record.prompt;
  const std::vector<int32_t>& sampled = session.record.sampled.tokens;
  if (!sampled.empty()) {
    tokens.insert(tokens.end(), sampled.begin(), sampled.end() - 1);
  }
  return tokens;
}

Status TakeTokensSoFar(OpenedSession& session, ModelState& state,
                       const ModelState::Progress& progress) {
  const std::vector<int32_t> tokens = TokensSoFar(session);
  if (tokens.empty()) {
    return InvalidInput(
        fmt::format("{}: holds no tokens, expected at least one to go on from",
                    session.reader.name()));
  }
  ModelState::PrefillRequest request;
  request.last_logits = session.record.sampled.logits.data();
  request.progress = progress;
  LCSM_RETURN_IF_ERROR(state.Prefill(tokens, request));
  state.BeginSteps();
  return OkStatus();
}

}  // namespace lcsm::cli
