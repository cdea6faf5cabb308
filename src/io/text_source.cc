#include "io/text_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "io/bgzf.h"
#include "io/errors.h"

namespace lcsm::io {
namespace {

// Large enough that system calls and calls of zlib do not count.
constexpr size_t kReadBytes = size_t{1} << 16, kBlockBytes = size_t{1} << 18;

}  // namespace

// The decompressed bytes of a file, block after block.
class TextSource::Bytes {
 public:
  Bytes(int fd, uint64_t file_bytes, std::string name,
        const std::atomic<bool>* cancel)
      : fd_(fd),
        file_bytes_(file_bytes),
        name_(std::move(name)),
        cancel_(cancel) {
    raw_.resize(kReadBytes);
  }
  Bytes(std::string bytes, std::string name)
      : file_bytes_(bytes.size()),
        name_(std::move(name)),
        raw_(std::move(bytes)),
        raw_end_(raw_.size()),
        read_(raw_.size()) {}
  ~Bytes() {
    if (inflating_) inflateEnd(&stream_);
    if (fd_ > 0) close(fd_);  // Standard input is not ours to close.
  }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;

  // An empty block is the end.
  StatusOr<std::string_view> NextBlock() {
    LCSM_RETURN_IF_ERROR(status_);
    StatusOr<std::string_view> block = ReadBlock();
    status_ = block.status();
    return block;
  }
  bool compressed() const { return kind_ == Kind::kGzip; }
  double Done() const {
    if (file_bytes_ == 0) return 0;
    return std::min(1.0, static_cast<double>(read_ - Left()) /
                             static_cast<double>(file_bytes_));
  }

 private:
  enum class Kind { kUnknown, kPlain, kGzip };

  StatusOr<std::string_view> ReadBlock() {
    if (kind_ == Kind::kUnknown) {
      // A pipe may give a byte at a time.
      LCSM_RETURN_IF_ERROR(Want(kBgzfHeaderBytes));
      kind_ = IsGzip(Rest()) ? Kind::kGzip : Kind::kPlain;
      bgzip_ = BgzfBlockBytes(Rest()) != 0;
      if (kind_ == Kind::kGzip) LCSM_RETURN_IF_ERROR(StartInflating());
    }
    return kind_ == Kind::kGzip ? Inflate() : Plain();
  }

  StatusOr<std::string_view> Plain() {
    if (Left() == 0) LCSM_RETURN_IF_ERROR(Refill());
    const std::string_view block = Rest();
    raw_begin_ = raw_end_;
    return block;
  }

  Status CutShort() const {
    return InvalidInput(
        name_ +
        ": ends in the middle of its compressed data; it was cut short");
  }

  Status StartInflating() {
    std::memset(&stream_, 0, sizeof(stream_));
    // 16: a gzip wrapper, whose checksum zlib then checks.
    if (inflateInit2(&stream_, 15 + 16) != Z_OK) {
      return ResourceExhausted(name_ + ": no memory to decompress it");
    }
    inflating_ = true;
    text_.resize(kBlockBytes);
    return OkStatus();
  }

  StatusOr<std::string_view> Inflate() {
    size_t filled = 0;
    while (filled < text_.size()) {
      if (Left() == 0) {
        if (filled > 0) break;  // Who waits at a pipe wants what there is.
        LCSM_RETURN_IF_ERROR(Refill());
        if (Left() == 0) break;
      }
      if (between_members_) {
        LCSM_ASSIGN_OR_RETURN(const bool more, NextMember());
        if (!more) break;
      }
      LCSM_RETURN_IF_ERROR(InflateSome(&filled));
    }
    if (filled == 0) {
      if (!between_members_) {
        return CutShort();
      }
      if (bgzip_ && member_bytes_ != 0) {
        // bgzip closes each file with an empty block for this very purpose.
        return InvalidInput(name_ +
                            ": ends without the empty block that closes a "
                            "bgzip file; it was cut short");
      }
    }
    return std::string_view(text_.data(), filled);
  }

  // At the end of a member: whether another one follows.
  StatusOr<bool> NextMember() {
    // Tapes and some tools pad with zeros, and gzip passes over them.
    for (;;) {
      while (Left() > 0 && raw_[raw_begin_] == '\0') ++raw_begin_;
      if (Left() > 0) break;
      LCSM_RETURN_IF_ERROR(Refill());
      if (Left() == 0) return false;
    }
    LCSM_RETURN_IF_ERROR(Want(2));
    if (Rest() == "\x1f") return CutShort();
    if (!IsGzip(Rest())) {
      return InvalidInput(name_ +
                          ": has bytes after its compressed data that are "
                          "not gzip, expected its end or more of it");
    }
    inflateReset(&stream_);
    between_members_ = false;
    member_bytes_ = 0;
    return true;
  }

  Status InflateSome(size_t* filled) {
    stream_.next_in = reinterpret_cast<Bytef*>(raw_.data() + raw_begin_);
    stream_.avail_in = static_cast<uInt>(std::min(Left(), kReadBytes));
    const uInt offered = stream_.avail_in;
    stream_.next_out = reinterpret_cast<Bytef*>(text_.data() + *filled);
    stream_.avail_out = static_cast<uInt>(text_.size() - *filled);
    const int result = inflate(&stream_, Z_NO_FLUSH);
    raw_begin_ += offered - stream_.avail_in;
    const size_t before = *filled;
    *filled = text_.size() - stream_.avail_out;
    member_bytes_ += *filled - before;
    if (result == Z_STREAM_END) {
      between_members_ = true;
      return OkStatus();
    }
    if (result == Z_OK || result == Z_BUF_ERROR) return OkStatus();
    if (result == Z_MEM_ERROR) {
      return ResourceExhausted(name_ + ": no memory to decompress it");
    }
    return InvalidInput(
        fmt::format("{}: its compressed data is damaged ({})", name_,
                    stream_.msg != nullptr ? stream_.msg : "unknown form"));
  }

  size_t Left() const { return raw_end_ - raw_begin_; }
  std::string_view Rest() const {
    return std::string_view(raw_).substr(raw_begin_, Left());
  }

  // Has at least `bytes` at hand, unless the file ends before.
  Status Want(size_t bytes) {
    while (Left() < bytes && fd_ >= 0) {
      const size_t before = Left();
      std::memmove(raw_.data(), raw_.data() + raw_begin_, before);
      raw_begin_ = 0;
      raw_end_ = before;
      LCSM_RETURN_IF_ERROR(Append());
      if (Left() == before) break;
    }
    return OkStatus();
  }
  // Only when nothing is left.
  Status Refill() {
    if (fd_ < 0) return OkStatus();
    raw_begin_ = raw_end_ = 0;
    return Append();
  }
  Status Append() {
    for (;;) {
      const ssize_t n =
          read(fd_, raw_.data() + raw_end_, raw_.size() - raw_end_);
      if (n < 0 && errno == EINTR) {
        if (cancel_ != nullptr && cancel_->load(std::memory_order_relaxed)) {
          return Cancelled(name_ + ": reading was interrupted");
        }
        continue;
      }
      if (n < 0) return FileError(name_, "read", errno);
      raw_end_ += static_cast<size_t>(n);
      read_ += static_cast<uint64_t>(n);
      return OkStatus();
    }
  }

  int fd_ = -1;  // -1: all bytes are in raw_.
  uint64_t file_bytes_ = 0;
  std::string name_;
  const std::atomic<bool>* cancel_ = nullptr;
  std::string
      raw_;  // As they stand in the file; [raw_begin_, raw_end_) unread.
  size_t raw_begin_ = 0, raw_end_ = 0;
  uint64_t read_ = 0;
  Kind kind_ = Kind::kUnknown;
  bool bgzip_ = false;
  z_stream stream_ = {};
  bool inflating_ = false;
  bool between_members_ = false;
  uint64_t member_bytes_ = 0;  // Of the current or last member, decompressed.
  std::string text_;
  Status status_;  // Errors are sticky.
};

TextSource::TextSource(std::unique_ptr<Bytes> bytes, std::string name)
    : bytes_(std::move(bytes)), name_(std::move(name)) {}
TextSource::~TextSource() = default;

StatusOr<std::unique_ptr<TextSource>> TextSource::Open(
    const std::string& file, const std::atomic<bool>* cancel) {
  const bool is_stdin = file == "-";
  std::string name = is_stdin ? "standard input" : file;
  const int fd =
      is_stdin ? STDIN_FILENO : open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FileError(file, "opened", errno);
  struct stat info = {};
  const bool known = fstat(fd, &info) == 0;
  auto bytes = std::make_unique<Bytes>(
      fd,
      known && S_ISREG(info.st_mode) ? static_cast<uint64_t>(info.st_size) : 0,
      name, cancel);
  if (known && S_ISDIR(info.st_mode)) {
    return InvalidInput(name + ": is a folder, expected a file");
  }
  return std::unique_ptr<TextSource>(
      new TextSource(std::move(bytes), std::move(name)));
}

std::unique_ptr<TextSource> TextSource::FromBytes(std::string bytes,
                                                  std::string name) {
  auto source = std::make_unique<Bytes>(std::move(bytes), name);
  return std::unique_ptr<TextSource>(
      new TextSource(std::move(source), std::move(name)));
}

StatusOr<bool> TextSource::Next(std::string_view* line, size_t max_line_bytes) {
  pieces_.clear();
  offset_ = next_offset_;
  bool ended = false;  // By a line feed.
  std::string_view whole;
  for (;;) {
    if (block_.empty()) {
      LCSM_ASSIGN_OR_RETURN(block_, bytes_->NextBlock());
      if (block_.empty()) break;
    }
    const size_t feed = block_.find('\n');
    ended = feed != std::string_view::npos;
    const std::string_view piece = block_.substr(0, feed);
    if (pieces_.size() + piece.size() > max_line_bytes) {
      return InvalidInput(fmt::format(
          "{}: line {} is longer than {} bytes, expected shorter lines", name_,
          line_ + 1, max_line_bytes));
    }
    block_.remove_prefix(ended ? feed + 1 : block_.size());
    if (ended && pieces_.empty()) {
      whole = piece;  // The usual case: no copy.
      break;
    }
    pieces_.append(piece);
    whole = pieces_;
    if (ended) break;
  }
  if (!ended && whole.empty()) return false;
  next_offset_ += whole.size() + (ended ? 1 : 0);
  line_end_ = ended ? 1 : 0;
  if (ended && whole.ends_with('\r')) {
    whole.remove_suffix(1);
    line_end_ = 2;
  }
  ++line_;
  *line = whole;
  return true;
}

std::string TextSource::At() const {
  return fmt::format("{}: line {}", name_, line_);
}
bool TextSource::compressed() const { return bytes_->compressed(); }
double TextSource::Done() const { return bytes_->Done(); }

}  // namespace lcsm::io
