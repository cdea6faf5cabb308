// What every run of `lcsm generate` settles before its first token, whatever
// its prompts come from.
#pragma once

#include <cstdint>
#include <string>

#include "generate_options.h"
#include "io/tokenizer.h"
#include "lcsm/status.h"
#include "runtime/generator.h"
#include "runtime/model.h"
#include "sample_writer.h"
#include "stats.h"

namespace lcsm::cli {

// "lcsm: note: SENTENCE" on stderr, unless the sentence is empty or nobody
// wants any.
void Note(const GenerateArguments& arguments, const std::string& sentence);

// But for the prompt. Draws a seed where none was given.
RunSettings MakeSettings(const GenerateArguments& arguments,
                         const ModelInfo& info);

// `tokenizer` may be null. Error: characters to allow that it does not know.
StatusOr<GenerateOptions> MakeGenerateOptions(
    const GenerateArguments& arguments, const io::Tokenizer* tokenizer,
    const RunSettings& settings);

// Why `prompt` tokens and the new ones cannot be taken in by the model, naming
// the former as `what`; or ok.
Status CheckLength(const GenerateArguments& arguments, const ModelInfo& info,
                   size_t prompt, const std::string& what);

// What of the figures is known beforehand, and what the generator measured.
RunFigures MakeFigures(const GenerateArguments& arguments,
                       const RunSettings& settings, const ModelInfo& info,
                       size_t threads);
void AddFigures(const GenerateFigures& more, RunFigures* figures);

// lcsm generate --prompt-fasta: gives the exit code.
int GenerateFromFasta(const GenerateArguments& arguments);

}  // namespace lcsm::cli
