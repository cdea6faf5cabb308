// lcsm classify: what a fine-tuned model takes sequences for, a line each.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "classify_options.h"
#include "command.h"
#include "data_output.h"
#include "interrupt.h"
#include "io/tokenizer.h"
#include "model_run.h"
#include "models/classifier.h"
#include "progress.h"
#include "provenance.h"
#include "runtime/known_tokens.h"
#include "runtime/variants.h"
#include "sequence_input.h"

namespace lcsm::cli {
namespace {

using Clock = std::chrono::steady_clock;
using Task = ClassifierHead::Task;

// HyenaDNA's (docs/tokenizers.md).
constexpr int32_t kCls = 0, kSep = 1, kPad = 4;

// What stands around each sequence.
struct Frame {
  std::vector<int32_t> before, behind;
  size_t pad_to = 0;
  size_t Tokens(size_t bases) const {
    return std::max(before.size() + bases + behind.size(), pad_to);
  }
};

class Run final : public ModelRun {
 public:
  Run(const ClassifyArguments& arguments, const Model& model, Output& out)
      : arguments_(arguments),
        model_(model),
        out_(out),
        pool_(arguments.execution.threads) {}

  Status Prepare(const LoadedModel& loaded) override;
  Status All() override;
  std::vector<std::string> Notes() const override { return {input_->Note()}; }
  std::string Summary() const override;
  bool reader_gone() const override {
    return output_ && output_->reader_gone();
  }

 private:
  Status MakeFrame(const io::Tokenizer& tokenizer);
  Status CheckLength(const Sequence& sequence) const;
  Status One(const Sequence& sequence);
  std::string Header() const;
  std::string Line(const Sequence& sequence,
                   const std::vector<double>& logits) const;
  std::string Label(const std::vector<double>& outputs) const;

  const ClassifyArguments& arguments_;
  const Model& model_;
  Output& out_;
  ThreadPool pool_;
  std::optional<ClassifierHead> head_;
  Pooling pooling_ = Pooling::kLast;
  Frame frame_;
  std::optional<NucleotideIds> ids_;
  std::optional<DataOutput> output_;
  std::unique_ptr<SequenceInput> input_;
  std::optional<KnownTokenStates> states_;
  std::optional<Progress> bar_;
  uint64_t bases_ = 0;
  std::vector<size_t> taken_for_;  // Sequences, by class.
  size_t sequences_ = 0;
  Clock::time_point start_ = Clock::now();
};

Status Run::MakeFrame(const io::Tokenizer& tokenizer) {
  std::string special = arguments_.special_tokens;
  if (special == "usual") special = head_->is_score() ? "sep" : "none";
  frame_.pad_to = arguments_.pad_to;
  if ((special != "none" || frame_.pad_to != 0) &&
      tokenizer.name() != "hyenadna") {
    return InvalidInput(fmt::format(
        "{}: its tokenizer ({}) has no [CLS], [SEP] and [PAD], expected "
        "--special-tokens none and no --pad-to",
        model_.info().name, tokenizer.name()));
  }
  if (special == "cls-sep") frame_.before.push_back(kCls);
  if (special != "none") frame_.behind.push_back(kSep);
  const size_t limit = model_.info().max_length;
  if (frame_.pad_to > limit) {
    return InvalidInput(
        fmt::format("--pad-to {}: expected at most {}, the length limit of {}",
                    frame_.pad_to, limit, model_.info().name));
  }
  return OkStatus();
}

Status Run::CheckLength(const Sequence& sequence) const {
  const ModelInfo& info = model_.info();
  const size_t tokens = frame_.Tokens(sequence.bases.size());
  const size_t limit = frame_.pad_to != 0 ? frame_.pad_to : info.max_length;
  if (tokens <= limit) return OkStatus();
  const size_t special = frame_.before.size() + frame_.behind.size();
  return InvalidInput(fmt::format(
      "{} has {}, expected at most {} ({})", sequence.where,
      Bases(sequence.bases.size()), limit - std::min(limit, special),
      frame_.pad_to != 0
          ? fmt::format("--pad-to {}", frame_.pad_to)
          : fmt::format("the length limit of {}{}", info.name,
                        special != 0 ? " and its special tokens" : "")));
}

Status Run::Prepare(const LoadedModel& loaded) {
  const ModelInfo& info = model_.info();
  LCSM_ASSIGN_OR_RETURN(head_, ClassifierHead::Load(loaded.folder, info.width));
  taken_for_.resize(head_->classes());
  pooling_ =
      PoolingFromName(arguments_.pooling).value_or(head_->usual_pooling());
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<io::Tokenizer> tokenizer,
                        io::LoadTokenizer(loaded.folder, info.vocab));
  LCSM_ASSIGN_OR_RETURN(ids_, NucleotideIds::Find(*tokenizer));
  LCSM_RETURN_IF_ERROR(MakeFrame(*tokenizer));
  LCSM_ASSIGN_OR_RETURN(PrepareOptions prepare,
                        ToPrepareOptions(arguments_.execution, 0));
  prepare.steps = 0;
  LCSM_ASSIGN_OR_RETURN(output_, DataOutput::Open(arguments_.output, out_));
  LCSM_ASSIGN_OR_RETURN(input_, SequenceInput::Open(
                                    arguments_.input, "",
                                    [this](const Sequence& sequence) {
                                      return CheckLength(sequence);
                                    },
                                    arguments_.quiet));
  states_.emplace(model_, pool_, std::move(prepare),
                  [](double) { return !Interrupted(); });
  return OkStatus();
}

std::string Run::Header() const {
  std::string text;
  if (arguments_.comments) {
    text = fmt::format("# {}\n# classify --pooling {} --special-tokens {}",
                       Provenance(model_.info()), Name(pooling_),
                       !frame_.before.empty()   ? "cls-sep"
                       : !frame_.behind.empty() ? "sep"
                                                : "none");
    if (frame_.pad_to != 0) text += fmt::format(" --pad-to {}", frame_.pad_to);
    text += "\n";
  }
  text += "id\tlength";
  if (head_->task() != Task::kNumbers) {
    text += "\tlabel";
    for (const std::string& label : head_->labels()) text += "\tprob_" + label;
  }
  for (const std::string& label : head_->labels()) text += "\tlogit_" + label;
  return text + "\n";
}

std::string Run::Label(const std::vector<double>& outputs) const {
  const std::vector<std::string>& labels = head_->labels();
  if (head_->task() == Task::kOneOf) {
    const auto best = std::max_element(outputs.begin(), outputs.end());
    return labels[static_cast<size_t>(best - outputs.begin())];
  }
  std::string text;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i] < 0.5) continue;
    if (!text.empty()) text += ',';
    text += labels[i];
  }
  return text.empty() ? "." : text;
}

std::string Run::Line(const Sequence& sequence,
                      const std::vector<double>& logits) const {
  std::string line = fmt::format("{}\t{}", sequence.id, sequence.bases.size());
  if (head_->task() != Task::kNumbers) {
    const std::vector<double> outputs = head_->Outputs(logits);
    line += "\t" + Label(outputs);
    for (const double x : outputs) line += fmt::format("\t{}", x);
  }
  for (const double x : logits) line += fmt::format("\t{}", x);
  return line + "\n";
}

Status Run::One(const Sequence& sequence) {
  std::vector<int32_t> tokens = frame_.before;
  const std::vector<int32_t> bases = ids_->Encode(sequence.bases);
  tokens.insert(tokens.end(), bases.begin(), bases.end());
  tokens.insert(tokens.end(), frame_.behind.begin(), frame_.behind.end());
  if (tokens.size() < frame_.pad_to) {
    tokens.insert(tokens.begin(), frame_.pad_to - tokens.size(), kPad);
  }
  LCSM_ASSIGN_OR_RETURN(ModelState* const state, states_->For(tokens.size()));
  Pooler pooler(pooling_, model_.info().width);
  LCSM_RETURN_IF_ERROR(state->Prefill(
      tokens,
      {.on_hidden =
           [&pooler](size_t, std::span<const float> rows) {
             pooler.Add(rows);
             return OkStatus();
           },
       .progress = [this](double) { return !Interrupted() && !reader_gone(); },
       .following = 0}));
  LCSM_RETURN_IF_ERROR(model_.CheckWeights());
  const std::vector<double> logits = head_->Logits(pooler.Row());
  ++sequences_;
  bases_ += sequence.bases.size();
  ++taken_for_[static_cast<size_t>(
      std::max_element(logits.begin(), logits.end()) - logits.begin())];
  return output_->Write(Line(sequence, logits));
}

Status Run::All() {
  LCSM_RETURN_IF_ERROR(output_->Write(Header()));
  bar_.emplace("classifying", arguments_.quiet || out_.is_terminal());
  Sequence sequence;
  while (!reader_gone()) {
    if (Interrupted()) return Cancelled("interrupted");
    LCSM_ASSIGN_OR_RETURN(const bool more, input_->Next(&sequence));
    if (!more) break;
    const Status status = One(sequence);
    if (status.code() == StatusCode::kCancelled && reader_gone()) break;
    LCSM_RETURN_IF_ERROR(status);
    if (const auto& all = input_->totals(); all && bar_->Due()) {
      bar_->Update(
          static_cast<double>(bases_) / static_cast<double>(all->bases),
          Count(sequences_, "sequence"));
    }
  }
  bar_.reset();
  return output_->Finish();
}

std::string Run::Summary() const {
  const double seconds =
      std::chrono::duration<double>(Clock::now() - start_).count();
  std::string text = fmt::format(
      "{}, {} in {:.2f} s, {:.0f} bases/s\n", Count(sequences_, "sequence"),
      Bases(bases_), seconds, static_cast<double>(bases_) / seconds);
  // A table of a few; of many classes the file tells.
  constexpr size_t kMaxListed = 10;
  if (head_->task() == Task::kOneOf && head_->classes() <= kMaxListed) {
    for (size_t i = 0; i < head_->classes(); ++i) {
      text += fmt::format("{}{}: {}", i == 0 ? "" : ", ", head_->labels()[i],
                          Digits(taken_for_[i]));
    }
    text += "\n";
  }
  return text + ComputedBy(model_.info(), pool_.NumThreads());
}

int Classify(const ClassifyArguments& arguments) {
  auto loaded = LoadNamedModel(arguments.model);
  if (!loaded.ok()) return Fail(loaded.status());
  Output out;
  Run run(arguments, *loaded->model, out);
  return RunToEnd(run, *loaded, arguments.quiet);
}

}  // namespace

void AddClassify(App& root, Commands& commands) {
  auto arguments = std::make_shared<ClassifyArguments>();
  App app = root.add_subcommand(
      "classify", "Classify sequences with a fine-tuned HyenaDNA");
  AddClassifyOptions(*app, *arguments);
  app->footer(
      "Example, with a model fine-tuned on promoters:\n"
      "    lcsm classify --model my-promoters sequences.fa.gz > classes.tsv");
  AddCommand(
      commands, app,
      [arguments] { return CheckExecution(arguments->execution); },
      [arguments] { return Classify(*arguments); });
}

}  // namespace lcsm::cli
