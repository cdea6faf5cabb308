// What only a person at a terminal sees.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "output.h"

namespace lcsm::cli {

// Words on stderr. A stderr that is closed or full is nobody's loss: unlike
// fmt::print this never throws, and data and exit code stay as they are.
void SayText(std::string_view text) noexcept;
template <typename... Args>
void Say(fmt::format_string<Args...> format, Args&&... args) {
  SayText(fmt::format(format, std::forward<Args>(args)...));
}

// Whether stderr is a terminal that understands the usual escapes.
bool StderrTakesEscapes();

// Text that is safe to show: control characters other than line ends and tabs
// become '?'. A model writes what it likes, and some of it would steer the
// terminal.
std::string Printable(std::string_view text);

// Shows the prompt, dimmed, on stderr before the text that continues it, where
// both go to the same person: the data on stdout stays what it is.
class PromptEcho {
 public:
  PromptEcho(const Output& out, bool wanted);

  // The end of a long prompt is enough to read on from.
  void Prompt(std::string_view prompt, size_t sample, size_t samples) const;

 private:
  bool enabled_;
};

}  // namespace lcsm::cli
