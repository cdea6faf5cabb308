#include "progress.h"

#include <fmt/format.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "terminal.h"

namespace lcsm::cli {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kQuietStart{300};
constexpr milliseconds kBetween{80};
constexpr size_t kBarColumns = 24;

size_t TerminalColumns() {
  winsize size = {};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    return size.ws_col;
  }
  return 80;
}

}  // namespace

Progress::Progress(std::string label, bool quiet)
    : label_(std::move(label)),
      enabled_(!quiet && StderrTakesEscapes()),
      start_(std::chrono::steady_clock::now()),
      last_(start_) {}

bool Progress::Due() const {
  if (!enabled_) return false;
  const auto now = std::chrono::steady_clock::now();
  return now - start_ >= kQuietStart && (!drawn_ || now - last_ >= kBetween);
}

void Progress::Update(double done, const std::string& detail) {
  if (!Due()) return;
  last_ = std::chrono::steady_clock::now();
  drawn_ = true;
  done = std::clamp(done, 0.0, 1.0);
  const auto filled = static_cast<size_t>(done * kBarColumns + 0.5);
  std::string line =
      fmt::format("{} [{}{}] {:3.0f}%{}{}", label_, std::string(filled, '#'),
                  std::string(kBarColumns - filled, '.'), 100 * done,
                  detail.empty() ? "" : "  ", detail);
  // A line that wraps could not be taken back.
  line.resize(std::min(line.size(), TerminalColumns() - 1));
  Say("\r\033[K{}", line);
  fflush(stderr);
}

void Progress::Finish() {
  if (!drawn_) return;
  drawn_ = false;
  Say("\r\033[K");
  fflush(stderr);
}

}  // namespace lcsm::cli
