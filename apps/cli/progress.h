// A progress bar on stderr that only a person sees: nothing is written unless
// stderr is a terminal, and nothing during the first moments, so that short
// work shows no flicker.
#pragma once

#include <chrono>
#include <string>

namespace lcsm::cli {

// Not thread safe.
class Progress {
 public:
  // `label` stands before the bar, e.g. "reading the prompt".
  Progress(std::string label, bool quiet);
  ~Progress() { Finish(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Whether Update would draw: spares the caller from making words for nothing.
  bool Due() const;
  // `done` in [0, 1]; `detail` stands after the bar.
  void Update(double done, const std::string& detail = "");
  // Takes the bar away.
  void Finish();

 private:
  std::string label_;
  bool enabled_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point start_, last_;
};

}  // namespace lcsm::cli
