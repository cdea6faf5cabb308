// lcsm variants: log-likelihood ratios of the variants of a VCF file.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/cpu_info.h"
#include "base/thread_pool.h"
#include "command.h"
#include "data_output.h"
#include "interrupt.h"
#include "io/atomic_file.h"
#include "io/errors.h"
#include "io/faidx.h"
#include "io/tokenizer.h"
#include "io/vcf.h"
#include "lcsm/version.h"
#include "model_run.h"
#include "progress.h"
#include "provenance.h"
#include "runtime/variants.h"
#include "variants_options.h"
#include "variants_writer.h"

namespace lcsm::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kDefaultWindow = 8192;

// Records that are held until they are scored: those of one site, and what
// stands between them. More would only cost memory.
constexpr size_t kMaxHeld = 64;

struct Counts {
  size_t records = 0, scored = 0, alleles = 0;
  // Alleles passed over.
  size_t symbolic = 0, breakends = 0, overlaps = 0;
  size_t without_alt = 0;  // Records.
  size_t mismatched = 0;   // Records.
};

struct Held {
  VariantRow row;
  size_t contig = 0;
  Variant variant;  // Of row.scored; none if that is empty.
};

class Run final : public ModelRun {
 public:
  Run(const VariantsArguments& arguments, const Model& model, Output& out)
      : arguments_(arguments),
        model_(model),
        out_(out),
        pool_(arguments.execution.threads) {}

  Status Prepare(const LoadedModel& loaded) override;
  Status All() override;
  std::string Summary() const override;
  std::vector<std::string> Notes() const override;
  bool reader_gone() const override {
    return output_ && output_->reader_gone();
  }

 private:
  Status OpenInputs();
  // Checks all records of a file, so that what is wrong with the last one is
  // said at once. A pipe is checked as it comes.
  Status LookThrough();
  StatusOr<Held> Check(io::VcfRecord record);
  // An empty sentence if the variant lies on the genome as it says.
  StatusOr<std::string> Misfit(const io::VcfRecord& record, Held* held);
  // Scores and writes what is held.
  Status Flush();
  Status ScoreHeld();
  Status WriteStats() const;
  double Seconds() const {
    return std::chrono::duration<double>(Clock::now() - start_).count();
  }

  const VariantsArguments& arguments_;
  const Model& model_;
  Output& out_;
  ThreadPool pool_;
  VariantOptions options_;
  std::unique_ptr<io::Genome> genome_;
  std::unique_ptr<io::VcfReader> reader_;
  std::optional<DataOutput> output_;
  std::unique_ptr<ModelState> state_;
  std::optional<VariantScorer> scorer_;
  std::optional<Progress> bar_;
  std::vector<Held> held_;
  Counts counts_;
  io::FoldCounts folded_;  // Of windows.
  Clock::time_point start_ = Clock::now();
};

Status Run::OpenInputs() {
  LCSM_ASSIGN_OR_RETURN(output_, DataOutput::Open(arguments_.output, out_));
  if (!arguments_.stats.empty()) {
    // Better to know that it cannot be written now than at the end.
    LCSM_RETURN_IF_ERROR(io::AtomicFile::Create(arguments_.stats).status());
  }
  LCSM_ASSIGN_OR_RETURN(reader_, io::VcfReader::Open(arguments_.vcf));
  LCSM_ASSIGN_OR_RETURN(genome_, io::Genome::Open(arguments_.reference));
  if (arguments_.save_index) LCSM_RETURN_IF_ERROR(genome_->SaveIndex());
  return LookThrough();
}

Status Run::LookThrough() {
  std::error_code error;
  if (!std::filesystem::is_regular_file(arguments_.vcf, error)) {
    return OkStatus();
  }
  Progress progress("checking variants", arguments_.quiet);
  io::VcfRecord record;
  for (;;) {
    if (Interrupted()) return Cancelled("interrupted");
    LCSM_ASSIGN_OR_RETURN(const bool more, reader_->Next(&record));
    if (!more) break;
    LCSM_RETURN_IF_ERROR(Check(std::move(record)).status());
    if (progress.Due()) progress.Update(reader_->Done());
  }
  counts_ = Counts();
  LCSM_ASSIGN_OR_RETURN(reader_, io::VcfReader::Open(arguments_.vcf));
  return OkStatus();
}

Status Run::Prepare(const LoadedModel& loaded) {
  const ModelInfo& info = model_.info();
  options_.window = arguments_.window != 0
                        ? arguments_.window
                        : std::min(kDefaultWindow, info.max_length);
  if (options_.window > info.max_length) {
    return InvalidInput(
        fmt::format("--window {}: expected at most {}, the length limit of {}",
                    options_.window, info.max_length, loaded.folder));
  }
  options_.place = *ParsePlace(arguments_.place);
  options_.both_strands = arguments_.strand == "both";
  options_.share = !arguments_.no_share;
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<io::Tokenizer> tokenizer,
                        io::LoadTokenizer(loaded.folder, info.vocab));
  LCSM_ASSIGN_OR_RETURN(const NucleotideIds ids,
                        NucleotideIds::Find(*tokenizer));
  LCSM_RETURN_IF_ERROR(OpenInputs());
  // The last base is scored but never taken in.
  LCSM_ASSIGN_OR_RETURN(
      PrepareOptions prepare,
      ToPrepareOptions(arguments_.execution, options_.window - 1));
  prepare.steps = 0;
  Progress progress("evaluating filters", arguments_.quiet);
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const PreparedModel> prepared,
                        model_.Prepare(prepare, pool_, [&](double done) {
                          progress.Update(done);
                          return !Interrupted();
                        }));
  LCSM_ASSIGN_OR_RETURN(state_, prepared->NewState(pool_));
  scorer_.emplace(model_, *state_, ids, options_);
  return OkStatus();
}

StatusOr<std::string> Run::Misfit(const io::VcfRecord& record, Held* held) {
  const auto contig = genome_->Find(record.chrom);
  if (!contig) {
    return fmt::format("contig {} is not in {}, expected one of its {}",
                       io::Quoted(record.chrom), genome_->file(),
                       Count(genome_->contigs(), "contig"));
  }
  const uint64_t length = genome_->length(*contig);
  if (record.pos == 0 || record.pos > length ||
      record.ref.size() > length - (record.pos - 1)) {
    return fmt::format(
        "POS {} with {} of REF lies outside contig {}, which has {} in {}",
        record.pos, Count(record.ref.size(), "base"),
        io::Quoted(genome_->name(*contig)), Count(length, "base"),
        genome_->file());
  }
  held->contig = *contig;
  held->variant.begin = record.pos - 1;
  std::string bases;
  LCSM_RETURN_IF_ERROR(genome_->Fetch(*contig, held->variant.begin,
                                      held->variant.begin + record.ref.size(),
                                      &bases, nullptr));
  if (bases == record.ref) return std::string();
  return fmt::format(
      "REF is {} and {} has {} at {}:{}, expected the same; are they of one "
      "build of the genome?",
      io::Quoted(record.ref_text, 40), genome_->file(), io::Quoted(bases, 40),
      genome_->name(*contig), record.pos);
}

StatusOr<Held> Run::Check(io::VcfRecord record) {
  Held held;
  ++counts_.records;
  counts_.without_alt += record.alts.empty();
  for (size_t i = 0; i < record.alts.size(); ++i) {
    switch (record.alts[i].kind) {
      case io::AlleleKind::kSequence:
        held.row.scored.push_back(i);
        held.variant.alts.push_back(record.alts[i].bases);
        break;
      case io::AlleleKind::kSymbolic:
        ++counts_.symbolic;
        break;
      case io::AlleleKind::kBreakend:
        ++counts_.breakends;
        break;
      case io::AlleleKind::kOverlap:
        ++counts_.overlaps;
        break;
    }
  }
  if (!held.row.scored.empty()) {
    held.variant.ref = record.ref;
    LCSM_ASSIGN_OR_RETURN(const std::string misfit, Misfit(record, &held));
    if (!misfit.empty()) {
      if (arguments_.on_mismatch == "error") {
        return InvalidInput(fmt::format("{}: {}", reader_->At(record), misfit));
      }
      ++counts_.mismatched;
      held.row.scored.clear();
    }
  }
  held.row.record = std::move(record);
  return held;
}

Status Run::ScoreHeld() {
  std::vector<Variant> variants;
  size_t contig = 0;
  for (const Held& held : held_) {
    if (held.row.scored.empty()) continue;
    variants.push_back(held.variant);
    contig = held.contig;
  }
  if (variants.empty()) return OkStatus();
  const Strand strand = {genome_->length(contig),
                         [&](uint64_t begin, uint64_t end, std::string* bases) {
                           return genome_->Fetch(contig, begin, end, bases,
                                                 &folded_);
                         }};
  LCSM_ASSIGN_OR_RETURN(std::vector<VariantScores> scores,
                        scorer_->Score(strand, variants, [this](double) {
                          return !Interrupted() && !reader_gone();
                        }));
  size_t next = 0;
  for (Held& held : held_) {
    if (held.row.scored.empty()) continue;
    held.row.scores = std::move(scores[next++]);
    ++counts_.scored;
    counts_.alleles += held.row.scored.size();
  }
  return OkStatus();
}

Status Run::Flush() {
  LCSM_RETURN_IF_ERROR(ScoreHeld());
  for (const Held& held : held_) {
    LCSM_RETURN_IF_ERROR(output_->Write(FormatVariant(arguments_, held.row)));
  }
  held_.clear();
  if (bar_->Due()) {
    bar_->Update(reader_->Done(),
                 fmt::format("{}, {:.1f}/s", Count(counts_.records, "record"),
                             static_cast<double>(counts_.records) / Seconds()));
  }
  return OkStatus();
}

Status Run::All() {
  LCSM_RETURN_IF_ERROR(output_->Write(
      VariantsHeader(arguments_, options_, model_.info(), *reader_)));
  bar_.emplace("scoring", arguments_.quiet || out_.is_terminal());
  start_ = Clock::now();
  const Held* site = nullptr;  // The last one that will be scored.
  for (;;) {
    if (Interrupted()) return Cancelled("interrupted");
    if (reader_gone()) break;
    io::VcfRecord record;
    LCSM_ASSIGN_OR_RETURN(const bool more, reader_->Next(&record));
    if (!more) break;
    LCSM_ASSIGN_OR_RETURN(Held held, Check(std::move(record)));
    const bool other = site != nullptr && !held.row.scored.empty() &&
                       (site->contig != held.contig ||
                        site->variant.begin != held.variant.begin);
    if (other || held_.size() == kMaxHeld) {
      LCSM_RETURN_IF_ERROR(Flush());
      site = nullptr;
    }
    held_.reserve(kMaxHeld);  // So that `site` stays where it is.
    held_.push_back(std::move(held));
    if (!held_.back().row.scored.empty()) site = &held_.back();
  }
  const Status status = Flush();
  bar_.reset();
  if (status.code() == StatusCode::kCancelled && reader_gone()) {
    return OkStatus();
  }
  LCSM_RETURN_IF_ERROR(status);
  LCSM_RETURN_IF_ERROR(output_->Finish());
  return arguments_.stats.empty() ? OkStatus() : WriteStats();
}

Status Run::WriteStats() const {
  const VariantFigures& figures = scorer_->figures();
  const nlohmann::ordered_json json = {
      {"version", LCSM_VERSION},
      {"model", model_.info().name},
      {"model_hash", model_.info().hash},
      {"records", counts_.records},
      {"scored_records", counts_.scored},
      {"scored_alleles", counts_.alleles},
      {"passed_over",
       {{"symbolic", counts_.symbolic},
        {"breakends", counts_.breakends},
        {"overlapping_deletions", counts_.overlaps},
        {"without_alternate", counts_.without_alt},
        {"mismatched_records", counts_.mismatched}}},
      {"window", options_.window},
      {"place", options_.place},
      {"strand", arguments_.strand},
      {"tokens", figures.tokens},
      {"tokens_without_sharing", figures.tokens_whole},
      {"seconds", Seconds()},
      {"threads", pool_.NumThreads()},
      {"simd_target", SimdTarget()},
  };
  return io::WriteFileAtomically(arguments_.stats, json.dump(2) + "\n");
}

std::vector<std::string> Run::Notes() const {
  std::vector<std::string> notes;
  if (!genome_->note().empty()) notes.push_back(genome_->note());
  const auto count = [&notes](size_t n, const char* what, const char* rest) {
    if (n > 0) notes.push_back(Count(n, what) + rest);
  };
  count(counts_.symbolic, "symbolic allele", " passed over");
  count(counts_.breakends, "breakend", " passed over");
  count(counts_.overlaps, "allele", " * (deleted further up) passed over");
  count(counts_.without_alt, "record",
        " without an alternate allele passed over");
  count(counts_.mismatched, "record", " at odds with the genome passed over");
  count(folded_.iupac, "letter",
        " in the windows read as N, being another of IUPAC's codes");
  return notes;
}

std::string Run::Summary() const {
  const VariantFigures& figures = scorer_->figures();
  const double seconds = Seconds();
  std::string text = fmt::format(
      "{}, {} scored in windows of {}, {:.2f} s, {:.2f} alleles/s\n",
      Count(counts_.records, "record"), Count(counts_.alleles, "allele"),
      options_.window, seconds, static_cast<double>(counts_.alleles) / seconds);
  if (figures.tokens > 0) {
    text +=
        fmt::format("{} taken in, {:.2f} times less than every allele whole\n",
                    Count(figures.tokens, "base"),
                    static_cast<double>(figures.tokens_whole) /
                        static_cast<double>(figures.tokens));
  }
  return text + ComputedBy(model_.info(), pool_.NumThreads());
}

int Variants(const VariantsArguments& arguments) {
  auto loaded = LoadNamedModel(arguments.model);
  if (!loaded.ok()) return Fail(loaded.status());
  Output out;
  Run run(arguments, *loaded->model, out);
  return RunToEnd(run, *loaded, arguments.quiet);
}

}  // namespace

void AddVariants(App& root, Commands& commands) {
  auto arguments = std::make_shared<VariantsArguments>();
  App app = root.add_subcommand(
      "variants", "Score variants: log-likelihood ratios of ALT to REF");
  AddVariantsOptions(*app, *arguments);
  app->footer(
      "Examples:\n"
      "  printf '>c\\nATGAAACGCATTAGC\\n' > c.fa\n"
      "  printf '##fileformat=VCFv4.3\\n#CHROM\\tPOS\\tID\\tREF\\tALT\\tQUAL\\t"
      "FILTER\\tINFO\\nc\\t7\\t.\\tC\\tA,CT\\t.\\t.\\t.\\n' | lcsm variants "
      "--model ecoli-hyenadna --reference c.fa --vcf -");
  AddCommand(
      commands, app, [arguments] { return CheckArguments(*arguments); },
      [arguments] { return Variants(*arguments); });
}

}  // namespace lcsm::cli
