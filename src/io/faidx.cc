#include "io/faidx.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <system_error>
#include <unordered_set>
#include <utility>

#include "io/atomic_file.h"
#include "io/errors.h"

namespace lcsm::io {
namespace {

constexpr size_t kMaxIndexBytes = size_t{1} << 28;
// Far beyond any genome, near enough that sums cannot overflow.
constexpr uint64_t kMaxNumber = uint64_t{1} << 60;

Status NoRecords(const TextSource& fasta) {
  return InvalidInput(fasta.name() +
                      ": holds no sequence, expected FASTA records");
}
Status NoHeader(const TextSource& fasta, std::string_view line) {
  return InvalidInput(
      fmt::format("{} is {}, expected a FASTA header that begins with >",
                  fasta.At(), Quoted(line)));
}
Status NamedTwice(const std::string& at, std::string_view name) {
  return InvalidInput(
      fmt::format("{} names the contig {} a second time, expected each once",
                  at, Quoted(name)));
}

// What a header line begins.
StatusOr<FaidxEntry> HeaderEntry(const TextSource& fasta, std::string_view line,
                                 std::unordered_set<std::string>* names) {
  FaidxEntry entry;
  const std::string_view rest = line.substr(1);
  entry.name = rest.substr(0, rest.find_first_of(" \t"));
  if (entry.name.empty()) {
    return InvalidInput(fasta.At() +
                        " begins a sequence without a name, expected one right "
                        "after the >");
  }
  if (!names->insert(entry.name).second) {
    return NamedTwice(fasta.At(), entry.name);
  }
  entry.offset = fasta.offset() + line.size() + fasta.line_end_bytes();
  return entry;
}

// The fields of one line; an empty sentence, or what is wrong.
std::string ParseEntry(std::string_view line, FaidxEntry* entry) {
  const size_t tab = line.find('\t');
  if (tab == 0 || tab == std::string_view::npos) {
    return "has no contig name before a tab";
  }
  entry->name = line.substr(0, tab);
  const char* at = line.data() + tab;
  const char* const end = line.data() + line.size();
  for (uint64_t* const field : {&entry->length, &entry->offset,
                                &entry->line_bases, &entry->line_bytes}) {
    if (at == end || *at != '\t') return "has fewer than five columns";
    const auto [rest, error] = std::from_chars(at + 1, end, *field);
    if (error != std::errc() || *field > kMaxNumber ||
        (rest != end && *rest != '\t')) {
      return "has a column that is no size or offset";
    }
    at = rest;
  }
  if (entry->length > 0 &&
      (entry->line_bases == 0 || entry->line_bytes < entry->line_bases)) {
    return "has lines shorter than their bases";
  }
  return "";
}

// Bytes from the contig's first base to its last.
uint64_t Span(const FaidxEntry& entry, uint64_t bases) {
  if (bases == 0) return 0;
  const uint64_t last = bases - 1;
  return last / entry.line_bases * entry.line_bytes + last % entry.line_bases +
         1;
}
// Whether the contig lies within a file of this size, without overflow.
bool Fits(const FaidxEntry& entry, uint64_t size) {
  if (entry.length == 0) return true;
  const uint64_t lines = (entry.length - 1) / entry.line_bases;
  if (lines > 0 && entry.line_bytes > kMaxNumber / lines) return false;
  return entry.offset <= size &&
         Span(entry, entry.length) <= size - entry.offset;
}

}  // namespace

StatusOr<std::vector<FaidxEntry>> ParseFaidx(std::string_view text,
                                             const std::string& file) {
  std::vector<FaidxEntry> entries;
  std::unordered_set<std::string> names;
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t feed = text.find('\n');
    std::string_view line = text.substr(0, feed);
    text.remove_prefix(feed == std::string_view::npos ? text.size() : feed + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    FaidxEntry entry;
    const std::string wrong = ParseEntry(line, &entry);
    if (!wrong.empty()) {
      return InvalidInput(fmt::format(
          "{}: line {} {}, expected an index as samtools faidx makes it", file,
          number, wrong));
    }
    if (!names.insert(entry.name).second) {
      return NamedTwice(fmt::format("{}: line {}", file, number), entry.name);
    }
    entries.push_back(std::move(entry));
  }
  if (entries.empty()) {
    return InvalidInput(file +
                        ": names no contig, expected an index as samtools "
                        "faidx makes it");
  }
  return entries;
}

std::string FormatFaidx(const std::vector<FaidxEntry>& entries) {
  std::string text;
  for (const FaidxEntry& e : entries) {
    text += fmt::format("{}\t{}\t{}\t{}\t{}\n", e.name, e.length, e.offset,
                        e.line_bases, e.line_bytes);
  }
  return text;
}

StatusOr<std::optional<std::vector<FaidxEntry>>> BuildFaidx(TextSource& fasta) {
  std::vector<FaidxEntry> entries;
  std::unordered_set<std::string> names;
  bool regular = true, last = false;  // `last`: no further line may follow.
  std::string_view line;
  for (;;) {
    LCSM_ASSIGN_OR_RETURN(const bool more, fasta.Next(&line));
    if (!more) break;
    if (line.starts_with('>')) {
      LCSM_ASSIGN_OR_RETURN(FaidxEntry entry, HeaderEntry(fasta, line, &names));
      entries.push_back(std::move(entry));
      last = false;
      continue;
    }
    if (line.empty()) {
      last = true;  // Blank lines at a record's end are harmless.
      continue;
    }
    if (entries.empty()) return NoHeader(fasta, line);
    FaidxEntry& entry = entries.back();
    const uint64_t bytes = line.size() + fasta.line_end_bytes();
    if (last) regular = false;
    if (entry.length == 0) {
      entry.line_bases = line.size();
      entry.line_bytes = bytes;
    } else if (line.size() > entry.line_bases) {
      regular = false;
    } else if (line.size() < entry.line_bases || bytes != entry.line_bytes) {
      last = true;
    }
    entry.length += line.size();
  }
  if (entries.empty()) return NoRecords(fasta);
  if (!regular) return std::optional<std::vector<FaidxEntry>>();
  return std::optional<std::vector<FaidxEntry>>(std::move(entries));
}

StatusOr<std::optional<std::vector<FaidxEntry>>> Genome::FindIndex() {
  const std::string file = file_ + ".fai";
  std::error_code error;
  const auto made = std::filesystem::last_write_time(file, error);
  if (error) return std::optional<std::vector<FaidxEntry>>();
  const auto changed = std::filesystem::last_write_time(file_, error);
  if (error || made < changed) {
    note_ = fmt::format("{} is older than {} and was not used", file, file_);
    return std::optional<std::vector<FaidxEntry>>();
  }
  LCSM_ASSIGN_OR_RETURN(const std::string text, ReadFile(file, kMaxIndexBytes));
  LCSM_ASSIGN_OR_RETURN(std::vector<FaidxEntry> entries,
                        ParseFaidx(text, file));
  index_file_ = file;
  return std::optional<std::vector<FaidxEntry>>(std::move(entries));
}

Status Genome::OpenRandom(std::unique_ptr<RandomBytes> raw) {
  std::string header(
      static_cast<size_t>(std::min<uint64_t>(kBgzfHeaderBytes, raw->size())),
      '\0');
  LCSM_RETURN_IF_ERROR(raw->Read(0, header.size(), header.data()));
  if (BgzfBlockBytes(header) != 0) {
    LCSM_ASSIGN_OR_RETURN(bytes_, OpenBgzf(std::move(raw), file_));
  } else if (!IsGzip(header)) {
    bytes_ = std::move(raw);
  }
  return OkStatus();
}

Status Genome::Index(std::optional<std::vector<FaidxEntry>> index,
                     const OpenText& open) {
  if (bytes_ != nullptr && !index) {
    LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<TextSource> fasta, open());
    LCSM_ASSIGN_OR_RETURN(index, BuildFaidx(*fasta));
  }
  if (bytes_ == nullptr || !index) {
    bytes_ = nullptr;
    LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<TextSource> fasta, open());
    LCSM_RETURN_IF_ERROR(Hold(*fasta));
  } else {
    entries_ = std::move(*index);
  }
  for (size_t i = 0; i < entries_.size(); ++i) {
    by_name_.emplace(entries_[i].name, i);
    if (bytes_ != nullptr && !Fits(entries_[i], bytes_->size())) {
      return InvalidInput(fmt::format(
          "{}: ends before its contig {} does according to the index {}, "
          "expected an index of this file; make it anew or remove it",
          file_, Quoted(entries_[i].name), index_file_));
    }
  }
  return OkStatus();
}

StatusOr<std::unique_ptr<Genome>> Genome::Open(const std::string& file) {
  return CatchAll(file, [&]() -> StatusOr<std::unique_ptr<Genome>> {
    std::unique_ptr<Genome> genome(new Genome(file));
    std::error_code error;
    if (file != "-" && std::filesystem::is_regular_file(file, error)) {
      LCSM_ASSIGN_OR_RETURN(std::unique_ptr<RandomBytes> raw,
                            OpenPlainBytes(file));
      LCSM_RETURN_IF_ERROR(genome->OpenRandom(std::move(raw)));
    }
    std::optional<std::vector<FaidxEntry>> index;
    if (genome->bytes_ != nullptr) {
      LCSM_ASSIGN_OR_RETURN(index, genome->FindIndex());
    }
    LCSM_RETURN_IF_ERROR(genome->Index(
        std::move(index), [&file] { return TextSource::Open(file); }));
    return genome;
  });
}

StatusOr<std::unique_ptr<Genome>> Genome::FromBytes(
    std::string bytes, std::string name,
    std::optional<std::string_view> index_text) {
  std::unique_ptr<Genome> genome(new Genome(name));
  LCSM_RETURN_IF_ERROR(genome->OpenRandom(MakeMemoryBytes(bytes)));
  std::optional<std::vector<FaidxEntry>> index;
  if (index_text) {
    genome->index_file_ = name + ".fai";
    LCSM_ASSIGN_OR_RETURN(index, ParseFaidx(*index_text, genome->index_file_));
  }
  LCSM_RETURN_IF_ERROR(genome->Index(
      std::move(index), [&]() -> StatusOr<std::unique_ptr<TextSource>> {
        return TextSource::FromBytes(bytes, name);
      }));
  return genome;
}

Status Genome::Hold(TextSource& fasta) {
  uint64_t bases = 0;
  std::string_view line;
  std::unordered_set<std::string> names;
  for (;;) {
    LCSM_ASSIGN_OR_RETURN(const bool more, fasta.Next(&line));
    if (!more) break;
    if (line.starts_with('>')) {
      LCSM_ASSIGN_OR_RETURN(FaidxEntry entry, HeaderEntry(fasta, line, &names));
      entries_.push_back(std::move(entry));
      held_.emplace_back();
      continue;
    }
    if (line.empty()) continue;
    if (entries_.empty()) return NoHeader(fasta, line);
    for (size_t i = 0; i < line.size(); ++i) {
      if (FoldNucleotide(line[i]) != '\0') continue;
      return InvalidInput(
          fmt::format("{} has {} in column {}, expected a nucleotide code",
                      fasta.At(), Quoted(line.substr(i, 1)), i + 1));
    }
    bases += line.size();
    if (bases > kMaxHeldBases) {
      return InvalidInput(fmt::format(
          "{}: has more than {} bases and no random access (plain gzip, a pipe "
          "or lines of unequal length), expected a FASTA file with lines of "
          "equal length, plain or compressed by bgzip",
          fasta.name(), kMaxHeldBases));
    }
    held_.back().append(line);
    entries_.back().length = held_.back().size();
  }
  return entries_.empty() ? NoRecords(fasta) : OkStatus();
}

std::optional<size_t> Genome::Find(std::string_view name) const {
  const auto find = [this](const std::string& key) -> std::optional<size_t> {
    const auto found = by_name_.find(key);
    if (found == by_name_.end()) return std::nullopt;
    return found->second;
  };
  if (const auto exact = find(std::string(name))) return exact;
  if (name.starts_with("chr")) return find(std::string(name.substr(3)));
  return find("chr" + std::string(name));
}

Status Genome::ReadLines(const FaidxEntry& entry, uint64_t begin, uint64_t end,
                         std::string* bases) {
  bases->resize(static_cast<size_t>(end - begin));
  char* out = bases->data();
  while (begin < end) {
    const uint64_t column = begin % entry.line_bases;
    const uint64_t now = std::min(end - begin, entry.line_bases - column);
    LCSM_RETURN_IF_ERROR(bytes_->Read(
        entry.offset + begin / entry.line_bases * entry.line_bytes + column,
        static_cast<size_t>(now), out));
    out += now;
    begin += now;
  }
  return OkStatus();
}

Status Genome::Fetch(size_t contig, uint64_t begin, uint64_t end,
                     std::string* bases, FoldCounts* counts) {
  const FaidxEntry& entry = entries_[contig];
  if (bytes_ == nullptr) {
    bases->assign(held_[contig], static_cast<size_t>(begin),
                  static_cast<size_t>(end - begin));
  } else {
    LCSM_RETURN_IF_ERROR(ReadLines(entry, begin, end, bases));
  }
  const size_t bad = FoldNucleotides(bases, counts);
  if (bad == std::string::npos) return OkStatus();
  return InvalidInput(fmt::format(
      "{}: position {} of contig {} is {}, expected a nucleotide code{}", file_,
      begin + bad + 1, Quoted(entry.name), Quoted(bases->substr(bad, 1)),
      index_file_.empty()
          ? ""
          : fmt::format("; {} may be the index of another file", index_file_)));
}

Status Genome::SaveIndex() const {
  if (bytes_ == nullptr) {
    return InvalidInput(file_ +
                        ": has no random access (plain gzip, a pipe or lines "
                        "of unequal length), so that an index of it is of no "
                        "use");
  }
  return WriteFileAtomically(file_ + ".fai", FormatFaidx(entries_));
}

}  // namespace lcsm::io
