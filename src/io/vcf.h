// VCF files, record by record: plain, gzip, bgzip, from disk or a pipe.
//
// A record keeps its line as it is, so that what is not looked at can be
// written out again unchanged. Memory: one record.
//
// Thread safety: one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/text_source.h"
#include "lcsm/status.h"

namespace lcsm::io {

enum class AlleleKind {
  kSequence,  // Bases.
  kSymbolic,  // <DEL> and the like, <*>, <NON_REF>
  kBreakend,  // G]17:198982] and the like
  kOverlap,   // *: deleted by a variant further up
};

struct VcfAllele {
  AlleleKind kind = AlleleKind::kSequence;
  std::string text;   // As written.
  std::string bases;  // Folded; empty unless kSequence.
};

struct VcfRecord {
  static constexpr size_t kInfoColumn = 7;

  size_t line = 0;   // Its number in the file.
  std::string text;  // The whole line, without its line end.
  std::string chrom;
  uint64_t pos = 0;             // 1-based; 0 is the telomere.
  std::string ref_text;         // As written.
  std::string ref;              // Folded.
  std::vector<VcfAllele> alts;  // None where ALT is ".".

  // Column by number, from 0; empty if there is none.
  std::string_view Column(size_t column) const;
};

class VcfReader {
 public:
  // "-" is standard input. Reads the header. Errors: not a VCF file (BCF is
  // told apart), no line of column names.
  static StatusOr<std::unique_ptr<VcfReader>> Open(const std::string& file);
  static StatusOr<std::unique_ptr<VcfReader>> Create(
      std::unique_ptr<TextSource> source);

  // The lines that begin with ##, then the one with the column names.
  const std::vector<std::string>& header() const { return header_; }
  const std::string& column_names() const { return column_names_; }

  // The next record; false at the end. An error names file and line, what was
  // found and what was expected.
  StatusOr<bool> Next(VcfRecord* record);

  const std::string& name() const { return source_->name(); }
  // "FILE: line N", for messages about a record.
  std::string At(const VcfRecord& record) const;
  double Done() const { return source_->Done(); }

 private:
  explicit VcfReader(std::unique_ptr<TextSource> source)
      : source_(std::move(source)) {}
  Status ReadHeader();
  Status CheckColumnNames(std::string_view line);
  Status Parse(std::string_view line, VcfRecord* record) const;

  std::unique_ptr<TextSource> source_;
  std::vector<std::string> header_;
  std::string column_names_;
  size_t columns_ = 0;
};

}  // namespace lcsm::io
