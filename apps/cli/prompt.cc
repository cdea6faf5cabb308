#include "prompt.h"

#include <fmt/format.h>

#include <utility>

#include "io/atomic_file.h"
#include "io/npy.h"

namespace lcsm::cli {
namespace {

// Far more text than any model takes; keeps a mistaken file name from eating
// the memory.
constexpr size_t kMaxPromptBytes = size_t{1} << 30;

std::string PathOf(const std::string& file) {
  return file == "-" ? "/dev/stdin" : file;
}

// Where a model has no natural beginning of its own, generation starts with
// what stands before a beginning in its training text: for text a line end. A
// DNA model has seen nothing but nucleotides before nucleotides.
std::string DefaultPrompt(const io::Tokenizer& tokenizer) {
  return tokenizer.name() == "hyenadna" ? "A" : "\n";
}

// Printable, since it goes to a terminal: a control character or a stray byte
// by its number.
std::string Show(const std::string& character) {
  const unsigned char first =
      character.empty() ? 0 : static_cast<unsigned char>(character[0]);
  if (character == "\n") return "a line end";
  if (character.size() > 1) return fmt::format("'{}'", character);
  if (first < 0x20 || first >= 0x7f) return fmt::format("byte 0x{:02x}", first);
  return fmt::format("'{}'", character);
}

std::string NoteOf(const io::Encoding& encoding) {
  if (encoding.unknown == 0) return "";
  std::string note = fmt::format(
      "the model does not know {} of the prompt and reads {} as [UNK]; the "
      "first is {} at byte {}",
      Count(encoding.unknown, "character"),
      encoding.unknown == 1 ? "it" : "them", Show(encoding.first_unknown),
      encoding.first_unknown_offset);
  if (encoding.unknown_lower_case_dna > 0) {
    note += fmt::format(
        "; {} lower-case DNA, which --fold-case reads as upper case",
        encoding.unknown_lower_case_dna == encoding.unknown
            ? (encoding.unknown == 1 ? std::string("it is")
                                     : std::string("they are"))
            : Digits(encoding.unknown_lower_case_dna) + " of them are");
  }
  return note;
}

StatusOr<std::string> ReadText(const GenerateArguments& arguments,
                               const io::Tokenizer& tokenizer) {
  if (arguments.prompt) return *arguments.prompt;
  if (!arguments.prompt_file) return DefaultPrompt(tokenizer);
  LCSM_ASSIGN_OR_RETURN(
      std::string text,
      io::ReadFile(PathOf(*arguments.prompt_file), kMaxPromptBytes));
  // Editors end a file with a line end, which no DNA model has a token for.
  if (tokenizer.name() == "hyenadna" && !text.empty() && text.back() == '\n') {
    text.pop_back();
    if (!text.empty() && text.back() == '\r') text.pop_back();
  }
  return text;
}

}  // namespace

StatusOr<Prompt> ReadPrompt(const GenerateArguments& arguments,
                            const ModelInfo& info,
                            const io::Tokenizer* tokenizer,
                            const Status& why_none) {
  Prompt prompt;
  if (arguments.prompt_tokens) {
    LCSM_ASSIGN_OR_RETURN(
        prompt.ids,
        io::ReadTokenIds(PathOf(*arguments.prompt_tokens), info.vocab));
    if (tokenizer != nullptr) prompt.text = tokenizer->Decode(prompt.ids);
    return prompt;
  }
  if (tokenizer == nullptr) {
    return InvalidInput(
        fmt::format("a text prompt needs the model's tokenizer: {} "
                    "(--prompt-tokens takes ids)",
                    why_none.message()));
  }
  LCSM_ASSIGN_OR_RETURN(prompt.text, ReadText(arguments, *tokenizer));
  if (prompt.text.empty()) {
    return InvalidInput(
        arguments.prompt_file
            ? fmt::format("{}: the prompt is empty, expected at least one "
                          "character",
                          *arguments.prompt_file)
            : std::string(
                  "the prompt is empty, expected at least one character"));
  }
  io::EncodeOptions encode;
  encode.fold_case = arguments.fold_case;
  io::Encoding encoding = tokenizer->Encode(prompt.text, encode);
  prompt.ids = std::move(encoding.ids);
  prompt.note = NoteOf(encoding);
  if (prompt.ids.empty()) {
    return InvalidInput("the prompt is empty: its text gives no token");
  }
  return prompt;
}

}  // namespace lcsm::cli
