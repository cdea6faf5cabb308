// `lcsm generate --save-session` and `--resume`: between the options and
// runtime/session_file.h.
#pragma once

#include <memory>
#include <optional>

#include "generate_options.h"
#include "lcsm/status.h"
#include "prompt.h"
#include "runtime/session_file.h"

namespace lcsm::cli {

// Opens the session to go on with, and puts what it says into the arguments
// that were not given. An option that was given must agree with what the tokens
// so far were drawn by; --max-new-tokens may be smaller, or larger as far as
// the session has room.
StatusOr<std::unique_ptr<OpenedSession>> OpenToResume(
    GenerateArguments& arguments);

// The prompt of the session; one given besides must be the same. `tokenizer`
// may be null.
StatusOr<Prompt> ResumedPrompt(const GenerateArguments& arguments,
                               const OpenedSession& session,
                               const std::optional<Prompt>& given,
                               const io::Tokenizer* tokenizer);

}  // namespace lcsm::cli
