// The options of `lcsm generate`.
#pragma once

#include "option_parser.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "model_options.h"

namespace lcsm::cli {

struct GenerateArguments {
  ModelOption model;
  ExecutionOptions execution;

  // At most one of the four; none means the model's own default.
  std::optional<std::string> prompt;
  std::optional<std::string> prompt_file;
  std::optional<std::string> prompt_tokens;
  std::optional<std::string> prompt_fasta;
  bool fold_case = false;

  size_t max_new_tokens = 256;
  std::vector<std::string> stop;
  bool stop_at_eos = false;

  double temperature = 1.0;
  size_t top_k = 0;
  double top_p = 1.0;
  double min_p = 0.0;
  // Without --seed one is drawn, and told in the summary, stats and records.
  std::optional<uint64_t> seed;
  std::optional<std::string> allow;
  size_t num_samples = 1;
  // Samples side by side at most. Eight share a pass over the weights at little
  // more than the price of one; more gain little where products set the pace.
  size_t batch = 8;

  std::string format = "text";
  bool logprobs = false;
  std::optional<std::string> stats;
  std::optional<std::string> save_session;
  size_t save_every = 0;  // Tokens; 0: at the end only.
  std::optional<std::string> resume;
  // The options that were on the command line, for what --resume may not
  // contradict.
  std::set<std::string> given;
  bool dry_run = false;
  bool quiet = false;
};

void AddGenerateOptions(App& app, GenerateArguments& arguments);

// A sentence if the options contradict each other, empty if they do not.
std::string CheckArguments(const GenerateArguments& arguments);

}  // namespace lcsm::cli
