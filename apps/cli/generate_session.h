// `lcsm generate --save-session` and `--resume`: between the options and
// runtime/session_file.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "generate_options.h"
#include "lcsm/status.h"
#include "prompt.h"
#include "runtime/session_file.h"

namespace lcsm::cli {

// Opens the session to go on with, and puts what it says into the arguments
// that were not given. An option that was given must agree with what the tokens
// so far were drawn by; --max-new-tokens may be smaller or larger.
StatusOr<std::unique_ptr<OpenedSession>> OpenToResume(
    GenerateArguments& arguments);

// The prompt of the session; one given besides must be the same. `tokenizer`
// may be null.
StatusOr<Prompt> ResumedPrompt(const GenerateArguments& arguments,
                               const OpenedSession& session,
                               const std::optional<Prompt>& given,
                               const io::Tokenizer* tokenizer);

// Whether more positions are wanted than the session was made for. A longer
// one then takes the place of what is in the file: it gets the tokens so far as
// known ones, which every session can, whatever plan or device it had, and what
// comes then is what one unbroken run would have given up to rounding.
bool WantsLonger(const GenerateArguments& arguments,
                 const OpenedSession& session);
// What to take in for that: prompt and new tokens but for the last one, which a
// resumed run takes in itself.
std::vector<int32_t> TokensSoFar(const OpenedSession& session);
// Does so in a new state, and leaves the logits in the session's record.
// `progress` as in ModelState::PrefillRequest. Errors: no tokens; Prefill's.
Status TakeTokensSoFar(OpenedSession& session, ModelState& state,
                       const ModelState::Progress& progress);

}  // namespace lcsm::cli
