// What is wrong with a command line, said better than the parser says it.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace lcsm::cli {

// A sentence about `error`, which parsing ended with inside `app`, the
// innermost subcommand that was named. Names what was likely meant.
std::string UsageSentence(const CLI::App& app, const CLI::Error& error);

}  // namespace lcsm::cli
