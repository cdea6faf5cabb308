// The options of `lcsm classify`.
#pragma once

#include "option_parser.h"

#include <cstddef>
#include <string>

#include "model_options.h"

namespace lcsm::cli {

struct ClassifyArguments {
  ModelOption model;
  ExecutionOptions execution;
  std::string input;
  std::string pooling = "usual";
  std::string special_tokens = "usual";
  size_t pad_to = 0;  // 0: not at all.
  std::string output = "-";
  bool comments = false;
  bool quiet = false;
};

void AddClassifyOptions(App& app, ClassifyArguments& arguments);

}  // namespace lcsm::cli
