// Random access into a FASTA genome.
//
// Plain and bgzip files are read where they are asked for; where each contig
// lies is known from a samtools .fai index beside the file, if there is one
// that is not older, or from one pass over the file. A file without random
// access (plain gzip, a pipe, lines of unequal length) is held in memory whole,
// if it is not too large.
//
// Bases are folded as everywhere (io/nucleotides.h). Nothing is written unless
// SaveIndex is called.
//
// Thread safety: one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "io/bgzf.h"
#include "io/nucleotides.h"
#include "io/text_source.h"
#include "lcsm/status.h"

namespace lcsm::io {

// A line of a .fai file.
struct FaidxEntry {
  std::string name;
  uint64_t length = 0;      // Bases.
  uint64_t offset = 0;      // Of the first one, after decompression.
  uint64_t line_bases = 0;  // A line,
  uint64_t line_bytes = 0;  // and with its line end.
};

// `file` is for messages. Errors name the line: columns that are not there or
// no numbers, lines shorter than their bases, names given twice.
StatusOr<std::vector<FaidxEntry>> ParseFaidx(std::string_view text,
                                             const std::string& file);
std::string FormatFaidx(const std::vector<FaidxEntry>& entries);

// One pass over a FASTA file. No value: its lines are of unequal length, so
// that there can be no such index. Errors: not FASTA, a name given twice,
// unreadable.
StatusOr<std::optional<std::vector<FaidxEntry>>> BuildFaidx(TextSource& fasta);

class Genome {
 public:
  // What may be held in memory where there is no random access.
  static constexpr uint64_t kMaxHeldBases = uint64_t{1} << 30;

  // "-" is standard input.
  static StatusOr<std::unique_ptr<Genome>> Open(const std::string& file);
  // For tests and fuzzers: over bytes and, if given, an index as it is.
  static StatusOr<std::unique_ptr<Genome>> FromBytes(
      std::string bytes, std::string name,
      std::optional<std::string_view> index);

  size_t contigs() const { return entries_.size(); }
  const std::string& name(size_t contig) const { return entries_[contig].name; }
  uint64_t length(size_t contig) const { return entries_[contig].length; }
  // The contig of this name, or else of this name with "chr" put before it or
  // taken off.
  std::optional<size_t> Find(std::string_view name) const;

  // Bases [begin, end) of a contig; requires begin <= end <= length(contig).
  // `counts` (may be null) is added to. Errors: unreadable, what is no
  // nucleotide code.
  Status Fetch(size_t contig, uint64_t begin, uint64_t end, std::string* bases,
               FoldCounts* counts);

  const std::string& file() const { return file_; }
  // A sentence about how it is read that a person should know, or empty.
  const std::string& note() const { return note_; }
  // Writes FILE.fai. Error: there can be none.
  Status SaveIndex() const;

 private:
  explicit Genome(std::string file) : file_(std::move(file)) {}
  // The index beside the file, if it is there and not older than it.
  StatusOr<std::optional<std::vector<FaidxEntry>>> FindIndex();
  // Sets bytes_ if what they hold can be read at any place.
  Status OpenRandom(std::unique_ptr<RandomBytes> raw);
  using OpenText = std::function<StatusOr<std::unique_ptr<TextSource>>()>;
  // Takes the index, or makes one, or holds all.
  Status Index(std::optional<std::vector<FaidxEntry>> index,
               const OpenText& open);
  Status Hold(TextSource& fasta);
  Status ReadLines(const FaidxEntry& entry, uint64_t begin, uint64_t end,
                   std::string* bases);

  std::string file_;
  std::string note_;
  std::string index_file_;  // Empty: made in memory.
  std::vector<FaidxEntry> entries_;
  std::unordered_map<std::string, size_t> by_name_;
  std::unique_ptr<RandomBytes> bytes_;  // Null: held.
  std::vector<std::string> held_;
};

}  // namespace lcsm::io
