#include "io/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <system_error>
#include <utility>

#include "io/errors.h"

namespace lcsm::io {
namespace {

// Large enough that system calls do not count, small enough to forget.
constexpr size_t kBufferBytes = size_t{1} << 20;

// Writes everything or answers an errno.
int WriteAll(int fd, const char* data, size_t bytes) {
  while (bytes > 0) {
    const ssize_t n = write(fd, data, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    data += n;
    bytes -= static_cast<size_t>(n);
  }
  return 0;
}

// The temporary file stands in the target's folder: a rename within one file
// system is what makes the switch atomic. mkstemp would make it private
// (0600); opening it ourselves leaves the permissions to the umask.
StatusOr<int> OpenTemporary(const std::filesystem::path& target,
                            std::string* name) {
  static std::atomic<uint32_t> counter{0};
  for (int attempt = 0; attempt < 100; ++attempt) {
    std::filesystem::path temporary = target;
    temporary.replace_filename(fmt::format(".{}.partial-{}-{}",
                                           target.filename().string(), getpid(),
                                           counter.fetch_add(1)));
    const int fd =
        open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0) {
      *name = temporary.string();
      return fd;
    }
    if (errno != EEXIST) return FileError(target, "written", errno);
  }
  return FileError(target, "written", EEXIST);
}

}  // namespace

StatusOr<AtomicFile> AtomicFile::Create(const std::filesystem::path& path) {
  AtomicFile file;
  file.path_ = path;
  std::error_code error;
  const auto kind = std::filesystem::status(path, error).type();
  if (kind == std::filesystem::file_type::directory)
    return FileError(path, "written", EISDIR);
  // /dev/stdout may lead to a regular file, but renaming over the entry in
  // /dev is never what is meant. (/dev/shm is a folder like any other.)
  const std::string text = path.lexically_normal().string();
  file.direct_ =
      (kind != std::filesystem::file_type::regular &&
       kind != std::filesystem::file_type::not_found &&
       kind != std::filesystem::file_type::none) ||
      (text.starts_with("/dev/") && !text.starts_with("/dev/shm/")) ||
      text.starts_with("/proc/");
  if (file.direct_) {
    file.fd_ = open(path.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (file.fd_ < 0) return FileError(path, "written", errno);
    return file;
  }
  if (std::filesystem::is_symlink(path, error)) {
    // Replace what the link leads to and keep the link.
    const auto target = std::filesystem::weakly_canonical(path, error);
    if (!error) file.path_ = target;
  }
  LCSM_ASSIGN_OR_RETURN(file.fd_, OpenTemporary(file.path_, &file.temporary_));
  return file;
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})),
      fd_(std::exchange(other.fd_, -1)),
      direct_(other.direct_),
      buffer_(std::move(other.buffer_)),
      status_(std::move(other.status_)) {}

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  if (this != &other) {
    Abandon();
    path_ = std::move(other.path_);
    temporary_ = std::exchange(other.temporary_, {});
    fd_ = std::exchange(other.fd_, -1);
    direct_ = other.direct_;
    buffer_ = std::move(other.buffer_);
    status_ = std::move(other.status_);
  }
  return *this;
}

AtomicFile::~AtomicFile() { Abandon(); }

void AtomicFile::Abandon() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
  if (!temporary_.empty()) unlink(temporary_.c_str());
  temporary_.clear();
}

Status AtomicFile::Fail(int error) {
  status_ = FileError(path_, "written", error);
  Abandon();
  return status_;
}

Status AtomicFile::Flush() {
  LCSM_RETURN_IF_ERROR(status_);
  const int error = WriteAll(fd_, buffer_.data(), buffer_.size());
  buffer_.clear();
  return error != 0 ? Fail(error) : OkStatus();
}

Status AtomicFile::Write(std::string_view text) {
  LCSM_RETURN_IF_ERROR(status_);
  if (fd_ < 0) return InternalError("a file was written to after its commit");
  if (buffer_.size() + text.size() > kBufferBytes) {
    LCSM_RETURN_IF_ERROR(Flush());
    if (text.size() >= kBufferBytes) {
      const int error = WriteAll(fd_, text.data(), text.size());
      return error != 0 ? Fail(error) : OkStatus();
    }
  }
  buffer_.append(text);
  return OkStatus();
}

Status AtomicFile::Write(std::span<const std::byte> bytes) {
  return Write(std::string_view(reinterpret_cast<const char*>(bytes.data()),
                                bytes.size()));
}

Status AtomicFile::Overwrite(uint64_t offset,
                             std::span<const std::byte> bytes) {
  if (direct_) {
    return InvalidInput(fmt::format(
        "{}: is a pipe or device, expected a regular file, because its "
        "beginning is only known at its end",
        path_.string()));
  }
  LCSM_RETURN_IF_ERROR(Flush());
  while (!bytes.empty()) {
    const ssize_t n =
        pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Fail(errno);
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return OkStatus();
}

Status AtomicFile::Commit() {
  LCSM_RETURN_IF_ERROR(status_);
  if (fd_ < 0) return InternalError("a file was committed twice");
  LCSM_RETURN_IF_ERROR(Flush());
  if (!direct_ && fsync(fd_) != 0) return Fail(errno);
  // Some file systems tell of a full disk only here.
  if (close(std::exchange(fd_, -1)) != 0 && errno != EINTR) return Fail(errno);
  if (direct_) return OkStatus();
  if (rename(temporary_.c_str(), path_.c_str()) != 0) return Fail(errno);
  temporary_.clear();
  // The rename itself survives a crash only once its folder is synced. Not
  // every file system lets a folder be opened for that; the file is whole
  // either way.
  const std::filesystem::path parent =
      path_.has_parent_path() ? path_.parent_path() : ".";
  const int folder = open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0) {
    fsync(folder);
    close(folder);
  }
  return OkStatus();
}

Status WriteFileAtomically(const std::filesystem::path& path,
                           std::string_view contents) {
  LCSM_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  LCSM_RETURN_IF_ERROR(file.Write(contents));
  return file.Commit();
}

StatusOr<std::string> ReadFile(const std::filesystem::path& path,
                               size_t max_bytes) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FileError(path, "opened", errno);
  std::string text;
  struct stat info;
  if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) &&
      static_cast<size_t>(info.st_size) <= max_bytes) {
    text.reserve(static_cast<size_t>(info.st_size) + 1);
  }
  std::string chunk(size_t{1} << 16, '\0');
  for (;;) {
    const ssize_t n = read(fd, chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int error = errno;
      close(fd);
      return FileError(path, "read", error);
    }
    if (n == 0) break;
    if (text.size() + static_cast<size_t>(n) > max_bytes) {
      close(fd);
      return InvalidInput(
          fmt::format("{}: is larger than expected: at most {} "
                      "bytes",
                      path.string(), max_bytes));
    }
    text.append(chunk.data(), static_cast<size_t>(n));
  }
  close(fd);
  return text;
}

}  // namespace lcsm::io
