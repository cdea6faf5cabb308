// The options of `lcsm variants`.
#pragma once

#include "option_parser.h"

#include <optional>
#include <string>

#include "model_options.h"

namespace lcsm::cli {

struct VariantsArguments {
  ModelOption model;
  ExecutionOptions execution;
  std::string reference, vcf;
  size_t window = 0;  // 0: 8192, or what the model takes.
  std::string place = "middle";
  std::string strand = "forward";
  std::string on_mismatch = "error";
  bool no_share = false;
  std::string output = "-";
  std::string format = "tsv";
  bool comments = false;
  bool save_index = false;
  std::string stats;  // Empty: none.
  bool quiet = false;
};

void AddVariantsOptions(App& app, VariantsArguments& arguments);
// A sentence if the options contradict each other, empty if they do not.
std::string CheckArguments(const VariantsArguments& arguments);

// "middle", "7/8" or "0.875" as a number in [0, 1).
std::optional<double> ParsePlace(const std::string& text);

}  // namespace lcsm::cli
