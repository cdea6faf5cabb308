// Sequences of nucleotides from FASTA, one record after another.
//
// Plain, gzip or bgzip (io/text_source.h); lines of any length, with LF or CR
// LF; empty lines anywhere. What is read is always upper-case A, C, G, T and N:
// lower case is folded, U becomes T, and the ambiguity codes of IUPAC become N,
// each counted. Memory grows with the longest record and with nothing else.
//
// Thread safety: one thread at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "io/text_source.h"
#include "lcsm/status.h"

namespace lcsm::io {

// Letters that were not read as they stand.
struct FastaCounts {
  uint64_t lower_case = 0;  // Of all letters, those below included.
  uint64_t uracil = 0;
  // By letter ('A' is 0): R, Y, S, W, K, M, B, D, H, V.
  std::array<uint64_t, 26> iupac = {};
};

struct FastaRecord {
  std::string name;      // The header up to its first blank. Never empty.
  std::string sequence;  // Never empty.
  size_t line = 0;       // Of the header, from 1.
};

class FastaReader {
 public:
  explicit FastaReader(std::unique_ptr<TextSource> text)
      : text_(std::move(text)) {}

  // Takes the place of what *record held, whose memory is used again. False at
  // the end of a file that held records. Errors, each naming the file and line:
  // no record at all; data before the first header; a header without a name; a
  // record without a base; any other character in a sequence; those of
  // TextSource. After an error nothing more can be read.
  StatusOr<bool> Next(FastaRecord* record);

  // Of the records read so far.
  const FastaCounts& counts() const { return counts_; }
  const TextSource& text() const { return *text_; }

 private:
  StatusOr<bool> Read(FastaRecord* record);
  // The next line that is not empty, into line_; false at the end.
  StatusOr<bool> NextLine();
  Status FindFirstHeader();
  Status TakeHeader(FastaRecord* record) const;
  Status Append(FastaRecord* record);
  // Counts letters of line_ that are not read as they stand, or names the first
  // one that cannot be read.
  Status Account(const FastaRecord& record);

  std::unique_ptr<TextSource> text_;
  std::string_view line_;
  bool more_ = false;  // line_ is a header that no record has taken.
  bool started_ = false;
  FastaCounts counts_;
};

}  // namespace lcsm::io
