// The options of `lcsm score`.
#pragma once

#include "option_parser.h"

#include <cstddef>
#include <string>

#include "model_options.h"

namespace lcsm::cli {

struct ScoreArguments {
  ModelOption model;
  ExecutionOptions execution;

  std::string input;
  std::string regions;  // Empty: whole records.
  std::string strand = "forward";
  size_t window = 0;  // 0: whole sequences only.
  size_t stride = 0;  // 0: half the window.

  std::string output = "-";
  std::string per_token;  // Empty: none.
  std::string reduce = "mean";
  std::string format = "tsv";
  bool comments = false;
  bool quiet = false;
};

void AddScoreOptions(App& app, ScoreArguments& arguments);

// A sentence if the options contradict each other, empty if they do not.
std::string CheckArguments(const ScoreArguments& arguments);

}  // namespace lcsm::cli
