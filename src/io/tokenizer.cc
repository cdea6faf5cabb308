#include "io/tokenizer.h"

#include <fmt/format.h>

#include <system_error>

#include "io/atomic_file.h"
#include "io/bpe_tokenizer.h"
#include "io/config_json.h"
#include "io/errors.h"

namespace lcsm::io {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxTokenizerBytes = size_t{256} << 20;
constexpr size_t kHyenaDnaVocab = 12;
constexpr size_t kMinBytesVocab = 256;
constexpr size_t kMaxBytesVocab = 512;

bool Exists(const fs::path& file) {
  std::error_code error;
  return fs::exists(file, error);
}

// What tokenizer_config.json says; nothing if there is none.
struct TokenizerConfig {
  std::string file;
  std::string tokenizer_class;
  std::string eos;      // The token.
  int32_t eos_id = -1;  // Its id, where that is given instead.
};

StatusOr<TokenizerConfig> ReadTokenizerConfig(const fs::path& folder,
                                              size_t vocab_size) {
  TokenizerConfig result;
  const fs::path file = folder / "tokenizer_config.json";
  result.file = file.string();
  if (!Exists(file)) return result;
  LCSM_ASSIGN_OR_RETURN(const ConfigJson config, ConfigJson::Read(file));
  LCSM_ASSIGN_OR_RETURN(result.tokenizer_class,
                        config.GetStringOr("tokenizer_class", ""));
  // A string, or an object with the string in it.
  LCSM_ASSIGN_OR_RETURN(result.eos, config.Has("eos_token.content")
                                        ? config.GetString("eos_token.content")
                                        : config.GetStringOr("eos_token", ""));
  const int64_t last = static_cast<int64_t>(vocab_size) - 1;
  LCSM_ASSIGN_OR_RETURN(const int64_t eos_id,
                        config.GetIntOr("eos_token_id", -1, 0, last));
  result.eos_id = static_cast<int32_t>(eos_id);
  return result;
}

StatusOr<std::unique_ptr<Tokenizer>> LoadBpe(const fs::path& folder,
                                             const TokenizerConfig& config) {
  const fs::path json = folder / "tokenizer.json";
  BpeDefinition definition;
  fs::path file = json;
  if (Exists(json)) {
    LCSM_ASSIGN_OR_RETURN(const std::string text,
                          ReadFile(json, kMaxTokenizerBytes));
    LCSM_ASSIGN_OR_RETURN(definition, ParseTokenizerJson(text, json.string()));
  } else {
    file = folder / "vocab.json";
    const fs::path merges_file = folder / "merges.txt";
    LCSM_ASSIGN_OR_RETURN(const std::string vocab,
                          ReadFile(file, kMaxTokenizerBytes));
    LCSM_ASSIGN_OR_RETURN(const std::string merges,
                          ReadFile(merges_file, kMaxTokenizerBytes));
    LCSM_ASSIGN_OR_RETURN(definition,
                          ParseVocabAndMerges(vocab, file.string(), merges,
                                              merges_file.string()));
  }
  definition.eos = config.eos;
  return MakeBpeTokenizer(definition, file.string());
}

StatusOr<std::unique_ptr<Tokenizer>> Load(const fs::path& folder,
                                          size_t vocab_size) {
  LCSM_ASSIGN_OR_RETURN(const TokenizerConfig config,
                        ReadTokenizerConfig(folder, vocab_size));
  const std::string& kind = config.tokenizer_class;
  std::unique_ptr<Tokenizer> tokenizer;
  if (Exists(folder / "tokenizer.json") ||
      (Exists(folder / "vocab.json") && Exists(folder / "merges.txt"))) {
    LCSM_ASSIGN_OR_RETURN(tokenizer, LoadBpe(folder, config));
  } else if (kind == "HyenaDNATokenizer" || kind == "CharacterTokenizer") {
    tokenizer = MakeHyenaDnaTokenizer();
  } else if (kind == "ByteTokenizer") {
    if (vocab_size < kMinBytesVocab) {
      return InvalidInput(fmt::format(
          "{}: tokenizer_class is \"ByteTokenizer\" beside a model with {} "
          "ids, expected at least {}",
          config.file, vocab_size, kMinBytesVocab));
    }
    tokenizer = MakeByteTokenizer(vocab_size, config.eos_id);
  } else if (vocab_size == kHyenaDnaVocab) {
    tokenizer = MakeHyenaDnaTokenizer();
  } else if (vocab_size >= kMinBytesVocab && vocab_size <= kMaxBytesVocab) {
    tokenizer = MakeByteTokenizer(vocab_size, config.eos_id);
  } else {
    return NotFound(fmt::format(
        "{}: holds no tokenizer for a model with {} ids, expected "
        "tokenizer.json, vocab.json with merges.txt, or a "
        "tokenizer_config.json whose tokenizer_class is HyenaDNATokenizer or "
        "ByteTokenizer",
        folder.string(), vocab_size));
  }
  if (tokenizer->vocab_size() > vocab_size) {
    return InvalidInput(fmt::format(
        "{}: its tokenizer has ids up to {}, expected less than the model's "
        "vocab_size, {}",
        folder.string(), tokenizer->vocab_size() - 1, vocab_size));
  }
  return tokenizer;
}

}  // namespace

std::string Tokenizer::Decode(std::span<const int32_t> ids) const {
  std::string text;
  for (int32_t id : ids) text += TokenBytes(id);
  return text;
}

StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(
    const std::filesystem::path& folder, size_t vocab_size) {
  return CatchAll(folder, [&] { return Load(folder, vocab_size); });
}

}  // namespace lcsm::io
