#include "io/bpe_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <queue>
#include <unordered_map>

#include "io/errors.h"
#include "io/gpt2_split.h"
#include "io/utf8.h"

namespace lcsm::io {
namespace {

// Ids may have gaps, but a file of few tokens must not make us hold many.
constexpr int64_t kMaxId = int64_t{1} << 24;
constexpr int64_t kFreeIds = 65536;
constexpr int64_t kIdsPerToken = 16;
constexpr uint32_t kNone = ~uint32_t{0};

// GPT-2 writes a byte as a printable character: itself where it is one in
// Latin-1, else the next free one from U+0100 on.
std::array<uint32_t, 256> ByteCharacters() {
  std::array<uint32_t, 256> characters = {};
  uint32_t next = 0x100;
  for (uint32_t b = 0; b < 256; ++b) {
    const bool printable =
        (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    characters[b] = printable ? b : next++;
  }
  return characters;
}

// A token's bytes. One with characters that stand for no byte (some added
// tokens) is taken literally.
std::string TokenToBytes(std::string_view token) {
  static const std::unordered_map<uint32_t, char> kBytes = [] {
    std::unordered_map<uint32_t, char> bytes;
    const std::array<uint32_t, 256> characters = ByteCharacters();
    for (size_t b = 0; b < 256; ++b)
      bytes[characters[b]] = static_cast<char>(b);
    return bytes;
  }();
  std::string bytes;
  for (size_t i = 0; i < token.size();) {
    const CodePoint c = DecodeUtf8(token, i);
    const auto it = kBytes.find(c.value);
    if (!c.valid || it == kBytes.end()) return std::string(token);
    bytes.push_back(it->second);
    i += c.bytes;
  }
  return bytes;
}

// Pairs of ids to (rank, merged id). Open addressing: a piece asks for every
// pair of neighbours, mostly in vain, and this is where encoding spends its
// time.
class MergeTable {
 public:
  struct Merge {
    uint32_t rank = kNone;
    uint32_t id = 0;
  };

  explicit MergeTable(size_t merges) {
    size_t slots = 16;
    while (slots < 2 * merges) slots *= 2;
    slots_.resize(slots);
  }

  void Set(uint32_t left, uint32_t right, Merge merge) {
    slots_[Locate(left, right)] = {left, right, merge};
  }

  // Rank kNone if the pair does not merge.
  Merge Find(uint32_t left, uint32_t right) const {
    return slots_[Locate(left, right)].merge;
  }

 private:
  struct Slot {
    uint32_t left = kNone;
    uint32_t right = kNone;
    Merge merge;
  };

  size_t Locate(uint32_t left, uint32_t right) const {
    const uint64_t key = uint64_t{left} << 32 | right;
    size_t at = (key * 0x9e3779b97f4a7c15u) >> 32 & (slots_.size() - 1);
    while (slots_[at].left != kNone &&
           (slots_[at].left != left || slots_[at].right != right)) {
      at = (at + 1) & (slots_.size() - 1);
    }
    return at;
  }

  std::vector<Slot> slots_;
};

class BpeTokenizer : public Tokenizer {
 public:
  BpeTokenizer() : merges_(0) {}

  Status Init(const BpeDefinition& definition, const std::string& file);

  std::string_view name() const override { return "bpe"; }
  size_t vocab_size() const override { return bytes_.size(); }
  int32_t eos_id() const override { return eos_id_; }
  Encoding Encode(std::string_view text,
                  const EncodeOptions& options) const override;
  std::string_view TokenBytes(int32_t id) const override {
    return Contains(id) ? bytes_[static_cast<size_t>(id)] : std::string_view();
  }
  bool IsSpecial(int32_t id) const override {
    return Contains(id) && special_[static_cast<size_t>(id)];
  }

 private:
  struct Symbol {
    uint32_t id;
    uint32_t previous;
    uint32_t next;
  };
  // A pair that may merge; stale once either side has changed, which its
  // merged id tells.
  struct Candidate {
    uint32_t rank;
    uint32_t left;  // Index of the left symbol.
    uint32_t merged;
    uint32_t right_id;
    uint32_t left_id;
    // The lowest rank first, then the leftmost.
    bool operator<(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  // Memory that the pieces of one call share.
  struct Scratch {
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
  };

  bool Contains(int32_t id) const {
    return id >= 0 && static_cast<size_t>(id) < bytes_.size();
  }
  // The added token at the start of `rest`, null if there is none.
  const BpeDefinition::Added* AddedAt(std::string_view rest) const;
  // Text without added tokens, which begins at `offset` of the whole.
  void EncodePlain(std::string_view text, size_t offset, Scratch* scratch,
                   Encoding* out) const;
  void EncodePiece(std::string_view piece, std::string_view text,
                   size_t text_offset, Scratch* scratch, Encoding* out) const;
  void AddUnknown(std::string_view text, size_t at, size_t text_offset,
                  Encoding* out) const;
  void PushPair(uint32_t left, Scratch* scratch) const;
  void MergeAll(Scratch* scratch) const;

  std::vector<std::string> bytes_;  // By id.
  std::vector<bool> special_;
  std::array<uint32_t, 256> byte_ids_ = {};  // kNone: the byte has no token.
  MergeTable merges_;
  std::unordered_map<std::string_view, uint32_t> whole_;  // If ignore_merges.
  // By first byte, longest first.
  std::array<std::vector<BpeDefinition::Added>, 256> added_;
  uint32_t unknown_id_ = kNone;
  int32_t eos_id_ = -1;
  bool add_prefix_space_ = false;
  bool split_ = true;
};

Status BpeTokenizer::Init(const BpeDefinition& definition,
                          const std::string& file) {
  add_prefix_space_ = definition.add_prefix_space;
  split_ = definition.split;

  const auto tokens =
      static_cast<int64_t>(definition.vocab.size() + definition.added.size());
  const int64_t id_end = std::min(kMaxId, kFreeIds + kIdsPerToken * tokens);
  std::unordered_map<std::string_view, uint32_t> ids;
  const auto add = [&](std::string_view token, int64_t id,
                       std::string bytes) -> Status {
    if (id < 0 || id >= id_end) {
      return InvalidInput(
          fmt::format("{}: token {} has id {}, expected 0 to {}", file,
                      Quoted(token), id, id_end - 1));
    }
    const size_t at = static_cast<size_t>(id);
    if (at >= bytes_.size()) bytes_.resize(at + 1);
    if (!bytes_[at].empty() && bytes_[at] != bytes) {
      return InvalidInput(fmt::format(
          "{}: tokens {} and {} both have id {}, expected one", file,
          Quoted(TokenBytes(static_cast<int32_t>(id))), Quoted(token), id));
    }
    bytes_[at] = std::move(bytes);
    ids.emplace(token, static_cast<uint32_t>(id));
    return OkStatus();
  };
  const auto find = [&](std::string_view token) {
    const auto it = ids.find(token);
    return it == ids.end() ? kNone : it->second;
  };

  for (const auto& [token, id] : definition.vocab) {
    if (token.empty()) {
      return InvalidInput(
          fmt::format("{}: the vocabulary has an empty token with id {}, "
                      "expected at least a character",
                      file, id));
    }
    LCSM_RETURN_IF_ERROR(add(token, id, TokenToBytes(token)));
  }
  // Bytes before added tokens: an added one-letter token is no symbol.
  const std::array<uint32_t, 256> characters = ByteCharacters();
  for (size_t b = 0; b < 256; ++b) {
    std::string token;
    AppendUtf8(characters[b], &token);
    byte_ids_[b] = find(token);
  }

  merges_ = MergeTable(definition.merges.size());
  for (size_t rank = 0; rank < definition.merges.size(); ++rank) {
    const auto& [left, right] = definition.merges[rank];
    const std::string merged = left + right;
    for (const std::string& token : {left, right, merged}) {
      if (find(token) == kNone) {
        return InvalidInput(fmt::format(
            "{}: merge {} of {} and {} needs the token {}, expected that in "
            "the vocabulary",
            file, rank + 1, Quoted(left), Quoted(right), Quoted(token)));
      }
    }
    merges_.Set(find(left), find(right),
                {static_cast<uint32_t>(rank), find(merged)});
  }

  // An added token often stands in the vocabulary too; its text is literal.
  for (const BpeDefinition::Added& added : definition.added) {
    if (added.text.empty()) {
      return InvalidInput(
          fmt::format("{}: the added token with id {} is empty, expected at "
                      "least a character",
                      file, added.id));
    }
    const uint32_t known = find(added.text);
    if (known != kNone && added.id == static_cast<int64_t>(known)) {
      bytes_[known] = added.text;
    } else {
      LCSM_RETURN_IF_ERROR(add(added.text, added.id, added.text));
    }
    added_[static_cast<unsigned char>(added.text[0])].push_back(added);
  }
  for (auto& list : added_) {
    std::stable_sort(list.begin(), list.end(),
                     [](const auto& a, const auto& b) {
                       return a.text.size() > b.text.size();
                     });
  }
  special_.resize(bytes_.size());
  for (const BpeDefinition::Added& added : definition.added) {
    special_[static_cast<size_t>(added.id)] = added.special;
  }
  if (bytes_.empty()) {
    return InvalidInput(
        fmt::format("{}: the vocabulary is empty, expected tokens", file));
  }

  if (!definition.unknown.empty()) unknown_id_ = find(definition.unknown);
  const std::string_view eos = definition.eos.empty()
                                   ? std::string_view("<|endoftext|>")
                                   : std::string_view(definition.eos);
  eos_id_ = static_cast<int32_t>(find(eos));  // kNone becomes -1.
  for (const auto& [what, token, missing] :
       {std::tuple("unknown", &definition.unknown, unknown_id_ == kNone),
        std::tuple("end-of-sequence", &definition.eos, eos_id_ < 0)}) {
    if (!token->empty() && missing) {
      return InvalidInput(
          fmt::format("{}: the {} token is {}, expected one of the vocabulary",
                      file, what, Quoted(*token)));
    }
  }
  if (definition.ignore_merges) {
    for (size_t id = 0; id < bytes_.size(); ++id) {
      if (!bytes_[id].empty() && !special_[id])
        whole_.emplace(bytes_[id], static_cast<uint32_t>(id));
    }
  }
  return OkStatus();
}

const BpeDefinition::Added* BpeTokenizer::AddedAt(std::string_view rest) const {
  for (const auto& added : added_[static_cast<unsigned char>(rest[0])]) {
    if (rest.starts_with(added.text)) return &added;
  }
  return nullptr;
}

Encoding BpeTokenizer::Encode(std::string_view text,
                              const EncodeOptions&) const {
  Encoding out;
  Scratch scratch;
  size_t plain = 0;  // Where the text since the last added token begins.
  for (size_t i = 0; i < text.size();) {
    const BpeDefinition::Added* added = AddedAt(text.substr(i));
    if (added == nullptr) {
      ++i;
      continue;
    }
    EncodePlain(text.substr(plain, i - plain), plain, &scratch, &out);
    out.ids.push_back(static_cast<int32_t>(added->id));
    i += added->text.size();
    plain = i;
  }
  EncodePlain(text.substr(plain), plain, &scratch, &out);
  return out;
}

void BpeTokenizer::EncodePlain(std::string_view text, size_t offset,
                               Scratch* scratch, Encoding* out) const {
  if (text.empty()) return;
  std::string prefixed;
  if (add_prefix_space_ && text[0] != ' ') {
    prefixed = " " + std::string(text);
    text = prefixed;
    --offset;  // May wrap below 0; it comes back when positions are added.
  }
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = split_ ? NextGpt2Piece(text, begin) : text.size();
    EncodePiece(text.substr(begin, end - begin), text, offset, scratch, out);
    begin = end;
  }
}

void BpeTokenizer::AddUnknown(std::string_view text, size_t at,
                              size_t text_offset, Encoding* out) const {
  if (out->unknown++ == 0) {
    out->first_unknown = text.substr(at, DecodeUtf8(text, at).bytes);
    // A prefixed blank has no place of its own.
    out->first_unknown_offset =
        text_offset + at == ~size_t{0} ? 0 : text_offset + at;
  }
  if (unknown_id_ != kNone)
    out->ids.push_back(static_cast<int32_t>(unknown_id_));
}

void BpeTokenizer::EncodePiece(std::string_view piece, std::string_view text,
                               size_t text_offset, Scratch* scratch,
                               Encoding* out) const {
  if (!whole_.empty()) {
    const auto it = whole_.find(piece);
    if (it != whole_.end()) {
      out->ids.push_back(static_cast<int32_t>(it->second));
      return;
    }
  }
  // Bytes without a token part a piece: nothing merges across them.
  const size_t piece_at = static_cast<size_t>(piece.data() - text.data());
  std::vector<Symbol>& symbols = scratch->symbols;
  for (size_t i = 0; i < piece.size();) {
    symbols.clear();
    for (; i < piece.size(); ++i) {
      const uint32_t id = byte_ids_[static_cast<unsigned char>(piece[i])];
      if (id == kNone) break;
      const uint32_t at = static_cast<uint32_t>(symbols.size());
      symbols.push_back({id, at - 1, at + 1});  // The first: kNone.
    }
    if (!symbols.empty()) {
      symbols.back().next = kNone;
      MergeAll(scratch);
      for (uint32_t s = 0; s != kNone; s = symbols[s].next) {
        out->ids.push_back(static_cast<int32_t>(symbols[s].id));
      }
    }
    if (i < piece.size()) {
      AddUnknown(text, piece_at + i, text_offset, out);
      ++i;
    }
  }
}

void BpeTokenizer::PushPair(uint32_t left, Scratch* scratch) const {
  const Symbol& symbol = scratch->symbols[left];
  if (symbol.next == kNone) return;
  const uint32_t right_id = scratch->symbols[symbol.next].id;
  const MergeTable::Merge merge = merges_.Find(symbol.id, right_id);
  if (merge.rank == kNone) return;
  scratch->heap.push_back({merge.rank, left, merge.id, right_id, symbol.id});
}

void BpeTokenizer::MergeAll(Scratch* scratch) const {
  std::vector<Symbol>& symbols = scratch->symbols;
  std::vector<Candidate>& heap = scratch->heap;
  heap.clear();
  for (uint32_t i = 0; i < symbols.size(); ++i) PushPair(i, scratch);
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Candidate best = heap.back();
    heap.pop_back();
    Symbol& left = symbols[best.left];
    // A symbol that was merged into its left neighbour has id kNone.
    if (left.id != best.left_id || left.next == kNone ||
        symbols[left.next].id != best.right_id) {
      continue;
    }
    Symbol& right = symbols[left.next];
    left.id = best.merged;
    left.next = right.next;
    right.id = kNone;
    if (left.next != kNone) symbols[left.next].previous = best.left;
    for (const uint32_t changed : {best.left, left.previous}) {
      if (changed == kNone) continue;
      const size_t before = heap.size();
      PushPair(changed, scratch);
      if (heap.size() != before) std::push_heap(heap.begin(), heap.end());
    }
  }
}

}  // namespace

StatusOr<std::unique_ptr<Tokenizer>> MakeBpeTokenizer(
    const BpeDefinition& definition, const std::string& file) {
  auto tokenizer = std::make_unique<BpeTokenizer>();
  LCSM_RETURN_IF_ERROR(tokenizer->Init(definition, file));
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

}  // namespace lcsm::io
