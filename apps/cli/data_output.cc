#include "data_output.h"

#include <utility>

namespace lcsm::cli {

bool IsStdout(const std::string& path) {
  return path == "-" || path == "/dev/stdout";
}

StatusOr<DataOutput> DataOutput::Open(const std::string& path, Output& out) {
  DataOutput output(out);
  if (IsStdout(path)) return output;
  LCSM_ASSIGN_OR_RETURN(output.file_, io::AtomicFile::Create(path));
  return output;
}

Status DataOutput::Write(std::string_view text) {
  return file_ ? file_->Write(text) : out_->Write(text);
}

Status DataOutput::Finish() { return file_ ? file_->Commit() : out_->Flush(); }

}  // namespace lcsm::cli
