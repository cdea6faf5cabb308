// GPT-2's byte-level byte-pair encoding, and the files that define one.
//
// Text is cut into pieces (gpt2_split.h); the bytes of a piece are its first
// symbols; then the pair of neighbours with the lowest merge rank becomes one
// symbol, the leftmost first, until no pair has a rank.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/tokenizer.h"
#include "lcsm/status.h"

namespace lcsm::io {

// What the files say, before it is checked. Token strings are in GPT-2's
// spelling, in which every byte is a printable character (a blank is "Ġ").
struct BpeDefinition {
  struct Added {  // Recognised in text as it stands, before anything else.
    std::string text;
    int64_t id = 0;
    bool special = false;
  };
  std::vector<std::pair<std::string, int64_t>> vocab;
  std::vector<std::pair<std::string, std::string>> merges;  // By rank.
  std::vector<Added> added;
  std::string unknown;  // Token for bytes that have none; empty: drop them.
  std::string eos;      // Token; empty: "<|endoftext|>" if there is one.
  bool add_prefix_space = false;
  bool split = true;  // Cut into pieces; false: a text is one piece.
  // A piece that is a token is that token, whatever the merges say.
  bool ignore_merges = false;
};

// `file` is for messages only. Errors: not JSON; a model, normalizer or
// pre-tokenizer that is not GPT-2's byte-level BPE (each named); merges or
// tokens that are no such things.
StatusOr<BpeDefinition> ParseTokenizerJson(std::string_view json,
                                           const std::string& file);
// The older pair of files.
StatusOr<BpeDefinition> ParseVocabAndMerges(std::string_view vocab_json,
                                            const std::string& vocab_file,
                                            std::string_view merges,
                                            const std::string& merges_file);

// Errors: an id negative, given twice or far too large; a merge of tokens, or
// into a token, that the vocabulary lacks; an unknown token or EOS it lacks.
StatusOr<std::unique_ptr<Tokenizer>> MakeBpeTokenizer(
    const BpeDefinition& definition, const std::string& file);

}  // namespace lcsm::io
