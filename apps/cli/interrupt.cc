#include "interrupt.h"

#include <signal.h>

namespace lcsm::cli {
namespace {

// Lock-free, hence safe to touch in a handler.
std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void OnInterrupt(int) { interrupted.store(true, std::memory_order_relaxed); }

}  // namespace

void InstallSignalHandlers() {
  struct sigaction action = {};
  action.sa_handler = OnInterrupt;
  sigemptyset(&action.sa_mask);
  // The default comes back after the first one: a second Ctrl-C kills. No
  // SA_RESTART, so that a write blocked on a full pipe comes back too.
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);

  struct sigaction ignore = {};
  ignore.sa_handler = SIG_IGN;
  sigemptyset(&ignore.sa_mask);
  sigaction(SIGPIPE, &ignore, nullptr);
}

void LetInterruptsEnd() {
  signal(SIGINT, SIG_DFL);
  if (Interrupted()) raise(SIGINT);  // It came before we were asked.
}

bool Interrupted() { return interrupted.load(std::memory_order_relaxed); }
const std::atomic<bool>& InterruptFlag() { return interrupted; }

}  // namespace lcsm::cli
