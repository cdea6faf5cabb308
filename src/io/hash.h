// Fingerprints of bytes: whether two things are the same, not who made them.
// XXH3 (xxhash), which is no defence against forgery.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace lcsm::io {

// Of all bytes given to Add, in order. One thread at a time.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;

  void Add(std::span<const std::byte> bytes);
  void Add(std::string_view text) { Add(std::as_bytes(std::span(text))); }
  void AddNumber(uint64_t number);  // Eight bytes, little endian.
  // 128 bits as 32 hexadecimal digits.
  std::string Hex() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// 64 bits.
uint64_t Checksum(std::span<const std::byte> bytes);

}  // namespace lcsm::io
