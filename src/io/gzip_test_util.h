// For tests only: text in gzip and bgzip.
#pragma once

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <string>
#include <string_view>

namespace lcsm::io {

inline std::string Deflate(std::string_view text, int window_bits) {
  z_stream stream = {};
  EXPECT_EQ(
      deflateInit2(&stream, 6, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY),
      Z_OK);
  std::string out(text.size() + 1024, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

inline std::string Gzip(std::string_view text) {
  return Deflate(text, 15 + 16);
}

inline std::string BgzfBlock(std::string_view text) {
  const std::string body = Deflate(text, -15);
  const auto little = [](size_t value, size_t bytes) {
    std::string out;
    for (size_t i = 0; i < bytes; ++i) {
      out.push_back(static_cast<char>(value >> (8 * i) & 0xff));
    }
    return out;
  };
  const size_t checksum = crc32(0, reinterpret_cast<const Bytef*>(text.data()),
                                static_cast<uInt>(text.size()));
  return std::string("\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0", 16) +
         little(body.size() + 25, 2) + body + little(checksum, 4) +
         little(text.size(), 4);
}

// With the empty block at the end.
inline std::string Bgzip(std::string_view text, size_t block_bytes = 0xff00) {
  std::string out;
  for (size_t at = 0; at < text.size(); at += block_bytes) {
    out += BgzfBlock(text.substr(at, block_bytes));
  }
  return out + BgzfBlock("");
}

}  // namespace lcsm::io
