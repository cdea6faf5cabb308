// Where a command's data goes: standard output, or a file that appears whole or
// not at all.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "io/atomic_file.h"
#include "lcsm/status.h"
#include "output.h"

namespace lcsm::cli {

// Whether `path` means standard output: "-", "/dev/stdout".
bool IsStdout(const std::string& path);

// Not thread safe.
class DataOutput {
 public:
  // `out` must outlive this. Errors: a file that cannot be made.
  static StatusOr<DataOutput> Open(const std::string& path, Output& out);

  Status Write(std::string_view text);
  // Writes what is left, or gives the file its name.
  Status Finish();
  // A pipe that nobody reads any more: stop quietly.
  bool reader_gone() const { return !file_ && out_->reader_gone(); }
  bool is_stdout() const { return !file_; }

 private:
  explicit DataOutput(Output& out) : out_(&out) {}
  Output* out_;
  std::optional<io::AtomicFile> file_;
};

}  // namespace lcsm::cli
