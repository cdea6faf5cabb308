// FASTA, plain or gzip: what is read is nothing but A, C, G, T and N, and for
// plain text what a plain reading of its lines gives.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "check.h"
#include "io/fasta.h"

namespace {

using Records = std::vector<std::pair<std::string, std::string>>;

// Line by line, for text that is known to be right.
Records Plainly(std::string_view text) {
  Records records;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with('>')) {
      line.remove_prefix(1);
      records.emplace_back(line.substr(0, line.find_first_of(" \t")), "");
      continue;
    }
    for (const char c : line) {
      const char upper = static_cast<char>(c & ~0x20);
      records.back().second +=
          upper == 'U'
              ? 'T'
              : (std::string_view("ACGT").find(upper) != std::string_view::npos
                     ? upper
                     : 'N');
    }
  }
  return records;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lcsm::io;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  FastaReader reader(TextSource::FromBytes(std::string(bytes), "f"));
  FastaRecord record;
  Records records;
  for (;;) {
    const auto more = reader.Next(&record);
    if (!more.ok()) {
      CheckSentence(more.status());
      return 0;
    }
    if (!*more) break;
    FUZZ_CHECK(!record.name.empty());
    FUZZ_CHECK(!record.sequence.empty());
    FUZZ_CHECK(record.sequence.find_first_not_of("ACGTN") == std::string::npos);
    records.emplace_back(record.name, record.sequence);
  }
  FUZZ_CHECK(!records.empty());
  if (!bytes.starts_with("\x1f\x8b")) FUZZ_CHECK(records == Plainly(bytes));
  return 0;
}
