// Bytes as ids: nothing to learn, nothing unknown.
#include <array>
#include <string>

#include "io/tokenizer.h"

namespace lcsm::io {
namespace {

constexpr size_t kBytes = 256;

class ByteTokenizer : public Tokenizer {
 public:
  ByteTokenizer(size_t vocab_size, int32_t eos_id)
      : vocab_size_(vocab_size), eos_id_(eos_id) {
    for (size_t b = 0; b < kBytes; ++b) bytes_[b] = static_cast<char>(b);
  }

  std::string_view name() const override { return "bytes"; }
  size_t vocab_size() const override { return vocab_size_; }
  int32_t eos_id() const override { return eos_id_; }

  Encoding Encode(std::string_view text, const EncodeOptions&) const override {
    Encoding out;
    out.ids.reserve(text.size());
    for (char c : text) out.ids.push_back(static_cast<unsigned char>(c));
    return out;
  }

  std::string_view TokenBytes(int32_t id) const override {
    return id >= 0 && static_cast<size_t>(id) < kBytes
               ? std::string_view(&bytes_[static_cast<size_t>(id)], 1)
               : std::string_view();
  }
  bool IsSpecial(int32_t id) const override {
    return id >= static_cast<int32_t>(kBytes) &&
           static_cast<size_t>(id) < vocab_size_;
  }

 private:
  const size_t vocab_size_;
  const int32_t eos_id_;
  std::array<char, kBytes> bytes_;
};

}  // namespace

std::unique_ptr<Tokenizer> MakeByteTokenizer(size_t vocab_size,
                                             int32_t eos_id) {
  return std::make_unique<ByteTokenizer>(vocab_size, eos_id);
}

}  // namespace lcsm::io
