// lcsm generate --prompt-fasta: continuations of each record of a FASTA file.
#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "command.h"
#include "exit_codes.h"
#include "generate_setup.h"
#include "interrupt.h"
#include "io/atomic_file.h"
#include "progress.h"
#include "runtime/known_tokens.h"
#include "runtime/variants.h"
#include "sample_batch.h"
#include "sequence_input.h"
#include "stopwatch.h"
#include "terminal.h"

namespace lcsm::cli {
namespace {

// Streams of random numbers are numbered by record and sample, so that sample 3
// of record 5 is the same however many samples others have.
constexpr unsigned kRecordShift = 32;

class Run {
 public:
  Run(const GenerateArguments& arguments, Output& out)
      : arguments_(arguments), out_(out), pool_(arguments.execution.threads) {}

  // Everything that can be wrong before the first token.
  Status Prepare();
  Status All();
  // Words and figures after it; the exit code.
  int End();

 private:
  Status Record(const Sequence& sequence);
  // All samples of a record.
  Status Samples(Generator& generator, ModelState& state);
  uint64_t Stream(size_t k) const {
    return (static_cast<uint64_t>(records_) << kRecordShift) | k;
  }
  bool Ends() const { return Interrupted() || out_.reader_gone(); }
  void ShowProgress();

  const GenerateArguments& arguments_;
  Output& out_;
  ThreadPool pool_;
  LoadedModel loaded_;
  std::unique_ptr<io::Tokenizer> tokenizer_;
  NucleotideIds ids_;
  RunSettings settings_;
  GenerateOptions options_;
  PrepareOptions prepare_;  // But for a record's horizon.
  std::unique_ptr<SampleWriter> writer_;
  std::unique_ptr<SequenceInput> input_;
  std::optional<KnownTokenStates> states_;
  std::optional<Progress> bar_;

  std::vector<int32_t> prompt_;
  size_t records_ = 0;
  RunFigures figures_;
  Stopwatch watch_;
};

Status Run::Prepare() {
  if (arguments_.stats) {
    // Better to know that it cannot be written now than after the last token.
    LCSM_RETURN_IF_ERROR(io::AtomicFile::Create(*arguments_.stats).status());
  }
  const Stopwatch loading;
  LCSM_ASSIGN_OR_RETURN(loaded_, LoadNamedModel(arguments_.model));
  const ModelInfo& info = loaded_.model->info();
  settings_ = MakeSettings(arguments_, info);
  figures_ = MakeFigures(arguments_, settings_, info, pool_.NumThreads());
  figures_.load_seconds = loading.Seconds();
  LCSM_ASSIGN_OR_RETURN(tokenizer_,
                        io::LoadTokenizer(loaded_.folder, info.vocab));
  LCSM_ASSIGN_OR_RETURN(ids_, NucleotideIds::Find(*tokenizer_));
  LCSM_ASSIGN_OR_RETURN(writer_,
                        MakeSampleWriter(settings_, tokenizer_.get(), out_));
  LCSM_ASSIGN_OR_RETURN(
      options_, MakeGenerateOptions(arguments_, tokenizer_.get(), settings_));
  LCSM_ASSIGN_OR_RETURN(PrepareOptions prepare,
                        ToPrepareOptions(arguments_.execution, 0));
  prepare.steps = arguments_.max_new_tokens - 1;
  const auto check = [this, &info](const Sequence& sequence) {
    const size_t bases = sequence.bases.size();
    return CheckLength(
        arguments_, info, bases,
        fmt::format("{} with its {}", sequence.where, Bases(bases)));
  };
  LCSM_ASSIGN_OR_RETURN(input_,
                        SequenceInput::Open(*arguments_.prompt_fasta, "", check,
                                            arguments_.quiet));
  prepare_ = prepare;
  states_.emplace(*loaded_.model, pool_, std::move(prepare),
                  [](double) { return !Interrupted(); });
  return OkStatus();
}

void Run::ShowProgress() {
  if (!bar_->Due()) return;
  const auto& all = input_->totals();
  bar_->Update(
      all ? static_cast<double>(records_) / static_cast<double>(all->sequences)
          : 0,
      fmt::format("{}, {}", Count(records_, "record"),
                  Count(figures_.tokens, "token")));
}

Status Run::Samples(Generator& generator, ModelState& state) {
  PrepareOptions prepare = prepare_;
  prepare.horizon = prompt_.size() + arguments_.max_new_tokens - 1;
  LCSM_ASSIGN_OR_RETURN(
      const size_t at_once,
      SamplesAtOnce(*loaded_.model, prepare, arguments_.num_samples,
                    arguments_.batch));
  SampleBatchHooks hooks;
  hooks.on_prefill = [this](double) { ShowProgress(); };
  hooks.on_token = [this] {
    ++figures_.tokens;
    ShowProgress();
    return OkStatus();
  };
  hooks.on_begin = [](size_t) {};
  hooks.stop = [this] { return Ends(); };
  SampleBatchResult result;
  if (at_once > 1) {
    LCSM_ASSIGN_OR_RETURN(result, WriteSamples(generator, prompt_, Stream(0),
                                               arguments_.num_samples, at_once,
                                               hooks, *writer_, out_));
  }
  for (size_t k = 0; at_once == 1 && k < arguments_.num_samples; ++k) {
    if (Ends()) break;
    if (k > 0) state.Reset();
    SampleGroup group(k, 1, hooks, *writer_, out_);
    LCSM_ASSIGN_OR_RETURN(GeneratedSample sample,
                          generator.Run(prompt_, Stream(k), group.hooks()[0]));
    LCSM_RETURN_IF_ERROR(group.Finish({&sample, 1}, &result));
  }
  figures_.samples += result.samples;
  if (!result.finish.empty()) figures_.finish_reason = result.finish;
  return OkStatus();
}

Status Run::Record(const Sequence& sequence) {
  prompt_.resize(sequence.bases.size());
  ids_.Encode(sequence.bases, prompt_);
  const Stopwatch preparing;
  LCSM_ASSIGN_OR_RETURN(
      ModelState* const state,
      states_->For(prompt_.size() + arguments_.max_new_tokens - 1));
  figures_.prepare_seconds += preparing.Seconds();
  LCSM_ASSIGN_OR_RETURN(
      const std::unique_ptr<Generator> generator,
      Generator::Create(*loaded_.model, *state, tokenizer_.get(), options_));
  writer_->SetPrompt(sequence.id, sequence.bases);
  LCSM_RETURN_IF_ERROR(Samples(*generator, *state));
  AddFigures(generator->figures(), &figures_);
  figures_.plan = states_->prepared().plan().Print();
  figures_.prompt_tokens += prompt_.size();
  ++records_;
  return OkStatus();
}

Status Run::All() {
  bar_.emplace("generating", arguments_.quiet || out_.is_terminal());
  Sequence sequence;
  while (!Ends()) {
    LCSM_ASSIGN_OR_RETURN(const bool more, input_->Next(&sequence));
    if (!more) break;
    LCSM_RETURN_IF_ERROR(Record(sequence));
  }
  bar_.reset();
  return out_.Flush();
}

int Run::End() {
  Note(arguments_, input_->Note());
  Note(arguments_, writer_->Note());
  // A reader that left wants no more words either.
  if (!arguments_.quiet && !out_.reader_gone()) {
    Say("{}; {} in {:.2f} s\n", Summary(figures_), Count(records_, "record"),
        watch_.Seconds());
  }
  if (arguments_.stats) {
    const Status status = WriteStats(figures_, *arguments_.stats);
    if (!status.ok()) return Fail(status);
  }
  return Interrupted() ? kExitInterrupted : kExitOk;
}

}  // namespace

int GenerateFromFasta(const GenerateArguments& arguments) {
  Output out;
  Run run(arguments, out);
  Status status = run.Prepare();
  if (status.ok()) status = run.All();
  if (!status.ok()) return Fail(status);
  return run.End();
}

}  // namespace lcsm::cli
