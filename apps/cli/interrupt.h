// Ctrl-C as a question the loops ask, so that what was generated so far is
// finished properly. The second Ctrl-C ends the process at once.
#pragma once

#include <atomic>

namespace lcsm::cli {

// From here on SIGINT only sets the flag, once; SIGPIPE is ignored, so that a
// closed pipe is an answer of write().
void InstallSignalHandlers();

// For commands with nothing to finish: SIGINT ends the process again, at once.
void LetInterruptsEnd();

bool Interrupted();
// The flag itself, for those who ask without us.
const std::atomic<bool>& InterruptFlag();

}  // namespace lcsm::cli
