// The forms in which generated samples are written to stdout: one small class
// each, fed token by token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/tokenizer.h"
#include "lcsm/status.h"
#include "output.h"

namespace lcsm::cli {

// What all samples of a run share; stands in headers and records.
struct RunSettings {
  std::string model;  // Its name.
  std::string model_hash;
  std::string format;
  bool logprobs = false;
  uint64_t seed = 0;
  double temperature = 1;
  size_t top_k = 0;
  double top_p = 1;
  double min_p = 0;
  std::string prompt;
  size_t prompt_tokens = 0;
  std::string record;  // The FASTA record that is the prompt, or empty.
};

struct SampleRecord {
  size_t sample = 0;  // From 0.
  std::vector<int32_t> tokens;
  std::string text;
  std::vector<double> logprobs;  // Empty unless asked for.
  std::string finish_reason;     // "length", "stop", "eos" or "cancelled".
};

// Every call may fail as Output::Write does. Between samples, and after End,
// what stands on stdout is valid in its format.
class SampleWriter {
 public:
  virtual ~SampleWriter() = default;
  // Samples from now on continue this record.
  virtual void SetPrompt(std::string_view record, std::string_view bases) = 0;
  virtual Status Begin(size_t sample) = 0;
  // A token that is part of the sample for good, and the text that has become
  // certain with it (none while it may yet turn out to begin a stop text).
  virtual Status Token(int32_t id) = 0;
  virtual Status Text(std::string_view text) = 0;
  virtual Status End(const SampleRecord& record) = 0;
  // A sentence worth telling once all is done, or empty.
  virtual std::string Note() const { return ""; }
};

// Errors: FASTA of a model that does not write DNA; text or FASTA without a
// tokenizer (null).
StatusOr<std::unique_ptr<SampleWriter>> MakeSampleWriter(
    const RunSettings& settings, const io::Tokenizer* tokenizer, Output& out);

}  // namespace lcsm::cli
