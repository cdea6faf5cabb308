// Tokenizer files and what is made of them. The input is either
//   tokenizer.json NUL text    or    vocab.json NUL merges.txt NUL text
// and the text must survive a round trip wherever that is promised.
#include <algorithm>
#include <cstdint>
#include <string_view>

#include "check.h"
#include "io/bpe_tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lcsm::io;
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const auto next_part = [&rest] {
    const size_t end = std::min(rest.find('\0'), rest.size());
    const std::string_view part = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return part;
  };
  const std::string_view first = next_part();
  const bool pair = rest.find('\0') != std::string_view::npos;
  const auto definition =
      pair ? ParseVocabAndMerges(first, "v", next_part(), "m")
           : ParseTokenizerJson(first, "t");
  if (!definition.ok()) {
    CheckSentence(definition.status());
    return 0;
  }
  const auto tokenizer = MakeBpeTokenizer(*definition, "t");
  if (!tokenizer.ok()) {
    CheckSentence(tokenizer.status());
    return 0;
  }
  for (const std::string_view text : {rest, first}) {
    const Encoding encoding = (*tokenizer)->Encode(text);
    for (int32_t id : encoding.ids) {
      FUZZ_CHECK(id >= 0);
      FUZZ_CHECK(static_cast<size_t>(id) < (*tokenizer)->vocab_size());
    }
    FUZZ_CHECK(encoding.unknown <= text.size() + 1);
    FUZZ_CHECK(encoding.first_unknown_offset <= text.size());
    if (encoding.unknown == 0 && definition->added.empty() &&
        !definition->add_prefix_space) {
      FUZZ_CHECK((*tokenizer)->Decode(encoding.ids) == text);
    }
  }
  // The tokenizers that need no file, on the same bytes.
  for (const bool fold : {false, true}) {
    const auto dna = MakeHyenaDnaTokenizer();
    const Encoding encoding = dna->Encode(rest, {.fold_case = fold});
    FUZZ_CHECK(encoding.ids.size() <= rest.size());
    FUZZ_CHECK(encoding.unknown_lower_case_dna <= encoding.unknown);
  }
  const auto bytes = MakeByteTokenizer(256, -1);
  FUZZ_CHECK(bytes->Decode(bytes->Encode(rest).ids) == rest);
  return 0;
}
