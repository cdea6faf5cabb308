#include "sequence_input.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "interrupt.h"
#include "io/errors.h"
#include "model_options.h"
#include "progress.h"

namespace lcsm::cli {

std::string Bases(uint64_t n) { return Count(n, "base"); }

void AddSequenceInput(App& app, std::string& file) {
  app.add_option("input", file, "Sequences, plain or gzip; - is standard input")
      ->type_name("IN.fa")
      ->required();
}

StatusOr<std::unique_ptr<SequenceInput>> SequenceInput::Open(
    const std::string& fasta, const std::string& regions, Check check,
    bool quiet) {
  std::unique_ptr<SequenceInput> input(
      new SequenceInput(fasta, regions, std::move(check)));
  if (!regions.empty()) {
    LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<io::TextSource> text,
                          io::TextSource::Open(regions, &InterruptFlag()));
    LCSM_ASSIGN_OR_RETURN(std::vector<io::BedRegion> list, io::ReadBed(*text));
    for (io::BedRegion& region : list) {
      input->regions_[region.chrom].push_back(std::move(region));
    }
  }
  std::error_code error;
  if (std::filesystem::is_regular_file(fasta, error)) {
    LCSM_RETURN_IF_ERROR(input->LookThrough(quiet));
  }
  LCSM_ASSIGN_OR_RETURN(input->pass_, input->Begin());
  return input;
}

StatusOr<std::unique_ptr<SequenceInput::Pass>> SequenceInput::Begin() const {
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<io::TextSource> text,
                        io::TextSource::Open(fasta_, &InterruptFlag()));
  return std::make_unique<Pass>(io::FastaReader(std::move(text)));
}

Status SequenceInput::LookThrough(bool quiet) {
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<Pass> pass, Begin());
  Progress progress("checking the input", quiet);
  Totals totals;
  Sequence sequence;
  for (;;) {
    if (Interrupted()) return Cancelled("interrupted");
    LCSM_ASSIGN_OR_RETURN(const bool more, Advance(*pass, &sequence));
    if (!more) break;
    ++totals.sequences;
    totals.bases += sequence.bases.size();
    totals.longest = std::max(totals.longest, sequence.bases.size());
    progress.Update(pass->reader.text().Done());
  }
  totals_ = totals;
  return OkStatus();
}

StatusOr<bool> SequenceInput::NextRecord(Pass& pass) const {
  for (;;) {
    LCSM_ASSIGN_OR_RETURN(const bool more, pass.reader.Next(&pass.record));
    if (!more) break;
    if (regions_file_.empty()) return true;
    const auto found = regions_.find(pass.record.name);
    if (found == regions_.end()) continue;
    const auto [first, is_first] =
        pass.seen.emplace(pass.record.name, pass.record.line);
    if (!is_first) {
      return InvalidInput(fmt::format(
          "{}: lines {} and {} both begin a record {}, expected one that the "
          "regions of {} can mean",
          pass.reader.text().name(), first->second, pass.record.line,
          io::Quoted(pass.record.name), regions_file_));
    }
    pass.regions = &found->second;
    pass.next_region = 0;
    return true;
  }
  const io::BedRegion* missing = nullptr;
  for (const auto& [chrom, list] : regions_) {
    if (pass.seen.count(chrom) == 0 &&
        (missing == nullptr || list.front().line < missing->line)) {
      missing = &list.front();
    }
  }
  if (missing == nullptr) return false;
  return InvalidInput(fmt::format(
      "{}: line {} names the sequence {}, expected one of those in {}",
      regions_file_, missing->line, io::Quoted(missing->chrom),
      pass.reader.text().name()));
}

Status SequenceInput::TakeRegion(const Pass& pass, const io::BedRegion& region,
                                 Sequence* sequence) const {
  const std::string& bases = pass.record.sequence;
  if (region.end > bases.size()) {
    return InvalidInput(
        fmt::format("{}: line {} ends at {}, expected at most {}, the length "
                    "of {} in {}",
                    regions_file_, region.line, region.end, bases.size(),
                    io::Quoted(region.chrom), pass.reader.text().name()));
  }
  sequence->id = region.name;
  sequence->bases =
      std::string_view(bases).substr(region.begin, region.end - region.begin);
  sequence->where = fmt::format("{}: region {} (line {})", regions_file_,
                                io::Quoted(region.name), region.line);
  return OkStatus();
}

StatusOr<bool> SequenceInput::Advance(Pass& pass, Sequence* sequence) const {
  if (pass.regions == nullptr || pass.next_region == pass.regions->size()) {
    LCSM_ASSIGN_OR_RETURN(const bool more, NextRecord(pass));
    if (!more) return false;
  }
  if (pass.regions != nullptr) {
    LCSM_RETURN_IF_ERROR(
        TakeRegion(pass, (*pass.regions)[pass.next_region++], sequence));
  } else {
    const io::FastaRecord& record = pass.record;
    sequence->id = record.name;
    sequence->bases = record.sequence;
    sequence->where =
        fmt::format("{}: record {} (line {})", pass.reader.text().name(),
                    io::Quoted(record.name), record.line);
  }
  if (check_) LCSM_RETURN_IF_ERROR(check_(*sequence));
  return true;
}

StatusOr<bool> SequenceInput::Next(Sequence* sequence) {
  return Advance(*pass_, sequence);
}

std::string SequenceInput::Note() const {
  const io::FastaCounts& counts = pass_->reader.counts();
  std::string note;
  const auto add = [&note](const std::string& words) {
    note += (note.empty() ? "" : "; ") + words;
  };
  if (counts.lower_case > 0) {
    add(fmt::format("lower case read as upper case: {}",
                    Digits(counts.lower_case)));
  }
  if (counts.uracil > 0) {
    add(fmt::format("U read as T: {}", Digits(counts.uracil)));
  }
  std::string codes;
  for (size_t i = 0; i < counts.iupac.size(); ++i) {
    if (counts.iupac[i] == 0) continue;
    codes += fmt::format("{}{} {}", codes.empty() ? "" : ", ",
                         static_cast<char>('A' + i), Digits(counts.iupac[i]));
  }
  if (!codes.empty()) add("IUPAC codes read as N: " + codes);
  return note;
}

}  // namespace lcsm::cli
