#include "runtime/running_sample.h"

namespace lcsm {

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

void RunningSample::Begin(size_t max_tokens) {
  tokens_.clear();
  handed_over_ = 0;
  text_.clear();
  settled_ = 0;
  tokens_.reserve(max_tokens);
}

bool RunningSample::Append(int32_t id, double logprob) {
  Token token;
  token.id = id;
  token.logprob = logprob;
  token.begin = text_.size();
  if (tokenizer_ != nullptr) text_ += tokenizer_->TokenBytes(id);
  token.end = text_.size();
  tokens_.push_back(token);
  const size_t match = stops_.Find(text_, token.begin);
  if (match == StopMatcher::kNone) return false;
  text_.resize(match);
  return true;
}

Status RunningSample::Settle(const GenerateHooks& hooks, GeneratedSample* out) {
  return HandOver(text_.size() - stops_.HoldBack(text_), /*last=*/false, hooks,
                  out);
}

Status RunningSample::Finish(const GenerateHooks& hooks, GeneratedSample* out) {
  LCSM_RETURN_IF_ERROR(HandOver(text_.size(), /*last=*/true, hooks, out));
  out->text = text();
  return OkStatus();
}

Status RunningSample::HandOver(size_t text_end, bool last,
                               const GenerateHooks& hooks,
                               GeneratedSample* out) {
  for (; handed_over_ < tokens_.size(); ++handed_over_) {
    const Token& token = tokens_[handed_over_];
    if (token.end > text_end && !(last && token.begin < text_end)) break;
    out->tokens.push_back(token.id);
    if (logprobs_) out->logprobs.push_back(token.logprob);
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
