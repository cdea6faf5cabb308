// One subcommand: how it describes its options and what it then does.
//
// A subcommand is one file with one function Add...(App, Commands), called by
// main. It declares its options on a CLI::App of its own and leaves a callable
// behind; main parses and runs the one that was named.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "lcsm/status.h"

namespace lcsm::cli {

struct Command {
  CLI::App* app = nullptr;
  std::function<int()> run;  // Gives the exit code.
};
using Commands = std::vector<Command>;

// Puts a parsed subcommand on the list. `check` gives a sentence about options
// that contradict each other, or an empty one; `run` does the work.
void AddCommand(Commands& commands, CLI::App* app,
                std::function<std::string()> check, std::function<int()> run);

void AddGenerate(CLI::App& root, Commands& commands);
void AddLogits(CLI::App& root, Commands& commands);
void AddScore(CLI::App& root, Commands& commands);
void AddEmbed(CLI::App& root, Commands& commands);
void AddInspect(CLI::App& root, Commands& commands);
void AddConvert(CLI::App& root, Commands& commands);
void AddPlan(CLI::App& root, Commands& commands);
void AddClassify(CLI::App& root, Commands& commands);
void AddVariants(CLI::App& root, Commands& commands);
void AddBench(CLI::App& root, Commands& commands);

// Prints "lcsm: <sentence>" on stderr and gives the exit code that belongs to
// the status.
int Fail(const Status& status);
// kExitOk, or what Fail says.
int Answer(const Status& status);

// For what only looks wrong once all options are known (two options that
// exclude each other in a way the parser cannot say). Prints the sentence and
// where to read more; gives kExitUsage.
int FailUsage(const CLI::App& app, const std::string& sentence);

}  // namespace lcsm::cli
