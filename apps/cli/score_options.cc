#include "score_options.h"

#include <fmt/format.h>

#include <cstdint>

#include "data_output.h"
#include "sequence_input.h"

namespace lcsm::cli {
namespace {

void AddInputOptions(App& app, ScoreArguments& a) {
  const std::string group = "What is scored";
  AddSequenceInput(app, a.input);
  app.add_option("--regions", a.regions,
                 "Only these regions, each as a sequence of its own")
      ->type_name("FILE.bed")
      ->group(group);
  app.add_option("--strand", a.strand,
                 "forward, or both: the mean of the sequence and its reverse "
                 "complement")
      ->type_name("NAME")
      ->check(OneOf({"forward", "both"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--window", a.window,
                 "Score sequences longer than this in windows of W bases")
      ->type_name("W")
      ->check(WholeIn(2, UINT64_MAX))
      ->group(group);
  app.add_option("--stride", a.stride,
                 "Bases from one window to the next (default: half a window)")
      ->type_name("S")
      ->check(WholeIn(1, UINT64_MAX))
      ->group(group);
}

void AddOutputOptions(App& app, ScoreArguments& a) {
  const std::string group = "What comes out";
  app.add_option("--output", a.output, "Where a line a sequence goes")
      ->type_name("FILE")
      ->capture_default_str()
      ->group(group);
  app.add_option("--format", a.format, "tsv or jsonl")
      ->type_name("NAME")
      ->check(OneOf({"tsv", "jsonl"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--per-token", a.per_token,
                 "Also write each base's log-probability, as TSV")
      ->type_name("FILE")
      ->group(group);
  app.add_option("--reduce", a.reduce,
                 "sum or mean: which of the two is called the score in jsonl "
                 "(TSV has both)")
      ->type_name("NAME")
      ->check(OneOf({"sum", "mean"}))
      ->capture_default_str()
      ->group(group);
  app.add_flag("--comments", a.comments,
               "Begin TSV with # lines on program, model and settings")
      ->group(group);
  AddQuietOption(app, a.quiet)->group(group);
}

}  // namespace

void AddScoreOptions(App& app, ScoreArguments& arguments) {
  AddRequiredModel(app, arguments.model);
  AddInputOptions(app, arguments);
  AddOutputOptions(app, arguments);
  AddExecutionOptions(app, arguments.execution);
}

std::string CheckArguments(const ScoreArguments& a) {
  if (a.stride != 0 && a.window == 0) {
    return "--stride says how windows follow one another, so it needs --window";
  }
  if (a.window != 0 && a.stride >= a.window) {
    return fmt::format(
        "--stride {} leaves the first base of each window without context, "
        "expected less than --window {}",
        a.stride, a.window);
  }
  if (!a.per_token.empty() && (a.per_token == a.output ||
                               (IsStdout(a.per_token) && IsStdout(a.output)))) {
    return fmt::format(
        "--per-token and --output both go to {}, expected one file each",
        a.output);
  }
  if (a.regions == "-" && a.input == "-") {
    return "--regions and the sequences both come from standard input, "
           "expected a file for one of them";
  }
  if (a.comments && a.format == "jsonl" && a.per_token.empty()) {
    return "--comments is for TSV; jsonl names program and model in each line";
  }
  return CheckExecution(a.execution);
}

}  // namespace lcsm::cli
