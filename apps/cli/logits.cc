// lcsm logits: what the model thinks of given tokens, as a .npy matrix.
#include <fmt/format.h>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "command.h"
#include "interrupt.h"
#include "io/npy.h"
#include "model_options.h"
#include "progress.h"
#include "runtime/model.h"

namespace lcsm::cli {
namespace {

struct Options {
  ModelOption model;
  ExecutionOptions execution;
  std::string tokens;
  std::string output;
  bool step = false;
  bool quiet = false;
};

// Token by token through the decode path, as generation does it.
Status WriteByStep(const Model& model, ModelState& state,
                   std::span<const int32_t> tokens, bool quiet,
                   io::NpyWriter& writer) {
  Progress progress("stepping", quiet);
  std::vector<float> logits(model.info().padded_vocab);
  for (size_t t = 0; t < tokens.size(); ++t) {
    if (Interrupted()) return Cancelled("interrupted");
    state.Step(tokens[t], logits.data());
    LCSM_RETURN_IF_ERROR(model.CheckWeights());
    LCSM_RETURN_IF_ERROR(writer.Append(logits));
    progress.Update(static_cast<double>(t + 1) /
                    static_cast<double>(tokens.size()));
  }
  return OkStatus();
}

Status WriteByPrefill(const Model& model, ModelState& state,
                      std::span<const int32_t> tokens, bool quiet,
                      io::NpyWriter& writer) {
  Progress progress("prefill", quiet);
  LCSM_RETURN_IF_ERROR(state.Prefill(
      tokens, {.on_logits =
                   [&writer](size_t, std::span<const float> logits) {
                     return writer.Append(logits);
                   },
               .progress =
                   [&progress](double done) {
                     progress.Update(done);
                     return !Interrupted();
                   }}));
  return model.CheckWeights();
}

Status Run(const Options& options) {
  LCSM_ASSIGN_OR_RETURN(const LoadedModel loaded,
                        LoadNamedModel(options.model));
  const Model& model = *loaded.model;
  const ModelInfo& info = model.info();
  const std::string file =
      options.tokens == "-" ? "/dev/stdin" : options.tokens;
  LCSM_ASSIGN_OR_RETURN(const std::vector<int32_t> tokens,
                        io::ReadTokenIds(file, info.vocab));
  if (tokens.size() > info.max_length) {
    return InvalidInput(fmt::format(
        "{}: {} tokens, expected at most {} (the length limit of {})",
        options.tokens, tokens.size(), info.max_length, loaded.folder));
  }
  ThreadPool pool(options.execution.threads);
  LCSM_ASSIGN_OR_RETURN(PrepareOptions prepare,
                        ToPrepareOptions(options.execution, tokens.size()));
  if (!options.step) prepare.steps = 0;
  std::shared_ptr<const PreparedModel> prepared;
  {
    Progress progress("evaluating filters", options.quiet);
    LCSM_ASSIGN_OR_RETURN(
        prepared, model.Prepare(prepare, pool, [&progress](double done) {
          progress.Update(done);
          return !Interrupted();
        }));
  }
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<ModelState> state,
                        prepared->NewState(pool));
  const std::string output =
      options.output == "-" ? "/dev/stdout" : options.output;
  LCSM_ASSIGN_OR_RETURN(
      io::NpyWriter writer,
      io::NpyWriter::Create(output, info.padded_vocab, tokens.size()));
  LCSM_RETURN_IF_ERROR(
      options.step
          ? WriteByStep(model, *state, tokens, options.quiet, writer)
          : WriteByPrefill(model, *state, tokens, options.quiet, writer));
  return writer.Finish();
}

}  // namespace

void AddLogits(App& root, Commands& commands) {
  auto options = std::make_shared<Options>();
  App app = root.add_subcommand(
      "logits", "Write the logits after each of the given tokens");
  AddModelOption(*app, options->model);
  AddDeviceOption(*app, options->model);
  app->add_option("--tokens", options->tokens,
                  "File of whitespace-separated token ids; - is stdin")
      ->type_name("FILE")
      ->required();
  app->add_option("--output", options->output,
                  "Where the float32 matrix (tokens, padded vocabulary) goes; "
                  "- is stdout")
      ->type_name("FILE.npy")
      ->required();
  app->add_flag("--step", options->step,
                "Token by token through the decode path, not by prefill");
  AddExecutionOptions(*app, options->execution);
  app->add_flag("--quiet", options->quiet, "No progress bar");
  app->footer(
      "Example:\n"
      "  echo 73 110 32 116 104 101 | lcsm logits --tokens - --output l.npy");
  AddCommand(
      commands, app, [options] { return CheckExecution(options->execution); },
      [options] { return Answer(Run(*options)); });
}

}  // namespace lcsm::cli
