// How the subcommands of `lcsm bench` hand over what they measured: a table on
// stdout, and JSON and pictures in files.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "bench/model_bench.h"
#include "bench/timing.h"
#include "lcsm/status.h"
#include "option_parser.h"

namespace lcsm::cli {

using Json = nlohmann::ordered_json;

// --json
void AddJsonOption(App& app, std::string& file);

Json SpreadJson(const bench::Spread& spread);
Json StepJson(const bench::StepStatistics& ms);

struct JsonFile {
  std::string name;  // Empty: none is wanted.
  Json json;
};
// File names and what is to stand in them; empty names are left out.
using Pictures = std::vector<std::pair<std::string, std::string>>;

// In that order, so that a file that cannot be written does not take the
// measurement with it. Each file is written whole or not at all; the first
// error ends it.
Status TableThenFiles(const std::string& table, const JsonFile& json,
                      const Pictures& pictures);

}  // namespace lcsm::cli
