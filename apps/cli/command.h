// One subcommand: how it describes its options and what it then does.
//
// A subcommand is one file with one function Add...(App, Commands), called by
// main. It declares its options on an App of its own and leaves a callable
// behind; main parses and runs the one that was named.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lcsm/status.h"
#include "option_parser.h"

namespace lcsm::cli {

struct Command {
  App app;
  std::function<int()> run;  // Gives the exit code.
};
using Commands = std::vector<Command>;

// Puts a parsed subcommand on the list. `check` gives a sentence about options
// that contradict each other, or an empty one; `run` does the work.
void AddCommand(Commands& commands, App app, std::function<std::string()> check,
                std::function<int()> run);

void AddGenerate(App& root, Commands& commands);
void AddLogits(App& root, Commands& commands);
void AddScore(App& root, Commands& commands);
void AddEmbed(App& root, Commands& commands);
void AddInspect(App& root, Commands& commands);
void AddConvert(App& root, Commands& commands);
void AddPlan(App& root, Commands& commands);
void AddClassify(App& root, Commands& commands);
void AddVariants(App& root, Commands& commands);
void AddBench(App& root, Commands& commands);

// Prints "lcsm: <sentence>" on stderr and gives the exit code that belongs to
// the status.
int Fail(const Status& status);
// kExitOk, or what Fail says.
int Answer(const Status& status);

// For what only looks wrong once all options are known (two options that
// exclude each other in a way the parser cannot say). Prints the sentence and
// where to read more; gives kExitUsage.
int FailUsage(const App& app, const std::string& sentence);

}  // namespace lcsm::cli
