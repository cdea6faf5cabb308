// Standard output, written so that nothing is lost silently.
//
// iostreams and stdio swallow a full disk until it is too late to say so; this
// knows three outcomes of a write: done, the reader has gone (a closed pipe,
// which is no error: the command stops early and quietly), and failed.
#pragma once

#include <string>
#include <string_view>

#include "lcsm/status.h"

namespace lcsm::cli {

// Not thread safe; one per process.
class Output {
 public:
  Output();
  ~Output();
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  // Buffers, and writes through at once unless stdout is a regular file: tokens
  // should be seen as they come. After the reader has gone it does nothing.
  Status Write(std::string_view bytes);
  Status Flush();

  bool reader_gone() const { return reader_gone_; }
  bool is_terminal() const { return is_terminal_; }

 private:
  std::string buffer_;
  bool is_terminal_ = false;
  bool is_file_ = false;
  bool reader_gone_ = false;
};

}  // namespace lcsm::cli
