// Sequences for a model that reads DNA: the records of a FASTA file, or regions
// of them.
//
// A regular file is looked through once before anything is computed, so that
// what is wrong with its last record is said at once and progress has an end. A
// pipe is checked as it comes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "io/bed.h"
#include "io/fasta.h"
#include "lcsm/status.h"
#include "option_parser.h"

namespace lcsm::cli {

struct Sequence {
  std::string_view id;
  std::string_view bases;  // A, C, G, T and N. Never empty.
  // For messages: `IN.fa: record "chr1" (line 3)`.
  std::string where;
};

// The argument IN.fa.
void AddSequenceInput(App& app, std::string& file);

// Not thread safe.
class SequenceInput {
 public:
  // Says whether a sequence can be taken, and if not why.
  using Check = std::function<Status(const Sequence&)>;
  struct Totals {
    size_t sequences = 0;
    uint64_t bases = 0;
    size_t longest = 0;
  };

  // `fasta` and `regions` (empty: whole records) are files, or - for standard
  // input. Errors: those of the readers and the check; regions outside their
  // sequence or of a sequence that is not there.
  static StatusOr<std::unique_ptr<SequenceInput>> Open(
      const std::string& fasta, const std::string& regions, Check check,
      bool quiet);

  // The next one, valid until the next call; false at the end. Regions come in
  // the order of the FASTA file, those of one record in the order of the BED
  // file.
  StatusOr<bool> Next(Sequence* sequence);

  // None for a pipe.
  const std::optional<Totals>& totals() const { return totals_; }
  // A sentence about letters that were not read as they stand, or empty.
  std::string Note() const;

 private:
  using Regions = std::unordered_map<std::string, std::vector<io::BedRegion>>;

  // One pass over the file.
  struct Pass {
    explicit Pass(io::FastaReader r) : reader(std::move(r)) {}
    io::FastaReader reader;
    io::FastaRecord record;
    const std::vector<io::BedRegion>* regions = nullptr;  // Of the record.
    size_t next_region = 0;
    std::unordered_map<std::string, size_t>
        seen;  // Lines, if there are regions.
  };

  SequenceInput(std::string fasta, std::string regions_file, Check check)
      : fasta_(std::move(fasta)),
        regions_file_(std::move(regions_file)),
        check_(std::move(check)) {}
  StatusOr<std::unique_ptr<Pass>> Begin() const;
  StatusOr<bool> Advance(Pass& pass, Sequence* sequence) const;
  // Moves on to a record that has something to give.
  StatusOr<bool> NextRecord(Pass& pass) const;
  Status TakeRegion(const Pass& pass, const io::BedRegion& region,
                    Sequence* sequence) const;
  Status LookThrough(bool quiet);

  std::string fasta_, regions_file_;
  Check check_;
  Regions regions_;
  std::optional<Totals> totals_;
  std::unique_ptr<Pass> pass_;
};

// "1 234 bases".
std::string Bases(uint64_t n);

}  // namespace lcsm::cli
