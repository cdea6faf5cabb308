// What the commands that take a file through a model have in common: lcsm
// score, embed, classify and variants.
#pragma once

#include <string>
#include <vector>

#include "lcsm/status.h"
#include "model_options.h"

namespace lcsm::cli {

// One run of such a command. Belongs to one thread.
class ModelRun {
 public:
  virtual ~ModelRun() = default;

  // Everything that can be wrong before the first sequence is computed.
  virtual Status Prepare(const LoadedModel& loaded) = 0;
  virtual Status All() = 0;

  // For a person, once all is done; empty notes are left out.
  virtual std::vector<std::string> Notes() const = 0;
  virtual std::string Summary() const = 0;
  // A reader that left wants no more words either.
  virtual bool reader_gone() const { return false; }
};

// Prepares it, runs it, and says what came of it unless `quiet`; gives the exit
// code.
int RunToEnd(ModelRun& run, const LoadedModel& loaded, bool quiet);

}  // namespace lcsm::cli
