// Text to token ids and back.
//
// Thread safety: tokenizers are immutable and may be shared by threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lcsm/status.h"

namespace lcsm::io {

struct EncodeOptions {
  // HyenaDNA only: a, c, g, t, n read as A, C, G, T, N. Off by default because
  // the published tokenizers do not fold: lower case is [UNK] to them.
  bool fold_case = false;
};

struct Encoding {
  std::vector<int32_t> ids;
  // Characters that the tokenizer has no token for ([UNK]).
  size_t unknown = 0;
  // The first of them, as UTF-8 (or one raw byte), and its byte offset.
  std::string first_unknown;
  size_t first_unknown_offset = 0;
  // How many of the unknown ones are lower-case DNA letters (acgtn): the hint
  // that --fold-case may be wanted.
  size_t unknown_lower_case_dna = 0;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // "hyenadna", "bytes" or "bpe".
  virtual std::string_view name() const = 0;
  // Ids lie in [0, vocab_size()).
  virtual size_t vocab_size() const = 0;
  // The end-of-sequence id, -1 if there is none.
  virtual int32_t eos_id() const = 0;

  // Adds no special tokens, but recognises them where their text stands in
  // the prompt ("[SEP]", "<|endoftext|>"). Time about linear in the text.
  virtual Encoding Encode(std::string_view text,
                          const EncodeOptions& options) const = 0;
  Encoding Encode(std::string_view text) const {
    return Encode(text, EncodeOptions());
  }

  // The bytes that stand for an id: for BPE possibly a part of a UTF-8
  // character; for special tokens their literal text. Empty for ids outside
  // the vocabulary. Valid as long as the tokenizer.
  virtual std::string_view TokenBytes(int32_t id) const = 0;
  // Ids such as [SEP] that stand for no text of their own.
  virtual bool IsSpecial(int32_t id) const = 0;

  // TokenBytes of all, one after another.
  std::string Decode(std::span<const int32_t> ids) const;
};

// The tokenizer that belongs to a model folder with `vocab_size` ids:
//   tokenizer.json, or vocab.json and merges.txt       GPT-2 byte-level BPE
//   tokenizer_config.json naming its tokenizer_class:
//     HyenaDNATokenizer, CharacterTokenizer            HyenaDNA characters
//     ByteTokenizer                                    bytes
//   else by vocab_size: 12                             HyenaDNA characters
//                       256 to 512                     bytes
// Errors: damaged files; a tokenizer with ids beyond vocab_size; none of the
// above.
StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(
    const std::filesystem::path& folder, size_t vocab_size);

// By themselves, for tests and tools. MakeByteTokenizer: id = byte; ids from
// 256 on are specials without text.
std::unique_ptr<Tokenizer> MakeHyenaDnaTokenizer();
std::unique_ptr<Tokenizer> MakeByteTokenizer(size_t vocab_size, int32_t eos_id);

}  // namespace lcsm::io
