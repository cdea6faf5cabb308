#include "generate_options.h"

#include <fmt/format.h>

namespace lcsm::cli {
namespace {

void AddPromptOptions(App& app, GenerateArguments& a) {
  const std::string group = "What is continued";
  Option text =
      app.add_option("--prompt", a.prompt,
                     "The text to continue (--prompt=TEXT if it starts with -)")
          ->type_name("TEXT")
          ->group(group);
  Option file = app.add_option("--prompt-file", a.prompt_file,
                               "A file with that text; - is stdin")
                    ->type_name("FILE")
                    ->group(group);
  Option tokens =
      app.add_option("--prompt-tokens", a.prompt_tokens,
                     "A file of whitespace-separated token ids; - is stdin")
          ->type_name("FILE")
          ->group(group);
  Option fasta =
      app.add_option("--prompt-fasta", a.prompt_fasta,
                     "Continue each sequence of a FASTA file, plain or gzip; - "
                     "is stdin")
          ->type_name("FILE")
          ->group(group);
  text->excludes(file)->excludes(tokens)->excludes(fasta);
  file->excludes(tokens)->excludes(fasta);
  tokens->excludes(fasta);
  app.add_flag("--fold-case", a.fold_case,
               "Read lower-case DNA in the prompt as upper case")
      ->group(group);
}

void AddEndOptions(App& app, GenerateArguments& a) {
  const std::string group = "When it ends";
  app.add_option("--max-new-tokens", a.max_new_tokens,
                 "Generate at most this many tokens a sample")
      ->type_name("N")
      ->check(WholeIn(1, UINT64_MAX))
      ->capture_default_str()
      ->group(group);
  // One text an occurrence: "--stop a b" would otherwise swallow what follows,
  // and a text in brackets would be taken apart as a list.
  app.add_option("--stop", a.stop,
                 "End before this text; may be given several times")
      ->type_name("TEXT")
      ->allow_extra_args(false)
      ->group(group);
  app.add_flag("--stop-at-eos", a.stop_at_eos,
               "End at the model's end-of-sequence token")
      ->group(group);
}

void AddSamplingOptions(App& app, GenerateArguments& a) {
  const std::string group = "How tokens are drawn (in this order)";
  app.add_option("--temperature", a.temperature,
                 "Below 1 bolder, above 1 wilder; 0 takes the likeliest")
      ->type_name("T")
      ->check(FiniteIn(0, 1e6, "a number from 0 up"))
      ->capture_default_str()
      ->group(group);
  app.add_option("--top-k", a.top_k, "Keep the K likeliest tokens; 0 keeps all")
      ->type_name("K")
      ->check(WholeIn(0, UINT64_MAX))
      ->capture_default_str()
      ->group(group);
  app.add_option("--top-p", a.top_p,
                 "Keep the likeliest tokens that make up this share")
      ->type_name("P")
      ->check(FiniteIn(1e-9, 1, "a number above 0 and up to 1"))
      ->capture_default_str()
      ->group(group);
  app.add_option("--min-p", a.min_p,
                 "Drop tokens below P times the likeliest one's probability")
      ->type_name("P")
      ->check(FiniteIn(0, 1, "a number from 0 to 1"))
      ->capture_default_str()
      ->group(group);
  app.add_option("--seed", a.seed,
                 "The same seed gives the same tokens (default: a new one)")
      ->type_name("S")
      ->check(WholeIn(0, UINT64_MAX))
      ->group(group);
  app.add_option("--allow", a.allow,
                 "Generate only tokens made of these characters, e.g. ACGT")
      ->type_name("TEXT")
      ->group(group);
  app.add_option("--num-samples", a.num_samples,
                 "Samples to generate, written one after another")
      ->type_name("N")
      ->check(WholeIn(1, uint64_t{1} << 32))
      ->capture_default_str()
      ->group(group);
  app.add_option("--batch", a.batch,
                 "Samples computed side by side, less if memory is short; the "
                 "tokens are the same")
      ->type_name("N")
      ->check(WholeIn(1, 1024))
      ->capture_default_str()
      ->group(group);
}

void AddSessionOptions(App& app, GenerateArguments& a) {
  const std::string group = "Sessions";
  Option save =
      app.add_option("--save-session", a.save_session,
                     "Save where the run stands, at its end or at Ctrl-C, so "
                     "that --resume can go on")
          ->type_name("FILE")
          ->group(group);
  app.add_option("--save-every", a.save_every,
                 "Save after every N new tokens too")
      ->type_name("N")
      ->check(WholeIn(1, UINT64_MAX))
      ->needs(save)
      ->group(group);
  app.add_option("--resume", a.resume,
                 "Go on with a saved run: the same tokens as one unbroken run, "
                 "all of them written out")
      ->type_name("FILE")
      ->group(group);
}

void AddOutputOptions(App& app, GenerateArguments& a) {
  const std::string group = "What comes out";
  app.add_option("--format", a.format,
                 "text, tokens (ids, a line a sample), fasta, jsonl")
      ->type_name("NAME")
      ->check(OneOf({"text", "tokens", "fasta", "jsonl"}))
      ->capture_default_str()
      ->group(group);
  app.add_flag("--logprobs", a.logprobs,
               "Add each token's log-probability (jsonl only)")
      ->group(group);
  app.add_option("--stats", a.stats, "Write figures of the run as JSON")
      ->type_name("FILE")
      ->group(group);
  app.add_flag("--dry-run", a.dry_run,
               "Say what the run would take, in bytes and time, and stop");
  AddQuietOption(app, a.quiet)->group(group);
}

}  // namespace

void AddGenerateOptions(App& app, GenerateArguments& arguments) {
  AddModelOption(app, arguments.model);
  AddDeviceOption(app, arguments.model);
  AddPromptOptions(app, arguments);
  AddEndOptions(app, arguments);
  AddSamplingOptions(app, arguments);
  AddSessionOptions(app, arguments);
  AddOutputOptions(app, arguments);
  AddExecutionOptions(app, arguments.execution);
}

std::string CheckArguments(const GenerateArguments& a) {
  if (a.logprobs && a.format != "jsonl") {
    return fmt::format(
        "--logprobs needs --format jsonl; {} has no place for them", a.format);
  }
  for (const std::string& text : a.stop) {
    if (text.empty()) return "--stop is empty, expected a text to end at";
  }
  if (a.allow && a.allow->empty()) {
    return "--allow is empty, expected the characters to generate";
  }
  if (a.prompt_fasta && a.dry_run) {
    return "--dry-run tells of one prompt, and --prompt-fasta has any number";
  }
  if (a.prompt_fasta && a.fold_case) {
    return "--fold-case is what --prompt-fasta does anyway";
  }
  if (a.prompt_fasta && (a.save_session || a.resume)) {
    return "--prompt-fasta is many runs; a session is one sample";
  }
  if ((a.save_session || a.resume) && a.num_samples != 1) {
    return "--num-samples is more than one; a session is one sample";
  }
  if (a.resume) {
    for (const char* option : {"--allow", "--method", "--tau", "--schedule",
                               "--latency", "--plan", "--memory-limit"}) {
      if (a.given.contains(option)) {
        return fmt::format(
            "{} cannot be used with --resume, which goes on as "
            "the session was begun",
            option);
      }
    }
  }
  return CheckExecution(a.execution);
}

}  // namespace lcsm::cli
