// From what the user gave as a prompt to token ids.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "generate_options.h"
#include "io/tokenizer.h"
#include "lcsm/status.h"
#include "runtime/model.h"

namespace lcsm::cli {

struct Prompt {
  std::vector<int32_t> ids;  // Never empty.
  // As given, or what the ids stand for; empty without a tokenizer.
  std::string text;
  // A sentence about characters that the model does not know, or empty.
  std::string note;
};

// `tokenizer` may be null: then only --prompt-tokens can be answered, and
// `why_none` says why.
StatusOr<Prompt> ReadPrompt(const GenerateArguments& arguments,
                            const ModelInfo& info,
                            const io::Tokenizer* tokenizer,
                            const Status& why_none);

}  // namespace lcsm::cli
