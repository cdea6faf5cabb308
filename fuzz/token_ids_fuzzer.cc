// Files of token ids: every id read is one of the vocabulary.
#include <cstdint>
#include <string_view>

#include "check.h"
#include "io/npy.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const size_t vocab : {size_t{12}, size_t{50257}, ~size_t{0}}) {
    const auto ids = lcsm::io::ParseTokenIds(text, "f", vocab);
    if (!ids.ok()) {
      CheckSentence(ids.status());
      continue;
    }
    FUZZ_CHECK(!ids->empty());
    for (int32_t id : *ids) {
      FUZZ_CHECK(id >= 0 && static_cast<size_t>(id) < vocab);
    }
  }
  return 0;
}
