// lcsm embed: what a model makes of sequences, before its head.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "command.h"
#include "data_output.h"
#include "interrupt.h"
#include "io/npy.h"
#include "io/npz.h"
#include "io/nucleotides.h"
#include "io/tokenizer.h"
#include "lcsm/version.h"
#include "model_options.h"
#include "model_run.h"
#include "progress.h"
#include "provenance.h"
#include "runtime/embed.h"
#include "runtime/variants.h"
#include "sequence_input.h"
#include "stopwatch.h"

namespace lcsm::cli {
namespace {

struct Options {
  ModelOption model;
  ExecutionOptions execution;
  std::string input;
  std::string regions;
  std::optional<size_t> layer;  // None: after the final norm.
  std::string pooling = "mean";
  std::string strand = "forward";
  std::string output;
  bool quiet = false;

  bool all_positions() const { return pooling == "none"; }
  bool both() const { return strand == "both"; }
  bool archive() const { return output.ends_with(".npz"); }
};

// One run over all sequences.
class Run final : public ModelRun {
 public:
  Run(const Options& options, const Model& model)
      : options_(options), model_(model), pool_(options.execution.threads) {}

  Status Prepare(const LoadedModel& loaded) override;
  Status All() override;
  std::vector<std::string> Notes() const override { return {input_->Note()}; }
  std::string Summary() const override;

 private:
  Status CheckSequence(const Sequence& sequence);
  Status OpenOutput();
  Status One(const Sequence& sequence);
  Status WritePooled(const Sequence& sequence);
  Status WriteRows(const Sequence& sequence);
  Status Begin(const Sequence& sequence, size_t rows);
  Status Append(std::span<const float> values);
  StatusOr<std::vector<double>> Pool(std::string_view bases,
                                     double done_before);
  std::span<const int32_t> Encode(std::string_view bases);
  Status Finish();
  bool Told(double of_sequence);

  const Options& options_;
  const Model& model_;
  ThreadPool pool_;
  NucleotideIds ids_;
  std::unique_ptr<SequenceInput> input_;
  std::optional<io::NpyWriter> npy_;
  std::optional<io::NpzWriter> npz_;
  std::optional<KnownTokenStates> states_;
  std::optional<Embedder> embedder_;
  std::optional<Progress> bar_;

  size_t checked_ = 0;  // Sequences that CheckSequence saw in this pass.
  size_t sequences_ = 0;
  uint64_t bases_ = 0;
  size_t length_ = 0;  // Of the running sequence.
  std::vector<int32_t> tokens_;
  std::vector<float> row_;
  Stopwatch watch_;
};

Status Run::CheckSequence(const Sequence& sequence) {
  const ModelInfo& info = model_.info();
  if (sequence.bases.size() > info.max_length) {
    return InvalidInput(
        fmt::format("{} has {}, expected at most {} (the length limit of {})",
                    sequence.where, Bases(sequence.bases.size()),
                    info.max_length, info.name));
  }
  if (options_.all_positions() && !options_.archive() && checked_++ > 0) {
    return InvalidInput(fmt::format(
        "{} is a second sequence, expected one: --pooling none writes several "
        "to an --output FILE.npz only",
        sequence.where));
  }
  return OkStatus();
}

Status Run::OpenOutput() {
  if (options_.archive()) {
    LCSM_ASSIGN_OR_RETURN(npz_, io::NpzWriter::Create(options_.output));
    return OkStatus();
  }
  // A row a sequence, or of a single sequence a row a base. Of a pipe we learn
  // the number at its end.
  std::optional<size_t> rows;
  if (const auto& totals = input_->totals()) {
    rows = options_.all_positions() ? totals->bases : totals->sequences;
  }
  const std::string path =
      IsStdout(options_.output) ? "/dev/stdout" : options_.output;
  LCSM_ASSIGN_OR_RETURN(npy_,
                        io::NpyWriter::Create(path, model_.info().width, rows));
  return OkStatus();
}

Status Run::Prepare(const LoadedModel& loaded) {
  const ModelInfo& info = model_.info();
  if (options_.layer && *options_.layer > info.layers) {
    return InvalidInput(
        fmt::format("--layer {}: expected at most {}, the layers of {}",
                    *options_.layer, info.layers, loaded.folder));
  }
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<io::Tokenizer> tokenizer,
                        io::LoadTokenizer(loaded.folder, info.vocab));
  LCSM_ASSIGN_OR_RETURN(ids_, NucleotideIds::Find(*tokenizer));
  LCSM_ASSIGN_OR_RETURN(PrepareOptions prepare,
                        ToPrepareOptions(options_.execution, 0));
  prepare.steps = 0;
  LCSM_ASSIGN_OR_RETURN(input_, SequenceInput::Open(
                                    options_.input, options_.regions,
                                    [this](const Sequence& sequence) {
                                      return CheckSequence(sequence);
                                    },
                                    options_.quiet));
  checked_ = 0;
  LCSM_RETURN_IF_ERROR(OpenOutput());
  states_.emplace(model_, pool_, std::move(prepare),
                  [](double) { return !Interrupted(); });
  embedder_.emplace(model_, *states_,
                    options_.layer.value_or(Embedder::kFinalNorm));
  return OkStatus();
}

// Answers false if the run is to end.
bool Run::Told(double of_sequence) {
  if (Interrupted()) return false;
  if (!bar_->Due()) return true;
  const double bases =
      static_cast<double>(bases_) + of_sequence * static_cast<double>(length_);
  const auto& all = input_->totals();
  bar_->Update(all ? bases / static_cast<double>(all->bases) : of_sequence,
               fmt::format("{}, {:.0f} bases/s", Count(sequences_, "sequence"),
                           bases / watch_.Seconds()));
  return true;
}

std::span<const int32_t> Run::Encode(std::string_view bases) {
  tokens_.resize(bases.size());
  ids_.Encode(bases, tokens_);
  return tokens_;
}

Status Run::Begin(const Sequence& sequence, size_t rows) {
  if (!npz_) return OkStatus();
  const size_t width = model_.info().width;
  const size_t shape[] = {rows, width};
  return options_.all_positions()
             ? npz_->Begin(sequence.id, shape)
             : npz_->Begin(sequence.id, std::span(shape).subspan(1));
}

Status Run::Append(std::span<const float> values) {
  return npz_ ? npz_->Append(values) : npy_->Append(values);
}

StatusOr<std::vector<double>> Run::Pool(std::string_view bases,
                                        double done_before) {
  const double share = options_.both() ? 0.5 : 1.0;
  return embedder_->Pooled(
      Encode(bases),
      options_.pooling == "last" ? Pooling::kLast : Pooling::kMean,
      [&](double done) { return Told(done_before + share * done); });
}

Status Run::WritePooled(const Sequence& sequence) {
  LCSM_ASSIGN_OR_RETURN(std::vector<double> row, Pool(sequence.bases, 0));
  if (options_.both()) {
    LCSM_ASSIGN_OR_RETURN(const std::vector<double> reverse,
                          Pool(io::ReverseComplement(sequence.bases), 0.5));
    for (size_t c = 0; c < row.size(); ++c) row[c] = (row[c] + reverse[c]) / 2;
  }
  row_.assign(row.begin(), row.end());
  LCSM_RETURN_IF_ERROR(Begin(sequence, 1));
  return Append(row_);
}

Status Run::WriteRows(const Sequence& sequence) {
  LCSM_RETURN_IF_ERROR(Begin(sequence, sequence.bases.size()));
  return embedder_->Rows(
      Encode(sequence.bases),
      [this](std::span<const float> rows) { return Append(rows); },
      [this](double done) { return Told(done); });
}

Status Run::One(const Sequence& sequence) {
  length_ = sequence.bases.size();
  LCSM_RETURN_IF_ERROR(options_.all_positions() ? WriteRows(sequence)
                                                : WritePooled(sequence));
  ++sequences_;
  bases_ += length_;
  return npz_ ? npz_->End() : OkStatus();
}

Status Run::Finish() {
  if (npy_) return npy_->Finish();
  const ModelInfo& info = model_.info();
  nlohmann::ordered_json about = {{"version", LCSM_VERSION},
                                  {"model", info.name},
                                  {"model_hash", info.hash},
                                  {"pooling", options_.pooling},
                                  {"strand", options_.strand}};
  if (options_.layer) {
    about["layer"] = *options_.layer;
  } else {
    about["layer"] = "final norm";
  }
  using Handler = nlohmann::ordered_json::error_handler_t;
  return npz_->Finish(about.dump(-1, ' ', false, Handler::replace));
}

Status Run::All() {
  bar_.emplace("embedding", options_.quiet);
  Sequence sequence;
  for (;;) {
    if (Interrupted()) return Cancelled("interrupted");
    LCSM_ASSIGN_OR_RETURN(const bool more, input_->Next(&sequence));
    if (!more) break;
    LCSM_RETURN_IF_ERROR(One(sequence));
  }
  bar_.reset();
  return Finish();
}

std::string Run::Summary() const {
  return fmt::format("{}, {} in {:.2f} s, {:.0f} bases/s\n",
                     Count(sequences_, "sequence"), Bases(bases_),
                     watch_.Seconds(),
                     static_cast<double>(bases_) / watch_.Seconds()) +
         ComputedBy(model_.info(), pool_.NumThreads());
}

int Embed(const Options& options) {
  auto loaded = LoadNamedModel(options.model);
  if (!loaded.ok()) return Fail(loaded.status());
  Run run(options, *loaded->model);
  return RunToEnd(run, *loaded, options.quiet);
}

std::string CheckOptions(const Options& options) {
  if (!options.archive() && !options.output.ends_with(".npy") &&
      !IsStdout(options.output)) {
    return fmt::format("--output {}: expected a name that ends in .npy or .npz",
                       options.output);
  }
  if (options.all_positions() && options.both()) {
    return "--strand both takes the mean of two rows, and --pooling none has "
           "one for each base; give --pooling mean or last";
  }
  if (options.regions == "-" && options.input == "-") {
    return "--regions and the sequences both come from standard input, "
           "expected a file for one of them";
  }
  return CheckExecution(options.execution);
}

}  // namespace

void AddEmbed(App& root, Commands& commands) {
  auto options = std::make_shared<Options>();
  App app = root.add_subcommand(
      "embed", "Write what a model makes of sequences, as vectors");
  AddRequiredModel(*app, options->model);
  AddSequenceInput(*app, options->input);
  app->add_option("--output", options->output,
                  "A matrix with a row a sequence, or an archive with an array "
                  "a sequence; - is stdout")
      ->type_name("FILE.npy|FILE.npz")
      ->required();
  app->add_option("--layer", options->layer,
                  "After K blocks; 0 is the embedding (default: after the "
                  "final norm)")
      ->type_name("K")
      ->check(WholeIn(0, UINT64_MAX));
  app->add_option("--pooling", options->pooling,
                  "mean over positions, the last position, or none: a row a "
                  "base")
      ->type_name("NAME")
      ->check(OneOf({"mean", "last", "none"}))
      ->capture_default_str();
  app->add_option("--regions", options->regions,
                  "Only these regions, each as a sequence of its own")
      ->type_name("FILE.bed");
  app->add_option("--strand", options->strand,
                  "forward, or both: the mean of the sequence and its reverse "
                  "complement")
      ->type_name("NAME")
      ->check(OneOf({"forward", "both"}))
      ->capture_default_str();
  AddExecutionOptions(*app, options->execution);
  AddQuietOption(*app, options->quiet);
  app->footer(
      "Examples:\n"
      "  lcsm embed --model ecoli-hyenadna genes.fa --output genes.npy\n"
      "  lcsm embed --model ecoli-hyenadna genes.fa --layer 2 --pooling none "
      "--output g.npz");
  AddCommand(
      commands, app, [options] { return CheckOptions(*options); },
      [options] { return Embed(*options); });
}

}  // namespace lcsm::cli
