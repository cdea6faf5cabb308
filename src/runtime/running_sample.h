// One sample as it comes: its tokens, its text, and what of both is settled.
//
// Stop texts are matched over the bytes of tokens, across token borders, and
// are not part of the result. Bytes that may yet turn out to begin one are held
// back, and with them their tokens, until the matter is settled. A token whose
// text lies wholly inside the stop text is dropped; one that only ends in it is
// kept.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "io/tokenizer.h"
#include "lcsm/status.h"
#include "runtime/stop_matcher.h"

namespace lcsm {

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

// Belongs to one thread. Tokenizer and matcher must outlive it.
class RunningSample {
 public:
  // `tokenizer` may be null, then there is no text.
  RunningSample(const io::Tokenizer* tokenizer, const StopMatcher& stops,
                bool logprobs)
      : tokenizer_(tokenizer), stops_(stops), logprobs_(logprobs) {}

  // Empty again, with room for so many tokens.
  void Begin(size_t max_tokens);
  // Takes a sampled token into the text; true if the sample ends there.
  bool Append(int32_t id, double logprob);
  // Hands over what is settled by now, also to `out`.
  Status Settle(const GenerateHooks& hooks, GeneratedSample* out);
  // The same for all that is left, and the text: the sample is over.
  Status Finish(const GenerateHooks& hooks, GeneratedSample* out);

  // What was handed over.
  std::string text() const { return text_.substr(0, settled_); }
  // Tokens appended, also those held back or dropped.
  size_t size() const { return tokens_.size(); }
  int32_t last() const { return tokens_.back().id; }
  int32_t id(size_t i) const { return tokens_[i].id; }
  double logprob(size_t i) const { return tokens_[i].logprob; }

 private:
  struct Token {
    int32_t id;
    double logprob;
    size_t begin, end;  // In the text.
  };
  // Tokens that end at or before `text_end` (or begin before it, at the end of
  // a sample) and text up to it.
  Status HandOver(size_t text_end, bool last, const GenerateHooks& hooks,
                  GeneratedSample* out);

  const io::Tokenizer* tokenizer_;
  const StopMatcher& stops_;
  bool logprobs_;
  std::vector<Token> tokens_;
  size_t handed_over_ = 0;  // Tokens.
  std::string text_;
  size_t settled_ = 0;  // Bytes of the text that were handed over.
};

}  // namespace lcsm
