// lcsm generate: continues a prompt and writes what comes as it comes.
#include <fmt/format.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "command.h"
#include "dry_run.h"
#include "exit_codes.h"
#include "generate_options.h"
#include "generate_session.h"
#include "generate_setup.h"
#include "interrupt.h"
#include "io/atomic_file.h"
#include "io/tokenizer.h"
#include "progress.h"
#include "prompt.h"
#include "runtime/generator.h"
#include "runtime/session_file.h"
#include "sample_batch.h"
#include "sample_writer.h"
#include "stats.h"
#include "terminal.h"

namespace lcsm::cli {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// A prompt from here on is taken in layer by layer, and memory is set aside for
// the new tokens alone. Shorter ones cost little either way, and a plan for all
// positions may let histories be rings.
constexpr size_t kLongPrompt = 256;

// Everything that is settled before the first token, in the order in which it
// can go wrong: cheap checks first, memory last.
struct Setup {
  LoadedModel loaded;
  std::unique_ptr<io::Tokenizer> tokenizer;  // Null: the model has none.
  Prompt prompt;
  RunSettings settings;
  std::unique_ptr<SampleWriter> writer;
  std::unique_ptr<OpenedSession> session;  // Of --resume.
  bool longer = false;                     // Than the session was made for.
  std::unique_ptr<ThreadPool> pool;
  std::shared_ptr<const PreparedModel> prepared;
  std::unique_ptr<ModelState> state;
  std::unique_ptr<Generator> generator;
  size_t at_once = 1;  // Samples side by side.
  double load_seconds = 0, prepare_seconds = 0;
};

StatusOr<PrepareOptions> ToPrepare(const GenerateArguments& arguments,
                                   const Setup& setup) {
  size_t known = setup.prompt.ids.size();
  // The last token is generated but never taken in.
  size_t steps = arguments.max_new_tokens - 1;
  const size_t horizon =
      setup.session != nullptr ? setup.session->record.horizon : known + steps;
  LCSM_ASSIGN_OR_RETURN(PrepareOptions prepare,
                        ToPrepareOptions(arguments.execution, horizon));
  if (setup.session != nullptr) {
    LCSM_ASSIGN_OR_RETURN(
        prepare, setup.session->ToPrepareOptions(std::move(prepare.plan)));
    if (!setup.longer) return prepare;
    PlanAnew(&prepare);
    const size_t taken = TokensSoFar(*setup.session).size();
    prepare.horizon = std::max(known + steps, taken);
    prepare.steps = PrepareOptions::kAll;
    prepare.growable = false;
    known = taken;
    steps = prepare.horizon - known;
  }
  if (known >= kLongPrompt) prepare.steps = steps;
  return prepare;
}

Status PrepareToRun(const GenerateArguments& arguments, Setup* setup) {
  LCSM_ASSIGN_OR_RETURN(
      GenerateOptions options,
      MakeGenerateOptions(arguments, setup->tokenizer.get(), setup->settings));
  if (setup->session != nullptr) {
    options.allowed = setup->session->record.options.allowed;
  }
  const Clock::time_point start = Clock::now();
  setup->pool = std::make_unique<ThreadPool>(arguments.execution.threads);
  LCSM_ASSIGN_OR_RETURN(const PrepareOptions prepare,
                        ToPrepare(arguments, *setup));
  // Before anything is taken: a device says what it has left now.
  LCSM_ASSIGN_OR_RETURN(setup->at_once,
                        SamplesAtOnce(*setup->loaded.model, prepare,
                                      arguments.num_samples, arguments.batch));
  Progress progress("evaluating filters", arguments.quiet);
  LCSM_ASSIGN_OR_RETURN(setup->prepared,
                        setup->loaded.model->Prepare(prepare, *setup->pool,
                                                     [&progress](double done) {
                                                       progress.Update(done);
                                                       return !Interrupted();
                                                     }));
  LCSM_ASSIGN_OR_RETURN(setup->state, setup->prepared->NewState(*setup->pool));
  if (setup->longer) {
    Progress again("reading the tokens so far", arguments.quiet);
    LCSM_RETURN_IF_ERROR(
        TakeTokensSoFar(*setup->session, *setup->state, [&again](double done) {
          again.Update(done);
          return !Interrupted();
        }));
    LCSM_RETURN_IF_ERROR(setup->loaded.model->CheckWeights());
  } else if (setup->session != nullptr) {
    LCSM_RETURN_IF_ERROR(setup->session->Load(*setup->state));
  }
  LCSM_ASSIGN_OR_RETURN(setup->generator,
                        Generator::Create(*setup->loaded.model, *setup->state,
                                          setup->tokenizer.get(), options));
  setup->prepare_seconds = SecondsSince(start);
  return OkStatus();
}

// Prints what the run would take.
Status TellOnly(const GenerateArguments& arguments, const Setup& setup,
                Output& out) {
  LCSM_ASSIGN_OR_RETURN(const PrepareOptions prepare,
                        ToPrepare(arguments, setup));
  LCSM_ASSIGN_OR_RETURN(const std::string text,
                        DryRun(*setup.loaded.model, prepare,
                               arguments.num_samples, arguments.batch));
  LCSM_RETURN_IF_ERROR(out.Write(text));
  return out.Flush();
}

// From the options, or the session that is gone on with.
Status FindPrompt(const GenerateArguments& arguments, const Status& why_none,
                  Setup* setup) {
  const io::Tokenizer* const tokenizer = setup->tokenizer.get();
  const bool given =
      arguments.prompt || arguments.prompt_file || arguments.prompt_tokens;
  std::optional<Prompt> prompt;
  if (given || setup->session == nullptr) {
    LCSM_ASSIGN_OR_RETURN(
        prompt, ReadPrompt(arguments, setup->loaded.model->info(), tokenizer,
                           why_none));
  }
  if (setup->session != nullptr) {
    LCSM_ASSIGN_OR_RETURN(
        prompt, ResumedPrompt(arguments, *setup->session, prompt, tokenizer));
  }
  setup->prompt = std::move(*prompt);
  return OkStatus();
}

Status MakeSetup(GenerateArguments& arguments, Output& out, Setup* setup) {
  if (arguments.resume) {
    LCSM_ASSIGN_OR_RETURN(setup->session, OpenToResume(arguments));
  }
  if (arguments.save_session) {
    LCSM_RETURN_IF_ERROR(
        io::AtomicFile::Create(*arguments.save_session).status());
  }
  if (arguments.stats) {
    // Better to know that it cannot be written now than after the last token.
    LCSM_RETURN_IF_ERROR(io::AtomicFile::Create(*arguments.stats).status());
  }
  const Clock::time_point start = Clock::now();
  LCSM_ASSIGN_OR_RETURN(setup->loaded, LoadNamedModel(arguments.model));
  setup->load_seconds = SecondsSince(start);
  const ModelInfo& info = setup->loaded.model->info();
  auto tokenizer = io::LoadTokenizer(setup->loaded.folder, info.vocab);
  const Status why_none = tokenizer.status();
  if (tokenizer.ok()) setup->tokenizer = std::move(tokenizer).value();
  if (setup->session != nullptr) {
    LCSM_RETURN_IF_ERROR(setup->session->Check(info));
  }
  LCSM_RETURN_IF_ERROR(FindPrompt(arguments, why_none, setup));
  setup->settings = MakeSettings(arguments, info);
  setup->settings.prompt = setup->prompt.text;
  setup->settings.prompt_tokens = setup->prompt.ids.size();
  setup->longer =
      setup->session != nullptr && WantsLonger(arguments, *setup->session);
  // Within its own room a session needs no leave of the model.
  if (setup->session == nullptr || setup->longer) {
    LCSM_RETURN_IF_ERROR(
        CheckLength(arguments, info, setup->prompt.ids.size(),
                    Count(setup->prompt.ids.size(), "prompt token")));
  }
  LCSM_ASSIGN_OR_RETURN(
      setup->writer,
      MakeSampleWriter(setup->settings, setup->tokenizer.get(), out));
  Note(arguments, setup->prompt.note);
  if (arguments.dry_run) return TellOnly(arguments, *setup, out);
  return PrepareToRun(arguments, setup);
}

// Generates all samples; counts the finished ones and says how the last ended.
class Run {
 public:
  Run(const GenerateArguments& arguments, Setup& setup, Output& out)
      : arguments_(arguments),
        setup_(setup),
        out_(out),
        // Text on a terminal is its own progress, with the prompt before it.
        echo_(out, arguments.format == "text" && !arguments.quiet),
        bar_("generating", arguments.quiet || out.is_terminal()) {}

  Status All() {
    if (setup_.at_once > 1) LCSM_RETURN_IF_ERROR(SideBySide());
    for (size_t k = 0; setup_.at_once == 1 && k < arguments_.num_samples; ++k) {
      if (Ends()) break;
      if (k > 0) setup_.state->Reset();
      LCSM_RETURN_IF_ERROR(One(k));
    }
    bar_.Finish();
    return out_.Flush();
  }

  size_t samples() const { return written_.samples; }
  size_t tokens() const { return tokens_; }
  const std::string& finish() const { return written_.finish; }

 private:
  // What is told and kept while samples come.
  SampleBatchHooks Hooks(Progress& prefill) {
    SampleBatchHooks hooks;
    hooks.on_prefill = [&prefill](double done) { prefill.Update(done); };
    hooks.on_token = [this]() -> Status {
      ++tokens_;
      if (arguments_.save_every != 0 && tokens_ % arguments_.save_every == 0) {
        LCSM_RETURN_IF_ERROR(Save());
      }
      if (bar_.Due()) ShowProgress();
      return OkStatus();
    };
    hooks.on_begin = [this, &prefill](size_t k) {
      prefill.Finish();
      echo_.Prompt(setup_.prompt.text, k, arguments_.num_samples);
    };
    hooks.stop = [this] { return Ends(); };
    return hooks;
  }

  Status SideBySide() {
    Progress prefill("reading the prompt", arguments_.quiet);
    LCSM_ASSIGN_OR_RETURN(written_,
                          WriteSamples(*setup_.generator, setup_.prompt.ids, 0,
                                       arguments_.num_samples, setup_.at_once,
                                       Hooks(prefill), *setup_.writer, out_));
    return OkStatus();
  }

  Status One(size_t k) {
    Progress prefill("reading the prompt", arguments_.quiet);
    tokens_before_ = tokens_;
    SampleBatchHooks hooks = Hooks(prefill);
    SampleGroup group(k, 1, hooks, *setup_.writer, out_);
    LCSM_ASSIGN_OR_RETURN(GeneratedSample sample, Sample(k, group.hooks()[0]));
    if (arguments_.save_session) LCSM_RETURN_IF_ERROR(Save());
    prefill.Finish();
    // An empty sample is shown without its prompt.
    hooks.on_begin = [](size_t) {};
    return group.Finish({&sample, 1}, &written_);
  }

  StatusOr<GeneratedSample> Sample(size_t k, const GenerateHooks& hooks) {
    const std::vector<int32_t>& prompt = setup_.prompt.ids;
    if (setup_.session == nullptr) {
      return setup_.generator->Run(prompt, k, hooks);
    }
    return setup_.generator->Resume(prompt.size(),
                                    setup_.session->record.sampled, k, hooks);
  }

  Status Save() {
    if (setup_.state->position() < setup_.prompt.ids.size()) {
      Note(arguments_,
           "stopped before the prompt was read; there is no "
           "session to save");
      return OkStatus();
    }
    return SaveSession(
        *arguments_.save_session,
        MakeSessionRecord(*setup_.loaded.model, *setup_.prepared,
                          *setup_.generator, setup_.prompt.ids, 0),
        *setup_.state);
  }

  bool Ends() const { return Interrupted() || out_.reader_gone(); }

  void ShowProgress() {
    const double total = static_cast<double>(arguments_.num_samples) *
                         static_cast<double>(arguments_.max_new_tokens);
    // Samples that ended early count as whole ones: the bar ends full.
    const double done = static_cast<double>(written_.samples) *
                            static_cast<double>(arguments_.max_new_tokens) +
                        static_cast<double>(tokens_ - tokens_before_);
    const double seconds = SecondsSince(start_);
    bar_.Update(done / total,
                fmt::format("{}, {:.0f}/s", Count(tokens_, "token"),
                            static_cast<double>(tokens_) / seconds));
  }

  const GenerateArguments& arguments_;
  Setup& setup_;
  Output& out_;
  PromptEcho echo_;
  Progress bar_;
  Clock::time_point start_ = Clock::now();
  SampleBatchResult written_;
  size_t tokens_ = 0;
  size_t tokens_before_ = 0;  // The running sample.
};

RunFigures FiguresOf(const GenerateArguments& arguments, const Setup& setup,
                     const Run& run) {
  RunFigures figures =
      MakeFigures(arguments, setup.settings, setup.loaded.model->info(),
                  setup.pool->NumThreads());
  figures.plan = setup.prepared->plan().Print();
  figures.samples = run.samples();
  figures.prompt_tokens = setup.settings.prompt_tokens;
  figures.finish_reason = run.finish();
  figures.tokens = run.tokens();
  figures.load_seconds = setup.load_seconds;
  figures.prepare_seconds = setup.prepare_seconds;
  AddFigures(setup.generator->figures(), &figures);
  return figures;
}

int Generate(GenerateArguments arguments) {
  if (arguments.prompt_fasta) return GenerateFromFasta(arguments);
  Output out;
  Setup setup;
  Status status = MakeSetup(arguments, out, &setup);
  if (!status.ok()) return Fail(status);
  if (arguments.dry_run) return kExitOk;
  Run run(arguments, setup, out);
  status = run.All();
  if (!status.ok()) return Fail(status);

  const RunFigures figures = FiguresOf(arguments, setup, run);
  Note(arguments, setup.writer->Note());
  // A reader that left wants no more words either.
  if (!arguments.quiet && !out.reader_gone()) {
    Say("{}{}\n", out.is_terminal() ? "\n" : "", Summary(figures));
  }
  if (arguments.stats) {
    status = WriteStats(figures, *arguments.stats);
    if (!status.ok()) return Fail(status);
  }
  return Interrupted() ? kExitInterrupted : kExitOk;
}

}  // namespace

void AddGenerate(App& root, Commands& commands) {
  auto arguments = std::make_shared<GenerateArguments>();
  App app = root.add_subcommand("generate",
                                "Continue a text or sequence, token by token");
  AddGenerateOptions(*app, *arguments);
  app->footer(
      "Examples:\n"
      "  lcsm generate --prompt 'In the beginning' --temperature 0.7 --seed 1\n"
      "  lcsm generate --model ecoli-hyenadna --prompt ATGAAA --allow ACGT "
      "--format fasta");
  AddCommand(
      commands, app,
      [arguments, app] {
        for (const std::string& name : app->given()) {
          arguments->given.insert(name);
        }
        return CheckArguments(*arguments);
      },
      [arguments] { return Generate(*arguments); });
}

}  // namespace lcsm::cli
