#include "output.h"

#include <errno.h>
#include <fmt/format.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "terminal.h"

namespace lcsm::cli {
namespace {

constexpr size_t kFileBufferBytes = 64 * 1024;

}  // namespace

Output::Output() {
  is_terminal_ = isatty(STDOUT_FILENO) == 1;
  struct stat info = {};
  is_file_ = fstat(STDOUT_FILENO, &info) == 0 && S_ISREG(info.st_mode);
}

Output::~Output() { (void)Flush(); }

Status Output::Write(std::string_view bytes) {
  if (reader_gone_) return OkStatus();
  if (is_terminal_) {
    buffer_ += Printable(bytes);
  } else {
    buffer_.append(bytes);
  }
  if (is_file_ && buffer_.size() < kFileBufferBytes) return OkStatus();
  return Flush();
}

Status Output::Flush() {
  size_t done = 0;
  while (done < buffer_.size() && !reader_gone_) {
    const ssize_t n =
        write(STDOUT_FILENO, buffer_.data() + done, buffer_.size() - done);
    if (n >= 0) {
      done += static_cast<size_t>(n);
    } else if (errno == EPIPE) {
      reader_gone_ = true;
    } else if (errno != EINTR && errno != EAGAIN) {
      const int error = errno;
      buffer_.clear();
      return ResourceExhausted(
          fmt::format("standard output: cannot write: {}", strerror(error)));
    }
  }
  buffer_.clear();
  return OkStatus();
}

}  // namespace lcsm::cli
