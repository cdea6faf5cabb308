#include "io/vcf.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "io/errors.h"
#include "io/nucleotides.h"

namespace lcsm::io {
namespace {

constexpr std::array<std::string_view, 8> kFixedColumns = {
    "#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO"};
constexpr size_t kPos = 1, kRef = 3, kAlt = 4;
// The largest that the format itself allows.
constexpr uint64_t kMaxPosition = (uint64_t{1} << 31) - 2;

// Takes the text before the first `separator` off `rest`; false when nothing is
// left to take.
bool TakeField(std::string_view* rest, char separator, std::string_view* field,
               bool* more) {
  if (!*more) return false;
  const size_t at = rest->find(separator);
  *field = rest->substr(0, at);
  *more = at != std::string_view::npos;
  rest->remove_prefix(*more ? at + 1 : rest->size());
  return true;
}

// Bases of REF or ALT, folded; false if one is no nucleotide code.
bool FoldAllele(std::string_view text, std::string* bases) {
  *bases = text;
  return !text.empty() && FoldNucleotides(bases, nullptr) == std::string::npos;
}

bool ParseAlt(std::string_view text, VcfAllele* allele) {
  allele->text = text;
  allele->bases.clear();
  allele->kind = AlleleKind::kSequence;
  if (FoldAllele(text, &allele->bases)) return true;
  allele->bases.clear();
  if (text == "*") {
    allele->kind = AlleleKind::kOverlap;
  } else if (text.size() >= 3 && text.front() == '<' && text.back() == '>') {
    allele->kind = AlleleKind::kSymbolic;
  } else if (text.find_first_of("[]") != std::string_view::npos ||
             (text.size() >= 2 &&
              (text.front() == '.' || text.back() == '.'))) {
    allele->kind = AlleleKind::kBreakend;
  } else {
    return false;
  }
  return true;
}

}  // namespace

std::string_view VcfRecord::Column(size_t column) const {
  std::string_view rest = text, field;
  bool more = true;
  for (size_t i = 0; TakeField(&rest, '\t', &field, &more); ++i) {
    if (i == column) return field;
  }
  return {};
}

StatusOr<std::unique_ptr<VcfReader>> VcfReader::Open(const std::string& file) {
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<TextSource> source,
                        TextSource::Open(file));
  return Create(std::move(source));
}

StatusOr<std::unique_ptr<VcfReader>> VcfReader::Create(
    std::unique_ptr<TextSource> source) {
  const std::string name = source->name();
  return CatchAll(name, [&]() -> StatusOr<std::unique_ptr<VcfReader>> {
    std::unique_ptr<VcfReader> reader(new VcfReader(std::move(source)));
    LCSM_RETURN_IF_ERROR(reader->ReadHeader());
    return reader;
  });
}

Status VcfReader::ReadHeader() {
  std::string_view line;
  for (;;) {
    LCSM_ASSIGN_OR_RETURN(const bool more, source_->Next(&line));
    if (!more && header_.empty()) {
      return InvalidInput(source_->name() + ": is empty, expected a VCF file");
    }
    if (!more) break;
    if (header_.empty()) {
      if (line.starts_with("BCF\2")) {
        return InvalidInput(source_->name() +
                            ": is a BCF file, expected VCF; bcftools view "
                            "turns one into the other");
      }
      if (!line.starts_with("##fileformat=VCFv")) {
        return InvalidInput(
            fmt::format("{} is {}, expected ##fileformat=VCFv4.3 or another "
                        "version of VCF",
                        source_->At(), Quoted(line)));
      }
    }
    if (!line.starts_with("##")) return CheckColumnNames(line);
    header_.emplace_back(line);
  }
  return InvalidInput(source_->name() +
                      ": ends within its header, expected a line of column "
                      "names that begins with #CHROM");
}

Status VcfReader::CheckColumnNames(std::string_view line) {
  std::string_view rest = line, name;
  bool more = true;
  columns_ = 0;
  while (TakeField(&rest, '\t', &name, &more)) {
    if (columns_ < kFixedColumns.size() && name != kFixedColumns[columns_]) {
      return InvalidInput(fmt::format(
          "{}: column {} is {}, expected {} and column names between tabs",
          source_->At(), columns_ + 1, Quoted(name), kFixedColumns[columns_]));
    }
    ++columns_;
  }
  if (columns_ < kFixedColumns.size()) {
    return InvalidInput(fmt::format(
        "{} names {} columns, expected at least {}, from #CHROM to INFO",
        source_->At(), columns_, kFixedColumns.size()));
  }
  column_names_ = line;
  return OkStatus();
}

StatusOr<bool> VcfReader::Next(VcfRecord* record) {
  return CatchAll(source_->name(), [&]() -> StatusOr<bool> {
    std::string_view line;
    LCSM_ASSIGN_OR_RETURN(bool more, source_->Next(&line));
    if (!more) return false;
    if (line.empty()) {
      // At the end they are harmless.
      const std::string at = source_->At();
      while (more && line.empty()) {
        LCSM_ASSIGN_OR_RETURN(more, source_->Next(&line));
      }
      if (!more) return false;
      return InvalidInput(at + " is empty, expected a record");
    }
    LCSM_RETURN_IF_ERROR(Parse(line, record));
    return true;
  });
}

Status VcfReader::Parse(std::string_view line, VcfRecord* record) const {
  const std::string at = source_->At();
  record->line = source_->line();
  record->text = line;
  const size_t tabs =
      static_cast<size_t>(std::count(line.begin(), line.end(), '\t'));
  if (tabs + 1 != columns_) {
    return InvalidInput(
        fmt::format("{} has {} columns between tabs, expected {} as in the "
                    "header",
                    at, tabs + 1, columns_));
  }
  std::array<std::string_view, kAlt + 1> fields;
  std::string_view rest = line;
  bool more = true;
  for (std::string_view& field : fields) TakeField(&rest, '\t', &field, &more);
  record->chrom = fields[0];
  if (record->chrom.empty()) {
    return InvalidInput(at + ": CHROM is empty, expected a contig");
  }
  const std::string_view pos = fields[kPos];
  const auto [end, error] =
      std::from_chars(pos.data(), pos.data() + pos.size(), record->pos);
  if (error != std::errc() || end != pos.data() + pos.size() ||
      record->pos > kMaxPosition) {
    return InvalidInput(
        fmt::format("{}: POS is {}, expected a position from 0 to {}", at,
                    Quoted(pos), kMaxPosition));
  }
  record->ref_text = fields[kRef];
  if (!FoldAllele(fields[kRef], &record->ref)) {
    return InvalidInput(
        fmt::format("{}: REF is {}, expected bases", at, Quoted(fields[kRef])));
  }
  record->alts.clear();
  if (fields[kAlt] == ".") return OkStatus();
  std::string_view alts = fields[kAlt], alt;
  more = true;
  while (TakeField(&alts, ',', &alt, &more)) {
    if (!ParseAlt(alt, &record->alts.emplace_back())) {
      return InvalidInput(fmt::format(
          "{}: ALT holds {}, expected bases, *, <NAME> or a breakend", at,
          Quoted(alt)));
    }
  }
  return OkStatus();
}

std::string VcfReader::At(const VcfRecord& record) const {
  return fmt::format("{}: line {}", source_->name(), record.line);
}

}  // namespace lcsm::io
