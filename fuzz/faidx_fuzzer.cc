// Genomes in FASTA, compressed or not, with an index of our own making or,
// after a zero byte, with one from the input: fetched in parts or whole, bases
// are the same, and the index reads as it was written.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "check.h"
#include "io/faidx.h"

namespace {

using lcsm::io::Genome;

// An index may promise anything; a fuzzer's genome is small.
constexpr uint64_t kMaxBases = 1 << 16;

void CheckContig(Genome& genome, size_t contig) {
  const uint64_t length = std::min(genome.length(contig), kMaxBases);
  FUZZ_CHECK(genome.Find(genome.name(contig)) == contig);
  std::string whole;
  const auto status = genome.Fetch(contig, 0, length, &whole, nullptr);
  if (!status.ok()) {
    CheckSentence(status);
    return;
  }
  FUZZ_CHECK(whole.size() == length);
  FUZZ_CHECK(whole.find_first_not_of("ACGTN") == std::string::npos);
  for (uint64_t begin = 0; begin < length; begin += 1 + length / 7) {
    std::string part;
    const uint64_t end = std::min(length, begin + 1 + length / 5);
    FUZZ_CHECK(genome.Fetch(contig, begin, end, &part, nullptr).ok());
    FUZZ_CHECK(std::string_view(whole).substr(begin, end - begin) == part);
  }
}

void CheckGenome(std::string_view bytes,
                 std::optional<std::string_view> index) {
  const auto genome = Genome::FromBytes(std::string(bytes), "f", index);
  if (!genome.ok()) {
    CheckSentence(genome.status());
    return;
  }
  for (size_t i = 0; i < (*genome)->contigs(); ++i) CheckContig(**genome, i);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  CheckGenome(text, std::nullopt);
  const size_t zero = text.find('\0');
  if (zero == std::string_view::npos) return 0;
  const std::string_view index = text.substr(zero + 1);
  CheckGenome(text.substr(0, zero), index);
  const auto entries = lcsm::io::ParseFaidx(index, "f.fai");
  if (!entries.ok()) {
    CheckSentence(entries.status());
    return 0;
  }
  const std::string written = lcsm::io::FormatFaidx(*entries);
  const auto again = lcsm::io::ParseFaidx(written, "f.fai");
  FUZZ_CHECK(again.ok() && lcsm::io::FormatFaidx(*again) == written);
  return 0;
}
