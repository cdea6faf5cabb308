// The characters of HyenaDNA (docs/tokenizers.md): A, C, G, T, N and seven
// special tokens.
#include <array>
#include <cstring>

#include "io/tokenizer.h"
#include "io/utf8.h"

namespace lcsm::io {
namespace {

constexpr std::array<std::string_view, 12> kTokens = {
    "[CLS]", "[SEP]", "[BOS]", "[MASK]", "[PAD]", "[RESERVED]",
    "[UNK]", "A",     "C",     "G",      "T",     "N"};
constexpr int32_t kSep = 1;
constexpr int32_t kMask = 3;
constexpr int32_t kReserved = 5;
constexpr int32_t kUnknown = 6;
constexpr int32_t kFirstBase = 7;
constexpr std::string_view kBases = "ACGTN";

// The special token whose literal text stands at the start of `rest`, or -1.
// [RESERVED] is not one of those that the original recognises in text.
int32_t SpecialAt(std::string_view rest) {
  for (int32_t id = 0; id <= kUnknown; ++id) {
    if (id != kReserved && rest.starts_with(kTokens[static_cast<size_t>(id)]))
      return id;
  }
  return -1;
}

bool IsBlank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

class HyenaDnaTokenizer : public Tokenizer {
 public:
  std::string_view name() const override { return "hyenadna"; }
  size_t vocab_size() const override { return kTokens.size(); }
  int32_t eos_id() const override { return kSep; }

  Encoding Encode(std::string_view text,
                  const EncodeOptions& options) const override {
    Encoding out;
    out.ids.reserve(text.size());
    size_t blanks_end = 0;  // Of the run of blanks looked at last.
    for (size_t i = 0; i < text.size();) {
      if (text[i] == '[') {
        const int32_t special = SpecialAt(text.substr(i));
        if (special >= 0) {
          out.ids.push_back(special);
          i += kTokens[static_cast<size_t>(special)].size();
          continue;
        }
      }
      // The original's [MASK] swallows the white space before it.
      if (IsBlank(text[i]) && i >= blanks_end) {
        blanks_end = i;
        while (blanks_end < text.size() && IsBlank(text[blanks_end]))
          ++blanks_end;
        if (text.substr(blanks_end).starts_with(kTokens[kMask])) {
          i = blanks_end;
          continue;
        }
      }
      i += EncodeCharacter(text, i, options.fold_case, &out);
    }
    return out;
  }

  std::string_view TokenBytes(int32_t id) const override {
    return id >= 0 && static_cast<size_t>(id) < kTokens.size()
               ? kTokens[static_cast<size_t>(id)]
               : std::string_view();
  }
  bool IsSpecial(int32_t id) const override {
    return id >= 0 && id < kFirstBase;
  }

 private:
  // Answers how many bytes the character takes.
  static size_t EncodeCharacter(std::string_view text, size_t at,
                                bool fold_case, Encoding* out) {
    const char c = text[at];
    const char upper = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
    const size_t base = kBases.find(fold_case ? upper : c);
    if (base != std::string_view::npos) {
      out->ids.push_back(kFirstBase + static_cast<int32_t>(base));
      return 1;
    }
    const size_t bytes = DecodeUtf8(text, at).bytes;
    if (out->unknown++ == 0) {
      out->first_unknown = text.substr(at, bytes);
      out->first_unknown_offset = at;
    }
    if (kBases.find(upper) != std::string_view::npos)
      ++out->unknown_lower_case_dna;
    out->ids.push_back(kUnknown);
    return bytes;
  }
};

}  // namespace

std::unique_ptr<Tokenizer> MakeHyenaDnaTokenizer() {
  return std::make_unique<HyenaDnaTokenizer>();
}

}  // namespace lcsm::io
