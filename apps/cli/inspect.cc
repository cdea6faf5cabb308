// lcsm inspect: what a model folder holds, and what running it will take.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/byte_text.h"
#include "base/cpu_info.h"
#include "command.h"
#include "io/safetensors.h"
#include "io/tokenizer.h"
#include "memory_rows.h"
#include "model_options.h"
#include "output.h"
#include "runtime/model.h"

namespace lcsm::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  ModelOption model;
  ExecutionOptions execution;
  size_t length = 0;  // 0: not asked.
  bool json = false;
};

// What both ways of printing show.
struct Report {
  std::string folder;
  ModelInfo info;
  std::string tokenizer;  // Its name, or why there is none.
  size_t tensors = 0;
  size_t tensor_bytes = 0;
  size_t file_bytes = 0;
  bool with_memory = false;
  size_t length = 0;
  size_t threads = 0;
  ModelMemory memory;
};

StatusOr<Report> Gather(const Options& options) {
  LCSM_ASSIGN_OR_RETURN(const LoadedModel loaded,
                        LoadNamedModel(options.model));
  Report report;
  report.folder = loaded.folder;
  report.info = loaded.model->info();
  LCSM_ASSIGN_OR_RETURN(const auto weights, io::WeightSet::Open(loaded.folder));
  report.tensors = weights->tensors().size();
  for (const io::TensorView& tensor : weights->tensors()) {
    report.tensor_bytes += tensor.bytes;
  }
  report.file_bytes = weights->file_bytes();
  const auto tokenizer = io::LoadTokenizer(loaded.folder, report.info.vocab);
  // A model without one is fine for `logits`, so this is no error here.
  report.tokenizer = tokenizer.ok()
                         ? std::string(tokenizer.value()->name())
                         : "none (" + tokenizer.status().message() + ")";
  if (options.length == 0) return report;

  if (options.length > report.info.max_length) {
    return InvalidInput(
        fmt::format("--length {}: expected at most {}, the length limit of {}",
                    options.length, report.info.max_length, loaded.folder));
  }
  LCSM_ASSIGN_OR_RETURN(const PrepareOptions prepare,
                        ToPrepareOptions(options.execution, options.length));
  report.with_memory = true;
  report.length = options.length;
  report.threads = options.execution.threads != 0 ? options.execution.threads
                                                  : GetCpuInfo().cpus;
  LCSM_ASSIGN_OR_RETURN(report.memory,
                        loaded.model->EstimateMemory(prepare, report.threads));
  return report;
}

std::string ToText(const Report& report) {
  const ModelInfo& info = report.info;
  Rows rows = {
      {"family", info.family},
      {"hash", info.hash},
      {"layers", fmt::format("{}", info.layers)},
      {"width", fmt::format("{}", info.width)},
      {"order", fmt::format("{}", info.order)},
      {"parameters", Digits(info.parameters)},
      {"longest sequence", Count(info.max_length, "position")},
      {"vocabulary",
       fmt::format("{} ids in {} columns", info.vocab, info.padded_vocab)},
      {"end of sequence",
       info.eos_id < 0 ? "none" : fmt::format("id {}", info.eos_id)},
      {"tokenizer", report.tokenizer},
      {"read by each step",
       fmt::format("{} of matrices, {}", ByteText(info.step_bytes),
                   info.weight_format)},
      {"tensors",
       fmt::format("{}, {} ({} of files)", report.tensors,
                   ByteText(report.tensor_bytes), ByteText(report.file_bytes))},
  };
  std::string text = Table(report.folder, rows);
  if (!info.details.empty()) text += "\n" + Table("details", info.details);
  if (report.with_memory) {
    text += "\n" + MemoryTables(fmt::format("memory of one sequence of {}",
                                            Count(report.length, "position")),
                                report.memory, report.threads);
    if (!report.memory.device.empty()) {
      text += fmt::format("\nplan: {}\n", report.memory.plan.Print());
    }
  }
  return text;
}

std::string ToJson(const Report& report) {
  const ModelInfo& info = report.info;
  Json json = {
      {"model", report.folder},
      {"family", info.family},
      {"model_hash", info.hash},
      {"layers", info.layers},
      {"width", info.width},
      {"order", info.order},
      {"parameters", info.parameters},
      {"max_length", info.max_length},
      {"vocab", info.vocab},
      {"padded_vocab", info.padded_vocab},
      {"eos_id", info.eos_id < 0 ? Json(nullptr) : Json(info.eos_id)},
      {"tokenizer", report.tokenizer},
      {"tensors", report.tensors},
      {"tensor_bytes", report.tensor_bytes},
      {"file_bytes", report.file_bytes},
      {"weight_bytes", info.weight_bytes},
      {"weight_format", info.weight_format},
      {"step_bytes", info.step_bytes},
  };
  Json details = Json::object();
  for (const auto& [label, value] : info.details) details[label] = value;
  json["details"] = details;
  if (report.with_memory) {
    json["length"] = report.length;
    json["threads"] = report.threads;
    AddMemoryJson(report.memory, json);
    if (!report.memory.device.empty()) {
      json["device"] = report.memory.device;
      json["plan"] = report.memory.plan.Print();
    }
  }
  // Names come from files: whatever is not UTF-8 is replaced, never thrown at.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Status Run(const Options& options) {
  LCSM_ASSIGN_OR_RETURN(const Report report, Gather(options));
  Output out;
  LCSM_RETURN_IF_ERROR(
      out.Write(options.json ? ToJson(report) : ToText(report)));
  return out.Flush();
}

}  // namespace

void AddInspect(App& root, Commands& commands) {
  auto options = std::make_shared<Options>();
  App app = root.add_subcommand(
      "inspect", "Show what a model is and the memory it will need");
  AddModelOption(*app, options->model);
  AddDeviceOption(*app, options->model);
  app->add_option("--length", options->length,
                  "Foretell the memory of a sequence of this many positions")
      ->type_name("L")
      ->check(WholeIn(1, UINT64_MAX));
  AddExecutionOptions(*app, options->execution);
  app->add_flag("--json", options->json, "JSON instead of a table");
  app->footer(
      "Example:\n"
      "  lcsm inspect --model kjv-bytes --length 8192");
  AddCommand(
      commands, app, [options] { return CheckExecution(options->execution); },
      [options] { return Answer(Run(*options)); });
}

}  // namespace lcsm::cli
