// One text from one prompt: prefill, then sampling until a limit, a stop text,
// the end-of-sequence token or a wish to stop.
// Or several texts from one prompt, side by side.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/tokenizer.h"
#include "lcsm/status.h"
#include "runtime/model.h"
#include "runtime/running_sample.h"
#include "runtime/sampler.h"
#include "runtime/stop_matcher.h"

namespace lcsm {

struct GenerateOptions {
  size_t max_new_tokens = 256;
  SamplerOptions sampler = {};
  std::vector<int32_t> allowed = {};  // Ids that may be sampled; empty: all.
  std::vector<std::string> stop = {};
  bool stop_at_eos = false;  // At the model's eos_id; it is not part of the
                             // result.
  bool logprobs = false;
  // Nothing is taken in after a run until the state is reset, so that the
  // prompt need not be remembered for more positions than max_new_tokens.
  bool ends_sequence = false;
  // Tokens that a state which samples by itself may be ahead of what was looked
  // at. After a stop, more than 1 leaves the state where nothing but Reset will
  // do, and a cancel waits for the tokens that are under way.
  size_t ahead = 1;
  // Set from anywhere (a signal handler too) to end the sample after the
  // current token. May be null; must outlive the generator.
  const std::atomic<bool>* cancel = nullptr;
};

// What a run has come to, so that another one can go on from there.
struct SampledSoFar {
  std::vector<int32_t> tokens;   // All, also those held back or dropped.
  std::vector<double> logprobs;  // As many, if asked for.
  std::vector<float> logits;     // Of the last position taken in.
};

// Seconds of all runs so far. The parts are those of `seconds`.
struct GenerateFigures {
  double prefill_seconds = 0;
  double seconds = 0;  // After the prompts.
  double mixer_seconds = 0, block_seconds = 0, head_seconds = 0,
         sampler_seconds = 0;
  size_t prompt_tokens = 0;
  size_t new_tokens = 0;        // Sampled, dropped ones included.
  std::vector<float> token_ms;  // One a new token, hooks left out.
};

// Not thread safe. The model, state and tokenizer must outlive it.
class Generator {
 public:
  // `tokenizer` may be null, then there is no text. Errors: those of Sampler;
  // stop texts that are empty or come without a tokenizer; stop_at_eos for a
  // model that has no such token; memory.
  static StatusOr<std::unique_ptr<Generator>> Create(
      const Model& model, ModelState& state, const io::Tokenizer* tokenizer,
      const GenerateOptions& options);

  // Takes the prompt in from where the state stands and generates. `sample`
  // numbers the random stream. The last token sampled is not taken in. Errors:
  // an empty prompt; ids outside the vocabulary; prompt and new tokens that
  // exceed the state's horizon; a weights file cut short while in use; what a
  // hook returned. The state is then fit only for Reset.
  StatusOr<GeneratedSample> Run(std::span<const int32_t> prompt,
                                uint64_t sample, const GenerateHooks& hooks);

  // Several samples of one prompt, in two steps. The first takes the prompt in
  // and answers false if it was cancelled. The second, as often as wanted,
  // gives samples first_sample, first_sample + 1, ... side by side
  // (ModelState::Spread), as many as there are hooks: each is what Run gives by
  // itself, and together they take about as long as the longest. Hooks are
  // called row by row after each step; one that says kCancelled ends all. The
  // state stands behind the prompt afterwards. Errors: those of Run, memory for
  // the rows.
  StatusOr<bool> ReadPrompt(std::span<const int32_t> prompt,
                            const GenerateHooks& hooks);
  StatusOr<std::vector<GeneratedSample>> Samples(
      uint64_t first_sample, std::span<const GenerateHooks> hooks);

  // Goes on with a run that `so_far` is left of, in a state that stands where
  // that run's stood; its prompt was `prompt_size` tokens. The result, hooks
  // included, is that of one unbroken run. Errors: those of Run, and a state
  // that stands elsewhere.
  StatusOr<GeneratedSample> Resume(size_t prompt_size,
                                   const SampledSoFar& so_far, uint64_t sample,
                                   const GenerateHooks& hooks);

  // Of the last run.
  SampledSoFar Sampled() const;
  const GenerateOptions& options() const { return options_; }

  const GenerateFigures& figures() const { return figures_; }

 private:
  Generator(const Model& model, ModelState& state,
            const io::Tokenizer* tokenizer, const GenerateOptions& options,
            Sampler sampler, StopMatcher stops);
  Status CheckRun(std::span<const int32_t> prompt) const;
  bool CancelWanted() const;
  StatusOr<bool> TakePrompt(std::span<const int32_t> prompt,
                            const GenerateHooks& hooks);
  // Samples what follows `logits`, of the token before `position`; they took
  // `seconds` to come by. True if that ends the sample.
  StatusOr<bool> Next(const float* logits, uint64_t sample, size_t position,
                      double seconds, const GenerateHooks& hooks,
                      RunningSample& running, GeneratedSample* out);
  // The same of a token that was sampled.
  StatusOr<bool> Take(int32_t id, double logprob, double seconds,
                      const GenerateHooks& hooks, RunningSample& running,
                      GeneratedSample* out);
  Status ContinueMany(uint64_t first_sample,
                      std::span<const GenerateHooks> hooks, BatchState& batch,
                      std::vector<RunningSample>& running,
                      std::vector<GeneratedSample>& out);
  void AddTimes(const StepTimes& before, const StepTimes& after);
  StatusOr<GeneratedSample> Timed(uint64_t sample, const GenerateHooks& hooks);
  Status Continue(uint64_t sample, const GenerateHooks& hooks,
                  GeneratedSample* out);
  void Begin();
  // Whether the last `steps - taken` of `steps` may still be taken.
  Status CheckSteps(size_t taken, size_t steps) const;

  // The next token by the state's own sampler, from a group that was fetched
  // before or now.
  StatusOr<int32_t> NextAhead(uint64_t sample);

  const Model& model_;
  ModelState& state_;
  const io::Tokenizer* tokenizer_;
  const GenerateOptions options_;
  Sampler sampler_;
  StopMatcher stops_;
  std::vector<float> logits_;
  // Sampled by the state and not looked at yet, from ahead_begin_ on.
  std::vector<int32_t> ahead_;
  size_t ahead_begin_ = 0;
  size_t first_position_ = 0;  // Of the running sample, behind the prompt.
  RunningSample running_;
  GenerateFigures figures_;
};

}  // namespace lcsm
