#include "io/bgzf.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "io/errors.h"

namespace lcsm::io {
namespace {

constexpr size_t kMaxBlockBytes = size_t{1} << 16;  // Packed or not.
constexpr size_t kTrailerBytes = 8;  // Checksum and size of the text.

uint32_t Little(std::string_view bytes, size_t at, size_t count) {
  uint32_t value = 0;
  for (size_t i = 0; i < count; ++i) {
    value |= static_cast<uint32_t>(static_cast<unsigned char>(bytes[at + i]))
             << (8 * i);
  }
  return value;
}

class MemoryBytes : public RandomBytes {
 public:
  explicit MemoryBytes(std::string bytes) : bytes_(std::move(bytes)) {}
  uint64_t size() const override { return bytes_.size(); }
  Status Read(uint64_t offset, size_t count, char* out) override {
    if (offset > size() || count > size() - offset) {
      return InvalidInput("bytes beyond the end were asked for");
    }
    std::copy_n(bytes_.data() + offset, count, out);
    return OkStatus();
  }

 private:
  std::string bytes_;
};

class PlainBytes : public RandomBytes {
 public:
  PlainBytes(int fd, uint64_t size, std::string name)
      : fd_(fd), size_(size), name_(std::move(name)) {}
  ~PlainBytes() override { close(fd_); }
  PlainBytes(const PlainBytes&) = delete;
  PlainBytes& operator=(const PlainBytes&) = delete;

  uint64_t size() const override { return size_; }
  Status Read(uint64_t offset, size_t count, char* out) override {
    while (count > 0) {
      const ssize_t n = pread(fd_, out, count, static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return FileError(name_, "read", errno);
      if (n == 0) {
        return InvalidInput(
            fmt::format("{}: ends at byte {}, and more was expected; the file "
                        "is shorter than it was, or than its index says",
                        name_, offset));
      }
      out += n;
      offset += static_cast<uint64_t>(n);
      count -= static_cast<size_t>(n);
    }
    return OkStatus();
  }

 private:
  int fd_;
  uint64_t size_;
  std::string name_;
};

class BgzfBytes : public RandomBytes {
 public:
  BgzfBytes(std::unique_ptr<RandomBytes> raw, std::string name)
      : raw_(std::move(raw)), name_(std::move(name)) {
    packed_.resize(kMaxBlockBytes);
    text_.resize(kMaxBlockBytes);
  }

  Status FindBlocks() {
    uint64_t at = 0, text = 0, last_text_bytes = 1;
    std::string buffer(kTrailerBytes + kBgzfHeaderBytes, '\0');
    LCSM_ASSIGN_OR_RETURN(std::string_view header, Piece(0, 0, &buffer));
    while (at < raw_->size()) {
      const size_t bytes = BgzfBlockBytes(header);
      if (bytes == 0) return Damaged(at);
      if (bytes > raw_->size() - at) {
        return InvalidInput(
            fmt::format("{}: the bgzip block at byte {} has {} bytes, and {} "
                        "are left; the file was cut short",
                        name_, at, bytes, raw_->size() - at));
      }
      blocks_.push_back({at, text});
      at += bytes;
      LCSM_ASSIGN_OR_RETURN(header, Piece(at - kTrailerBytes, 8, &buffer));
      last_text_bytes = Little(buffer, 4, 4);
      if (last_text_bytes > kMaxBlockBytes) {
        return Damaged(blocks_.back().file);
      }
      text += last_text_bytes;
    }
    if (last_text_bytes != 0) {
      return InvalidInput(name_ +
                          ": ends without the empty block that closes a bgzip "
                          "file; it was cut short");
    }
    blocks_.push_back({at, text});
    return OkStatus();
  }

  uint64_t size() const override { return blocks_.back().text; }

  Status Read(uint64_t offset, size_t count, char* out) override {
    if (offset > size() || count > size() - offset) {
      return InvalidInput(fmt::format(
          "{}: has {} bytes when decompressed, and byte {} was expected; it is "
          "shorter than its index says",
          name_, size(), offset + count));
    }
    while (count > 0) {
      // The last block that begins at or before it; empty ones hold nothing.
      const auto next = std::upper_bound(
          blocks_.begin(), blocks_.end(), offset,
          [](uint64_t at, const Block& block) { return at < block.text; });
      const size_t block = static_cast<size_t>(next - blocks_.begin()) - 1;
      LCSM_RETURN_IF_ERROR(Load(block));
      const size_t from = static_cast<size_t>(offset - blocks_[block].text);
      const size_t now = std::min(
          count, static_cast<size_t>(blocks_[block + 1].text - offset));
      std::copy_n(text_.data() + from, now, out);
      out += now;
      offset += now;
      count -= now;
    }
    return OkStatus();
  }

 private:
  struct Block {
    uint64_t file = 0;  // Where it begins in the file
    uint64_t text = 0;  // and after decompression.
  };

  // Reads from `offset` on as much as `buffer` holds or the file has; what
  // comes after the first `skip` bytes.
  StatusOr<std::string_view> Piece(uint64_t offset, size_t skip,
                                   std::string* buffer) {
    const size_t count = static_cast<size_t>(
        std::min<uint64_t>(skip + kBgzfHeaderBytes, raw_->size() - offset));
    LCSM_RETURN_IF_ERROR(raw_->Read(offset, count, buffer->data()));
    return std::string_view(*buffer).substr(0, count).substr(skip);
  }

  Status Load(size_t block) {
    if (block == loaded_) return OkStatus();
    loaded_ = static_cast<size_t>(-1);
    const Block& from = blocks_[block];
    const Block& to = blocks_[block + 1];
    const size_t packed = static_cast<size_t>(to.file - from.file);
    LCSM_RETURN_IF_ERROR(raw_->Read(from.file, packed, packed_.data()));
    z_stream stream = {};
    if (inflateInit2(&stream, 15 + 16) != Z_OK) {
      return ResourceExhausted(name_ + ": no memory to decompress it");
    }
    stream.next_in = reinterpret_cast<Bytef*>(packed_.data());
    stream.avail_in = static_cast<uInt>(packed);
    stream.next_out = reinterpret_cast<Bytef*>(text_.data());
    stream.avail_out = static_cast<uInt>(text_.size());
    const int result = inflate(&stream, Z_FINISH);
    const size_t got = text_.size() - stream.avail_out;
    inflateEnd(&stream);
    if (result != Z_STREAM_END || got != to.text - from.text) {
      return Damaged(from.file);
    }
    loaded_ = block;
    return OkStatus();
  }

  Status Damaged(uint64_t at) const {
    return InvalidInput(
        fmt::format("{}: what stands at byte {} is no sound bgzip block; the "
                    "file is damaged",
                    name_, at));
  }

  std::unique_ptr<RandomBytes> raw_;
  std::string name_;
  std::vector<Block> blocks_;  // And where the file ends.
  size_t loaded_ = static_cast<size_t>(-1);
  std::string packed_, text_;
};

}  // namespace

bool IsGzip(std::string_view bytes) { return bytes.starts_with("\x1f\x8b"); }

size_t BgzfBlockBytes(std::string_view header) {
  // gzip, deflated, with an extra field that begins with bgzip's own.
  if (header.size() < kBgzfHeaderBytes ||
      !header.starts_with(std::string_view("\x1f\x8b\x08\x04", 4)) ||
      Little(header, 10, 2) < 6 ||
      header.substr(12, 4) != std::string_view("BC\x02\x00", 4)) {
    return 0;
  }
  const size_t bytes = Little(header, 16, 2) + size_t{1};
  return bytes < kBgzfHeaderBytes + kTrailerBytes ? 0 : bytes;
}

std::unique_ptr<RandomBytes> MakeMemoryBytes(std::string bytes) {
  return std::make_unique<MemoryBytes>(std::move(bytes));
}

StatusOr<std::unique_ptr<RandomBytes>> OpenPlainBytes(const std::string& file) {
  const int fd = open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FileError(file, "opened", errno);
  struct stat info = {};
  const bool known = fstat(fd, &info) == 0;
  auto bytes = std::make_unique<PlainBytes>(
      fd, static_cast<uint64_t>(info.st_size), file);
  if (!known || !S_ISREG(info.st_mode)) {
    return InvalidInput(file + ": is not a regular file, expected one");
  }
  return std::unique_ptr<RandomBytes>(std::move(bytes));
}

StatusOr<std::unique_ptr<RandomBytes>> OpenBgzf(
    std::unique_ptr<RandomBytes> raw, const std::string& name) {
  auto bytes = std::make_unique<BgzfBytes>(std::move(raw), name);
  LCSM_RETURN_IF_ERROR(bytes->FindBlocks());
  return std::unique_ptr<RandomBytes>(std::move(bytes));
}

}  // namespace lcsm::io
