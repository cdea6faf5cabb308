#include "model_run.h"

#include "command.h"
#include "exit_codes.h"
#include "terminal.h"

namespace lcsm::cli {

int RunToEnd(ModelRun& run, const LoadedModel& loaded, bool quiet) {
  Status status = run.Prepare(loaded);
  if (status.ok()) status = run.All();
  if (!status.ok()) return Fail(status);
  if (quiet || run.reader_gone()) return kExitOk;
  for (const std::string& note : run.Notes()) {
    if (!note.empty()) Say("lcsm: note: {}\n", note);
  }
  Say("{}", run.Summary());
  return kExitOk;
}

}  // namespace lcsm::cli
