#include "generate_setup.h"

#include <fmt/format.h>

#include <random>
#include <utility>

#include "api/allowed_ids.h"
#include "base/cpu_info.h"
#include "interrupt.h"
#include "terminal.h"

namespace lcsm::cli {
namespace {

// Short, so that a person can type it again.
uint64_t DrawSeed() { return std::random_device()() % 1'000'000; }

}  // namespace

void Note(const GenerateArguments& arguments, const std::string& sentence) {
  if (arguments.quiet || sentence.empty()) return;
  Say("lcsm: note: {}\n", sentence);
}

RunSettings MakeSettings(const GenerateArguments& arguments,
                         const ModelInfo& info) {
  RunSettings settings;
  settings.model = info.name;
  settings.model_hash = info.hash;
  settings.format = arguments.format;
  settings.logprobs = arguments.logprobs;
  settings.seed = arguments.seed ? *arguments.seed : DrawSeed();
  settings.temperature = arguments.temperature;
  settings.top_k = arguments.top_k;
  settings.top_p = arguments.top_p;
  settings.min_p = arguments.min_p;
  return settings;
}

namespace {

// Some milliseconds of a GPU's tokens: few enough for a stream to look even.
constexpr size_t kAhead = 64;

}  // namespace

StatusOr<GenerateOptions> MakeGenerateOptions(
    const GenerateArguments& arguments, const io::Tokenizer* tokenizer,
    const RunSettings& settings) {
  GenerateOptions options;
  options.max_new_tokens = arguments.max_new_tokens;
  options.sampler = {arguments.temperature, arguments.top_k, arguments.top_p,
                     arguments.min_p, settings.seed};
  options.stop = arguments.stop;
  options.stop_at_eos = arguments.stop_at_eos;
  options.logprobs = arguments.logprobs;
  options.ends_sequence = true;
  // Where a run may be saved, the state must not be ahead of what was seen.
  if (!arguments.save_session) options.ahead = kAhead;
  options.cancel = &InterruptFlag();
  if (arguments.allow) {
    if (tokenizer == nullptr) {
      return InvalidInput(
          fmt::format("--allow: the model {} has no tokenizer to say which "
                      "tokens these characters are",
                      settings.model));
    }
    auto allowed = api::AllowedIds(*tokenizer, *arguments.allow);
    if (!allowed.ok()) {
      return InvalidInput("--allow: " + allowed.status().message());
    }
    options.allowed = std::move(allowed).value();
  }
  return options;
}

Status CheckLength(const GenerateArguments& arguments, const ModelInfo& info,
                   size_t prompt, const std::string& what) {
  const size_t limit = info.max_length;
  // The last token is generated but never taken in.
  if (prompt <= limit && arguments.max_new_tokens - 1 <= limit - prompt) {
    return OkStatus();
  }
  return InvalidInput(fmt::format(
      "{} and --max-new-tokens {} do not fit the model {}, which takes {} "
      "positions, expected {}",
      what, arguments.max_new_tokens, info.name, limit,
      prompt > limit
          ? "a shorter prompt"
          : fmt::format("at most {} new tokens here", limit - prompt + 1)));
}

RunFigures MakeFigures(const GenerateArguments& arguments,
                       const RunSettings& settings, const ModelInfo& info,
                       size_t threads) {
  RunFigures figures;
  figures.model = settings.model;
  figures.model_hash = settings.model_hash;
  figures.method = arguments.execution.method;
  figures.tau =
      arguments.execution.tau.empty() ? "hybrid" : arguments.execution.tau;
  figures.schedule = arguments.execution.schedule;
  figures.weights = info.weight_format;
  figures.simd_target = SimdTarget();
  figures.threads = threads;
  figures.seed = settings.seed;
  return figures;
}

void AddFigures(const GenerateFigures& more, RunFigures* figures) {
  figures->prefill_seconds += more.prefill_seconds;
  figures->seconds += more.seconds;
  figures->token_ms.insert(figures->token_ms.end(), more.token_ms.begin(),
                           more.token_ms.end());
  figures->mixer_seconds += more.mixer_seconds;
  figures->block_seconds += more.block_seconds;
  figures->head_seconds += more.head_seconds;
  figures->sampler_seconds += more.sampler_seconds;
}

}  // namespace lcsm::cli
