#include "io/fasta.h"

#include <fmt/format.h>

#include <utility>

#include "io/errors.h"
#include "io/nucleotides.h"

namespace lcsm::io {
namespace {

// A header this long is no header.
constexpr size_t kMaxHeaderBytes = size_t{1} << 20;

constexpr size_t kShownBytes = 20;  // Of what is no header.

constexpr uint8_t kLower = 1, kUracil = 2, kIupac = 4, kBad = 8;

// What a byte of a sequence is read as, and what is to be said about it.
struct Letters {
  std::array<char, 256> read_as;
  std::array<uint8_t, 256> kind;
};

Letters MakeLetters() {
  Letters letters = {};
  for (size_t i = 0; i < 256; ++i) {
    const auto letter = static_cast<char>(i);
    const char folded = FoldNucleotide(letter);
    const bool lower = letter >= 'a';
    const char upper = lower ? static_cast<char>(letter - 'a' + 'A') : letter;
    letters.read_as[i] = folded;
    if (folded == '\0') {
      letters.kind[i] = kBad;
      continue;
    }
    letters.kind[i] = static_cast<uint8_t>(
        (lower ? kLower : 0) | (upper == 'U' ? kUracil : 0) |
        (folded == 'N' && upper != 'N' ? kIupac : 0));
  }
  return letters;
}

const Letters kLetters = MakeLetters();

}  // namespace

StatusOr<bool> FastaReader::Next(FastaRecord* record) {
  return CatchAll(text_->name(), [&] { return Read(record); });
}

StatusOr<bool> FastaReader::NextLine() {
  for (;;) {
    LCSM_ASSIGN_OR_RETURN(const bool more, text_->Next(&line_));
    if (!more) return false;
    // The last line may end in half a line end.
    if (text_->line_end_bytes() == 0 && line_.ends_with('\r')) {
      line_.remove_suffix(1);
    }
    if (!line_.empty()) return true;
  }
}

StatusOr<bool> FastaReader::Read(FastaRecord* record) {
  if (!started_) {
    started_ = true;
    LCSM_RETURN_IF_ERROR(FindFirstHeader());
  }
  if (!more_) return false;
  LCSM_RETURN_IF_ERROR(TakeHeader(record));
  record->sequence.clear();
  for (;;) {
    LCSM_ASSIGN_OR_RETURN(more_, NextLine());
    if (!more_ || line_.front() == '>') break;
    LCSM_RETURN_IF_ERROR(Append(record));
  }
  if (record->sequence.empty()) {
    return InvalidInput(
        fmt::format("{}: record {} (line {}) is empty, expected at least one "
                    "base",
                    text_->name(), Quoted(record->name), record->line));
  }
  return true;
}

Status FastaReader::FindFirstHeader() {
  LCSM_ASSIGN_OR_RETURN(more_, NextLine());
  if (!more_) {
    return InvalidInput(text_->name() +
                        ": holds no record, expected FASTA, which begins with "
                        ">");
  }
  if (line_.front() == '>') return OkStatus();
  return InvalidInput(fmt::format(
      "{} has {} before the first record, expected a header that begins with >",
      text_->At(), Quoted(line_, kShownBytes)));
}

Status FastaReader::TakeHeader(FastaRecord* record) const {
  record->line = text_->line();
  if (line_.size() > kMaxHeaderBytes) {
    return InvalidInput(
        fmt::format("{} is a header of more than {} bytes, expected a name",
                    text_->At(), kMaxHeaderBytes));
  }
  record->name = line_.substr(1, line_.find_first_of(" \t", 1) - 1);
  if (!record->name.empty()) return OkStatus();
  return InvalidInput(text_->At() +
                      " is a header without a name, expected one right after "
                      "the >");
}

Status FastaReader::Append(FastaRecord* record) {
  const size_t before = record->sequence.size();
  record->sequence.append(line_);
  char* const to = record->sequence.data() + before;
  uint8_t kinds = 0;
  for (size_t i = 0; i < line_.size(); ++i) {
    const auto letter = static_cast<unsigned char>(to[i]);
    kinds |= kLetters.kind[letter];
    to[i] = kLetters.read_as[letter];
  }
  return kinds == 0 ? OkStatus() : Account(*record);
}

Status FastaReader::Account(const FastaRecord& record) {
  for (size_t i = 0; i < line_.size(); ++i) {
    const auto letter = static_cast<unsigned char>(line_[i]);
    const uint8_t kind = kLetters.kind[letter];
    if (kind == 0) continue;
    if ((kind & kBad) != 0) {
      return InvalidInput(fmt::format(
          "{}, record {}: column {} has {}, expected a nucleotide (A, C, G, T, "
          "U, N or an IUPAC code)",
          text_->At(), Quoted(record.name), i + 1, Quoted(line_.substr(i, 1))));
    }
    counts_.lower_case += (kind & kLower) != 0;
    counts_.uracil += (kind & kUracil) != 0;
    if ((kind & kIupac) != 0) ++counts_.iupac[(letter & 0xdfu) - 'A'];
  }
  return OkStatus();
}

}  // namespace lcsm::io
