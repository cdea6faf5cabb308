// VCF files, compressed or not: what is accepted can be written out again and
// reads as the same.
#include <cstdint>
#include <string>

#include "check.h"
#include "io/text_source.h"
#include "io/vcf.h"

namespace {

using lcsm::io::AlleleKind;
using lcsm::io::TextSource;
using lcsm::io::VcfReader;
using lcsm::io::VcfRecord;

void CheckRecord(const VcfRecord& record) {
  FUZZ_CHECK(!record.chrom.empty());
  FUZZ_CHECK(record.Column(0) == record.chrom);
  FUZZ_CHECK(!record.ref.empty());
  FUZZ_CHECK(record.ref.find_first_not_of("ACGTN") == std::string::npos);
  FUZZ_CHECK(record.ref.size() == record.ref_text.size());
  FUZZ_CHECK(record.text.find('\n') == std::string::npos);
  std::string alts;
  for (const auto& alt : record.alts) {
    FUZZ_CHECK((alt.kind == AlleleKind::kSequence) == !alt.bases.empty());
    FUZZ_CHECK(alt.bases.find_first_not_of("ACGTN") == std::string::npos);
    alts += (alts.empty() ? "" : ",") + alt.text;
  }
  FUZZ_CHECK((record.alts.empty() ? "." : alts) == record.Column(4));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto reader = VcfReader::Create(TextSource::FromBytes(
      std::string(reinterpret_cast<const char*>(data), size), "f"));
  if (!reader.ok()) {
    CheckSentence(reader.status());
    return 0;
  }
  std::string again;
  for (const std::string& line : (*reader)->header()) again += line + "\n";
  again += (*reader)->column_names() + "\n";
  size_t records = 0;
  VcfRecord record;
  for (;;) {
    const auto more = (*reader)->Next(&record);
    if (!more.ok()) {
      CheckSentence(more.status());
      return 0;
    }
    if (!*more) break;
    CheckRecord(record);
    again += record.text + "\n";
    ++records;
  }
  const auto second = VcfReader::Create(TextSource::FromBytes(again, "f"));
  FUZZ_CHECK(second.ok());
  for (; records > 0; --records) FUZZ_CHECK((*second)->Next(&record).value());
  FUZZ_CHECK(!(*second)->Next(&record).value());
  return 0;
}
