// The lcsm command: parses the line, runs one subcommand, answers an exit code.
#include <fmt/format.h>
#include <stdio.h>
#include <stdlib.h>

#include <exception>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "base/cpu_info.h"
#include "command.h"
#include "exit_codes.h"
#include "help_formatter.h"
#include "interrupt.h"
#include "lcsm/version.h"
#include "output.h"
#include "terminal.h"
#include "usage_error.h"

namespace lcsm::cli {

int Fail(const Status& status) {
  if (status.code() == StatusCode::kCancelled) return kExitInterrupted;
  Say("lcsm: {}\n", status.message());
  return kExitBadInput;
}

int Answer(const Status& status) {
  return status.ok() ? kExitOk : Fail(status);
}

int FailUsage(const App& app, const std::string& sentence) {
  const std::string name = FullName(app.parser());
  Say("{0}: {1}\nRun '{0} --help' for the options.\n", name, sentence);
  return kExitUsage;
}

void AddCommand(Commands& commands, App app, std::function<std::string()> check,
                std::function<int()> run) {
  commands.push_back(
      {app, [app, check = std::move(check), run = std::move(run)] {
         const std::string wrong = check();
         return wrong.empty() ? run() : FailUsage(app, wrong);
       }});
}

namespace {

constexpr const char* kDescription =
    "lcsm runs long-convolution sequence models (Hyena, HyenaDNA) exactly,\n"
    "one token after another, in quasilinear time.";

constexpr const char* kFooter =
    "Examples:\n"
    "  lcsm generate --prompt 'In the beginning' --max-new-tokens 200\n"
    "  lcsm inspect --model kjv-bytes --length 8192\n"
    "\n"
    "Environment:\n"
    "  LCSM_MODELS  folders (separated by ':') in which a model NAME is "
    "looked\n"
    "               up, after share/lcsm/models beside the executable\n"
    "  LCSM_SIMD    run on this SIMD target, e.g. avx2; 'list' names those of\n"
    "               this machine\n"
    "\n"
    "Exit codes: 0 done, 1 bad input, 2 wrong usage, 130 ended by Ctrl-C.";

// Help and version are data that was asked for, so they go to stdout, where a
// full disk or a closed pipe counts as for any other data.
int Print(const std::string& text) {
  Output out;
  Status status = out.Write(text);
  if (status.ok()) status = out.Flush();
  return Answer(status);
}

// The innermost subcommand that was named.
CLI::App& Innermost(CLI::App& app) {
  const auto parsed = app.get_subcommands();
  return parsed.empty() ? app : Innermost(*parsed.front());
}

// The parser's own exit codes become ours: 0 for --help and --version, else 2.
int ExitOfParser(CLI::App& root, const CLI::Error& error) {
  CLI::App& app = Innermost(root);
  if (error.get_exit_code() != 0) {
    return FailUsage(App(&app), UsageSentence(app, error));
  }
  if (dynamic_cast<const CLI::CallForVersion*>(&error) != nullptr) {
    return Print(std::string("lcsm ") + LCSM_VERSION + "\n");
  }
  return Print(app.help());
}

StatusOr<bool> ApplySimdEnvironment() {
  const char* wanted = getenv("LCSM_SIMD");
  if (wanted == nullptr || *wanted == '\0') return false;
  if (std::string(wanted) == "list") {
    std::string list;
    for (const std::string& name : SupportedSimdTargets()) list += name + "\n";
    (void)Print(list);
    return true;
  }
  const Status status = ForceSimdTarget(wanted);
  if (!status.ok()) return InvalidInput("LCSM_SIMD: " + status.message());
  return false;
}

// The arguments, last first, as the parser wants them. It takes "--prompt=" for
// an option whose value was forgotten; a script that writes --prompt="$TEXT"
// means the empty text.
std::vector<std::string> Arguments(int argc, char** argv) {
  std::vector<std::string> arguments;
  for (int i = argc - 1; i > 0; --i) {
    std::string argument = argv[i];
    if (argument.size() > 3 && argument.rfind("--", 0) == 0 &&
        argument.find('=') == argument.size() - 1) {
      arguments.emplace_back();
      argument.pop_back();
    }
    arguments.push_back(std::move(argument));
  }
  return arguments;
}

int Main(int argc, char** argv) {
  InstallSignalHandlers();
  CLI::App parser(kDescription, "lcsm");
  App root(&parser);
  root.footer(kFooter);
  parser.set_version_flag("--version", "");
  root.require_subcommand();
  const auto formatter = std::make_shared<HelpFormatter>();
  formatter->column_width(26);
  parser.formatter(formatter);
  Commands commands;
  AddGenerate(root, commands);
  AddLogits(root, commands);
  AddScore(root, commands);
  AddEmbed(root, commands);
  AddInspect(root, commands);
  AddConvert(root, commands);
  AddPlan(root, commands);
  AddClassify(root, commands);
  AddVariants(root, commands);
  AddBench(root, commands);
  try {
    parser.parse(Arguments(argc, argv));
  } catch (const CLI::Error& error) {
    return ExitOfParser(parser, error);
  }
  const StatusOr<bool> listed = ApplySimdEnvironment();
  if (!listed.ok()) return Fail(listed.status());
  if (listed.value()) return kExitOk;
  for (const Command& command : commands) {
    if (command.app.parsed()) return command.run();
  }
  return kExitUsage;
}

}  // namespace
}  // namespace lcsm::cli

int main(int argc, char** argv) {
  // Our own code throws nothing; the standard library and the libraries below
  // may.
  try {
    return lcsm::cli::Main(argc, argv);
  } catch (const std::bad_alloc&) {
    fputs("lcsm: out of memory\n", stderr);
  } catch (const std::exception& error) {
    fprintf(stderr, "lcsm: internal error: %s\n", error.what());
  } catch (...) {
    fputs("lcsm: internal error\n", stderr);
  }
  return lcsm::cli::kExitBadInput;
}
