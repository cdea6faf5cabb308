#include "io/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>

#include "io/errors.h"

namespace lcsm::io {
namespace {

// What the signal handler knows: a fixed table, because a handler may neither
// lock nor allocate. A slot is taken by `taken`; `version` is odd while its
// range changes, so that a handler running for another mapping never acts on
// half a change. The slot of the mapping that faulted is in use by the very
// code that was interrupted, hence stable.
struct Slot {
  std::atomic<bool> taken{false};
  std::atomic<uint32_t> version{0};
  std::atomic<uintptr_t> begin{0};
  std::atomic<uintptr_t> end{0};  // Rounded up to a page; 0: no mapping.
  std::atomic<bool> damaged{false};
};
static_assert(std::atomic<uintptr_t>::is_always_lock_free &&
              std::atomic<uint32_t>::is_always_lock_free &&
              std::atomic<bool>::is_always_lock_free);

constexpr size_t kSlots = 1024;
std::array<Slot, kSlots> g_slots;
std::atomic<uintptr_t> g_page_bytes{4096};
struct sigaction g_previous;  // Written once, before the handler can run.

void SetRange(Slot& slot, uintptr_t begin, uintptr_t end) {
  slot.version.fetch_add(1, std::memory_order_acq_rel);
  slot.begin.store(begin, std::memory_order_relaxed);
  slot.end.store(end, std::memory_order_relaxed);
  slot.version.fetch_add(1, std::memory_order_release);
}

// Puts zeros from the faulting page to the end of its mapping: what a file lost
// is always its tail, so one fault is enough for all of it. True if the address
// was one of ours.
bool CoverWithZeros(uintptr_t address) {
  const uintptr_t page = g_page_bytes.load(std::memory_order_relaxed);
  for (Slot& slot : g_slots) {
    const uint32_t version = slot.version.load(std::memory_order_acquire);
    const uintptr_t begin = slot.begin.load(std::memory_order_relaxed);
    const uintptr_t end = slot.end.load(std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (version % 2 != 0 ||
        version != slot.version.load(std::memory_order_relaxed) ||
        address < begin || address >= end) {
      continue;
    }
    slot.damaged.store(true, std::memory_order_release);
    const uintptr_t from = address / page * page;
    // A raw system call on Linux, hence fit for a handler.
    return mmap(reinterpret_cast<void*>(from), end - from, PROT_READ,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
                0) != MAP_FAILED;
  }
  return false;
}

void OnSigbus(int signal, siginfo_t* info, void* context) {
  const int saved_errno = errno;
  const bool from_access = info->si_code == BUS_ADRERR;
  const bool ours =
      from_access && CoverWithZeros(reinterpret_cast<uintptr_t>(info->si_addr));
  errno = saved_errno;
  if (ours) return;
  if ((g_previous.sa_flags & SA_SIGINFO) != 0) {
    g_previous.sa_sigaction(signal, info, context);
  } else if (g_previous.sa_handler != SIG_DFL &&
             g_previous.sa_handler != SIG_IGN) {
    g_previous.sa_handler(signal);
  } else if (info->si_code > 0 || g_previous.sa_handler == SIG_DFL) {
    // Nobody else: die of it as if we were not here. A faulting access runs
    // again on return; a signal that was sent has to be sent again.
    struct sigaction standard = {};
    standard.sa_handler = SIG_DFL;
    sigaction(SIGBUS, &standard, nullptr);
    if (info->si_code <= 0) raise(SIGBUS);
  }
}

bool InstallHandler() {
  g_page_bytes = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  // Read first, so that g_previous is complete before the handler can run.
  if (sigaction(SIGBUS, nullptr, &g_previous) != 0) return false;
  struct sigaction action = {};
  action.sa_sigaction = OnSigbus;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  return sigaction(SIGBUS, &action, nullptr) == 0;
}

}  // namespace

StatusOr<std::unique_ptr<MappedFile>> MappedFile::Open(
    const std::filesystem::path& path) {
  static const bool installed = InstallHandler();
  if (!installed) return InternalError("the SIGBUS handler was refused");
  std::unique_ptr<MappedFile> file(new MappedFile());
  file->path_ = path;
  // O_NONBLOCK: a pipe by that name must not make us wait for a writer.
  file->fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file->fd_ < 0) return FileError(path, "opened", errno);
  struct stat info;
  if (fstat(file->fd_, &info) != 0) return FileError(path, "read", errno);
  if (!S_ISREG(info.st_mode)) {
    return InvalidInput(
        fmt::format("{}: is a {}, expected a regular file", path.string(),
                    S_ISDIR(info.st_mode) ? "folder" : "pipe or device"));
  }
  file->size_ = static_cast<size_t>(info.st_size);
  if (file->size_ == 0) return file;

  size_t slot = 0;
  while (slot < kSlots && g_slots[slot].taken.exchange(true)) ++slot;
  if (slot == kSlots) {
    return ResourceExhausted(fmt::format(
        "{}: is one mapped file too many, expected at most {} at a time",
        path.string(), kSlots));
  }
  void* data = mmap(nullptr, file->size_, PROT_READ, MAP_PRIVATE, file->fd_, 0);
  if (data == MAP_FAILED) {
    const int error = errno;
    g_slots[slot].taken = false;
    return FileError(path, "mapped", error);
  }
  file->data_ = static_cast<const std::byte*>(data);
  file->slot_ = slot;
  g_slots[slot].damaged = false;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(data);
  const uintptr_t page = g_page_bytes;
  SetRange(g_slots[slot], begin,
           begin + (file->size_ + page - 1) / page * page);
  return file;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) {
    Slot& slot = g_slots[slot_];
    SetRange(slot, 0, 0);
    munmap(const_cast<std::byte*>(data_), size_);
    slot.taken = false;
  }
  if (fd_ >= 0) close(fd_);
}

Status MappedFile::CheckIntact() const {
  if (data_ == nullptr) return OkStatus();
  // A cut within the last page that is left raises no signal, it only reads as
  // zeros: hence the look at the size.
  struct stat info;
  const bool known = fstat(fd_, &info) == 0;
  if (known && static_cast<size_t>(info.st_size) < size_) {
    return InvalidInput(
        fmt::format("{}: was cut short while in use: now {} bytes, expected {}",
                    path_.string(), info.st_size, size_));
  }
  if (g_slots[slot_].damaged.load(std::memory_order_acquire)) {
    return InvalidInput(fmt::format(
        "{}: could not be read while in use (cut short for a while, or a disk "
        "error), expected {} readable bytes",
        path_.string(), size_));
  }
  return OkStatus();
}

}  // namespace lcsm::io
