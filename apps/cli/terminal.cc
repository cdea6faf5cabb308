#include "terminal.h"

#include <fmt/format.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

namespace lcsm::cli {
namespace {

constexpr size_t kPromptTail = 400;

}  // namespace

void SayText(std::string_view text) noexcept {
  fwrite(text.data(), 1, text.size(), stderr);
}

bool StderrTakesEscapes() {
  const char* const term = getenv("TERM");
  return isatty(STDERR_FILENO) == 1 && term != nullptr &&
         std::string_view(term) != "dumb";
}

std::string Printable(std::string_view text) {
  std::string shown(text);
  for (char& c : shown) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f) c = '?';
  }
  return shown;
}

PromptEcho::PromptEcho(const Output& out, bool wanted)
    : enabled_(wanted && out.is_terminal() && StderrTakesEscapes()) {}

void PromptEcho::Prompt(std::string_view prompt, size_t sample,
                        size_t samples) const {
  if (!enabled_) return;
  const char* const colour = getenv("NO_COLOR") == nullptr ? "\033[2m" : "";
  const char* const plain = *colour == '\0' ? "" : "\033[0m";
  if (samples > 1) {
    Say("{}{}[sample {} of {}]{}\n", sample > 0 ? "\n" : "", colour, sample + 1,
        samples, plain);
  }
  const char* before = "";
  if (prompt.size() > kPromptTail) {
    before = "...";
    prompt.remove_prefix(prompt.size() - kPromptTail);
    // Not into the middle of a character.
    while (!prompt.empty() &&
           (static_cast<unsigned char>(prompt[0]) & 0xc0) == 0x80) {
      prompt.remove_prefix(1);
    }
  }
  Say("{}{}{}{}", colour, before, Printable(prompt), plain);
  fflush(stderr);
}

}  // namespace lcsm::cli
