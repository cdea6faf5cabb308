// One text from one prompt: prefill, then sampling until a limit, a stop text,
// the end-of-sequence token or a wish to stop.
//
// Stop texts are matched over the bytes of tokens, across token borders, and
// are not part of the result. Bytes that may yet turn out to begin one are held
// back, and with them their tokens, until the matter is settled. A token whose
// text lies wholly inside the stop text is dropped; one that only ends in it is
// kept.
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
  // Set from anywhere (a signal handler too) to end the sample after the
  // current token. May be null; must outlive the generator.
  const std::atomic<bool>* cancel = nullptr;
};

// All may be empty. A hook's error ends the sample and is what Run returns,
// but for kCancelled, which ends it as the cancel flag does.
struct GenerateHooks {
  // A token that is part of the sample for good. `logprob` is 0 unless asked
  // for.
  std::function<Status(int32_t id, double logprob)> on_token;
  // Bytes that are part of the text for good; may end inside a UTF-8
  // character.
  std::function<Status(std::string_view text)> on_text;
  // The prompt's progress in [0, 1].
  std::function<void(double done)> on_prefill;
};

enum class FinishReason { kLength, kStop, kEos, kCancelled };
const char* Name(FinishReason reason);  // "length", "stop", "eos", "cancelled"

struct GeneratedSample {
  std::vector<int32_t> tokens;
  std::string text;  // Empty without a tokenizer.
  std::vector<double> logprobs;
  FinishReason finish = FinishReason::kLength;
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
  // Prefill; false if it was cancelled.
  StatusOr<bool> TakePrompt(std::span<const int32_t> prompt,
                            const GenerateHooks& hooks);
  void Begin();
  // Takes a sampled token into the text; true if the sample ends there.
  bool Append(int32_t id, double logprob);
  StatusOr<GeneratedSample> Timed(uint64_t sample, const GenerateHooks& hooks);
  Status Continue(uint64_t sample, const GenerateHooks& hooks,
                  GeneratedSample* out);
  // Hands over what is settled: tokens that end at or before `text_end` (or
  // begin before it, at the end of a sample) and text up to it.
  Status Settle(size_t text_end, bool last, const GenerateHooks& hooks,
                GeneratedSample* out);

  // Whether the last `steps - taken` of `steps` may still be taken.
  Status CheckSteps(size_t taken, size_t steps) const;

  struct Pending {
    int32_t id;
    double logprob;
    size_t begin, end;  // In the text of this sample.
  };

  const Model& model_;
  ModelState& state_;
  const io::Tokenizer* tokenizer_;
  const GenerateOptions options_;
  Sampler sampler_;
  StopMatcher stops_;
  std::vector<float> logits_;
  // Of the running sample: tokens not yet handed over, from pending_begin_ on,
  // and all its text, of which the first settled_ bytes were handed over.
  std::vector<Pending> pending_;
  size_t pending_begin_ = 0;
  size_t first_position_ = 0;  // Of the running sample, behind the prompt.
  std::string text_;
  size_t settled_ = 0;
  GenerateFigures figures_;
};

}  // namespace lcsm
