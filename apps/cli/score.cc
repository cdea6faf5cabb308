// lcsm score: log-likelihoods of sequences, a line each.
#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <numbers>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "command.h"
#include "data_output.h"
#include "interrupt.h"
#include "io/nucleotides.h"
#include "io/tokenizer.h"
#include "model_run.h"
#include "progress.h"
#include "provenance.h"
#include "runtime/score.h"
#include "runtime/variants.h"
#include "score_options.h"
#include "score_writer.h"
#include "sequence_input.h"
#include "stopwatch.h"

namespace lcsm::cli {
namespace {

// Lines of tokens handed on at a time.
constexpr size_t kTokenLinesBytes = size_t{1} << 16;

struct Totals {
  size_t sequences = 0;
  size_t tokens = 0, scored = 0;
  AccurateSum logprob;
};

// One run over all sequences.
class Run final : public ModelRun {
 public:
  Run(const ScoreArguments& arguments, const Model& model, Output& out)
      : arguments_(arguments),
        model_(model),
        out_(out),
        pool_(arguments.execution.threads) {}

  Status Prepare(const LoadedModel& loaded) override;
  Status All() override;
  std::string Summary() const override;
  std::vector<std::string> Notes() const override { return {input_->Note()}; }
  // Nobody reads standard output any more, and there is no file to go on for.
  bool reader_gone() const override {
    return out_.reader_gone() && (!output_ || output_->is_stdout()) &&
           (!per_token_ || per_token_->is_stdout());
  }

 private:
  Status CheckLength(const Sequence& sequence) const;
  Status One(const Sequence& sequence);
  // Scores `bases`, of which nothing but the sum is kept unless `keep` is
  // there.
  StatusOr<double> ScoreStrand(std::string_view bases, double done_before,
                               std::vector<double>* keep);
  Status WriteHeaders();
  Status WriteTokens(const Sequence& sequence);
  bool Told(double of_sequence);

  bool both() const { return arguments_.strand == "both"; }

  const ScoreArguments& arguments_;
  const Model& model_;
  Output& out_;
  ThreadPool pool_;
  NucleotideIds ids_;
  std::unique_ptr<SequenceInput> input_;
  std::optional<DataOutput> output_, per_token_;
  std::optional<KnownTokenStates> states_;
  std::optional<Scorer> scorer_;
  std::optional<Progress> bar_;

  Totals totals_;
  size_t length_ = 0;  // Of the running sequence.
  std::string reverse_;
  // Of its tokens, if they are wanted one by one.
  std::vector<double> forward_logprobs_, reverse_logprobs_;
  std::string text_;
  Stopwatch watch_;
};

Status Run::CheckLength(const Sequence& sequence) const {
  const ModelInfo& info = model_.info();
  if (arguments_.window != 0 || sequence.bases.size() <= info.max_length) {
    return OkStatus();
  }
  return InvalidInput(fmt::format(
      "{} has {}, expected at most {} (the length limit of {}; --window and "
      "--stride score longer ones in parts)",
      sequence.where, Bases(sequence.bases.size()), info.max_length,
      info.name));
}

Status Run::Prepare(const LoadedModel& loaded) {
  const ModelInfo& info = model_.info();
  if (arguments_.window > info.max_length) {
    return InvalidInput(
        fmt::format("--window {}: expected at most {}, the length limit of {}",
                    arguments_.window, info.max_length, loaded.folder));
  }
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<io::Tokenizer> tokenizer,
                        io::LoadTokenizer(loaded.folder, info.vocab));
  LCSM_ASSIGN_OR_RETURN(ids_, NucleotideIds::Find(*tokenizer));
  LCSM_ASSIGN_OR_RETURN(PrepareOptions prepare,
                        ToPrepareOptions(arguments_.execution, 0));
  prepare.steps = 0;
  LCSM_ASSIGN_OR_RETURN(output_, DataOutput::Open(arguments_.output, out_));
  if (!arguments_.per_token.empty()) {
    LCSM_ASSIGN_OR_RETURN(per_token_,
                          DataOutput::Open(arguments_.per_token, out_));
  }
  LCSM_ASSIGN_OR_RETURN(input_, SequenceInput::Open(
                                    arguments_.input, arguments_.regions,
                                    [this](const Sequence& sequence) {
                                      return CheckLength(sequence);
                                    },
                                    arguments_.quiet));
  states_.emplace(model_, pool_, std::move(prepare),
                  [](double) { return !Interrupted(); });
  scorer_.emplace(model_, *states_);
  return OkStatus();
}

// Answers false if the run is to end.
bool Run::Told(double of_sequence) {
  if (Interrupted() || reader_gone()) return false;
  if (!bar_->Due()) return true;
  const double tokens = static_cast<double>(totals_.tokens) +
                        of_sequence * static_cast<double>(length_);
  const auto& all = input_->totals();
  // Of a pipe only the running sequence is known.
  bar_->Update(
      all ? tokens / static_cast<double>(all->bases) : of_sequence,
      fmt::format("{}, {:.0f} bases/s", Count(totals_.sequences, "sequence"),
                  tokens / watch_.Seconds()));
  return true;
}

StatusOr<double> Run::ScoreStrand(std::string_view bases, double done_before,
                                  std::vector<double>* keep) {
  AccurateSum sum;
  const double share = both() ? 0.5 : 1.0;
  LCSM_RETURN_IF_ERROR(scorer_->Score(
      bases.size(), arguments_.window, arguments_.stride,
      [&](size_t begin, std::span<int32_t> tokens) {
        ids_.Encode(bases.substr(begin, tokens.size()), tokens);
      },
      [&](size_t position, double logprob) {
        sum.Add(logprob);
        if (keep != nullptr) (*keep)[position] = logprob;
        return OkStatus();
      },
      [&](double done) { return Told(done_before + share * done); }));
  return sum.Value();
}

Status Run::One(const Sequence& sequence) {
  const size_t length = sequence.bases.size();
  length_ = length;
  const bool keep = per_token_.has_value();
  if (keep) {
    forward_logprobs_.resize(length);
    if (both()) reverse_logprobs_.resize(length);
  }
  LCSM_ASSIGN_OR_RETURN(
      double sum,
      ScoreStrand(sequence.bases, 0, keep ? &forward_logprobs_ : nullptr));
  if (both()) {
    reverse_ = io::ReverseComplement(sequence.bases);
    LCSM_ASSIGN_OR_RETURN(
        const double reverse,
        ScoreStrand(reverse_, 0.5, keep ? &reverse_logprobs_ : nullptr));
    sum = (sum + reverse) / 2;
  }
  if (totals_.sequences++ == 0) LCSM_RETURN_IF_ERROR(WriteHeaders());
  totals_.tokens += length;
  totals_.scored += length - 1;
  totals_.logprob.Add(sum);
  if (keep) LCSM_RETURN_IF_ERROR(WriteTokens(sequence));
  FormatRow(arguments_, model_.info(), {sequence.id, length, length - 1, sum},
            &text_);
  return output_->Write(text_);
}

Status Run::WriteTokens(const Sequence& sequence) {
  const size_t length = sequence.bases.size();
  text_.clear();
  const auto line = [&](size_t position, double logprob) -> Status {
    fmt::format_to(std::back_inserter(text_), "{}\t{}\t{}\t{}\n", sequence.id,
                   position, sequence.bases[position], logprob);
    if (text_.size() < kTokenLinesBytes) return OkStatus();
    Status status = per_token_->Write(text_);
    text_.clear();
    return status;
  };
  for (size_t i = 0; i < length; ++i) {
    // The first base of a strand is not scored: the ends have one value.
    const bool forward = i > 0, reverse = both() && i + 1 < length;
    if (!forward && !reverse) continue;
    const double of_reverse = reverse ? reverse_logprobs_[length - 1 - i] : 0;
    LCSM_RETURN_IF_ERROR(
        line(i, !forward   ? of_reverse
                : !reverse ? forward_logprobs_[i]
                           : (forward_logprobs_[i] + of_reverse) / 2));
  }
  return per_token_->Write(text_);
}

// With the first row: a pipe that turns out to be no FASTA gives nothing.
Status Run::WriteHeaders() {
  const ModelInfo& info = model_.info();
  FormatHeader(arguments_, info, &text_);
  LCSM_RETURN_IF_ERROR(output_->Write(text_));
  if (!per_token_) return OkStatus();
  FormatTokenHeader(arguments_, info, &text_);
  return per_token_->Write(text_);
}

Status Run::All() {
  bar_.emplace("scoring", arguments_.quiet || out_.is_terminal());
  Sequence sequence;
  while (!reader_gone()) {
    if (Interrupted()) return Cancelled("interrupted");
    LCSM_ASSIGN_OR_RETURN(const bool more, input_->Next(&sequence));
    if (!more) break;
    const Status status = One(sequence);
    if (status.code() == StatusCode::kCancelled && reader_gone()) break;
    LCSM_RETURN_IF_ERROR(status);
  }
  bar_.reset();
  if (per_token_) LCSM_RETURN_IF_ERROR(per_token_->Finish());
  return output_->Finish();
}

std::string Run::Summary() const {
  const double seconds = watch_.Seconds();
  const double total = totals_.logprob.Value();
  std::string text =
      fmt::format("{}, {}, {} scored{} in {:.2f} s, {:.0f} bases/s\n",
                  Count(totals_.sequences, "sequence"), Bases(totals_.tokens),
                  Digits(totals_.scored), both() ? " on both strands" : "",
                  seconds, static_cast<double>(totals_.tokens) / seconds);
  if (totals_.scored > 0) {
    const double mean = total / static_cast<double>(totals_.scored);
    text += fmt::format(
        "log-likelihood {:.4f}; {:.6f} bits per base, perplexity {:.6f}\n",
        total, -mean / std::numbers::ln2, std::exp(-mean));
  }
  return text + ComputedBy(model_.info(), pool_.NumThreads());
}

int Score(const ScoreArguments& arguments) {
  auto loaded = LoadNamedModel(arguments.model);
  if (!loaded.ok()) return Fail(loaded.status());
  Output out;
  Run run(arguments, *loaded->model, out);
  return RunToEnd(run, *loaded, arguments.quiet);
}

}  // namespace

void AddScore(App& root, Commands& commands) {
  auto arguments = std::make_shared<ScoreArguments>();
  App app = root.add_subcommand(
      "score", "Score sequences: log-likelihood and bits per base");
  AddScoreOptions(*app, *arguments);
  app->footer(
      "Examples:\n"
      "  printf '>seq\\nATGAAACGCATTAGC\\n' | lcsm score --model "
      "ecoli-hyenadna -\n"
      "  lcsm score --model ecoli-hyenadna genome.fa.gz --window 8192 --output "
      "s.tsv");
  AddCommand(
      commands, app,
      [arguments] {
        if (arguments->window != 0 && arguments->stride == 0) {
          arguments->stride = arguments->window / 2;
        }
        return CheckArguments(*arguments);
      },
      [arguments] { return Score(*arguments); });
}

}  // namespace lcsm::cli
