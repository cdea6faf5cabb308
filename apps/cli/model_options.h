// The options that several subcommands share: which model, computed how.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "conv/plan.h"
#include "conv/tuning.h"
#include "io/tokenizer.h"
#include "kernels/dense_weights.h"
#include "lcsm/status.h"
#include "option_parser.h"
#include "runtime/model.h"

namespace lcsm::cli {

// --model, --weights; --device where models are run.
struct ModelOption {
  std::string model;  // Empty: the model in the box.
  std::string weights = "f32";
  std::string device = "cpu";
};
void AddModelOption(App& app, ModelOption& option);
void AddDeviceOption(App& app, ModelOption& option);
// All three, for a command that has no model of its own to fall back on.
void AddRequiredModel(App& app, ModelOption& option,
                      const char* description =
                          "Model folder, or the name of an installed model");

// --quiet, of commands that say something when they are done.
Option AddQuietOption(App& app, bool& quiet);

// --method, --tau, --schedule, --latency, --plan, --costs, --memory-limit,
// --threads.
struct ExecutionOptions {
  std::string method = "planned";
  std::string tau;  // Empty: as the method likes.
  std::string schedule = "across-layers";
  std::string latency = "best";
  std::string plan_file;
  std::string costs = "measured";
  size_t memory_limit = 0;  // Of the whole run, in bytes. 0: none.
  size_t threads = 0;       // 0: one for each processor.
};
void AddExecutionOptions(App& app, ExecutionOptions& options);

// A sentence if the options contradict each other, empty if they do not.
std::string CheckExecution(const ExecutionOptions& options);
// Tile costs as `lcsm plan --tune` left them, for the planner; null if there
// are none. `unusable`, if not null, gets the sentence about those that are
// there and cannot be used.
std::shared_ptr<const conv::Tuning> LoadTuning(Status* unusable = nullptr);
// Reads the plan file and, unless it is known that all is for a device, the
// CPU's tile costs measured earlier, if there are any; a note on stderr says
// why a file of costs is not used. Errors: the plan file.
StatusOr<PrepareOptions> ToPrepareOptions(const ExecutionOptions& options,
                                          size_t horizon,
                                          bool on_device = false);

struct LoadedModel {
  std::string folder;
  std::shared_ptr<const Model> model;
};
WeightFormat ToWeightFormat(const ModelOption& option);
// Where --device says.
StatusOr<LoadedModel> LoadNamedModel(const ModelOption& option);

// A whole number written in digits alone: CLI11 reads "-1" as the largest one.
Check WholeIn(uint64_t lo, uint64_t hi);
// Not "nan", which no comparison finds out of bounds.
Check FiniteIn(double lo, double hi, const char* description);

// "1 002 048": thousands set apart.
std::string Digits(size_t n);
// "1 token", "2 tokens".
std::string Count(size_t n, const char* singular);

}  // namespace lcsm::cli
