// What the subcommands of studies share: lcsm bench mixers, bytes and links.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "bench/mixers_bench.h"
#include "bench/timing.h"
#include "conv/plan.h"
#include "lcsm/status.h"
#include "option_parser.h"
#include "progress.h"

namespace lcsm::cli {

using Json = nlohmann::ordered_json;

// --threads, --repeats, --json, --quiet.
struct StudyOptions {
  size_t threads = 1, repeats = 3;
  std::string json_file;
  bool quiet = false;
};
void AddStudyOptions(App& app, StudyOptions& options);

// The planner's, by what `lcsm plan --tune` left behind, if anything.
conv::PlanOptions StudyPlan(const StudyOptions& options);

// Moves the bar on, and goes on until Ctrl-C.
bench::Proceed WithProgress(Progress& bar);

Json SpreadJson(const bench::Spread& spread);
// "1.234 (1.200 .. 1.301)"
std::string SpreadText(const bench::Spread& spread);

// Widths of at least two cells each, the first left, the others right aligned.
std::string TableText(const std::vector<std::vector<std::string>>& rows);

// File names and what is to stand in them; empty names are left out.
using Pictures = std::vector<std::pair<std::string, std::string>>;
// Below every picture: CPU, threads, command.
std::string PictureNote(const StudyOptions& options, const char* command);
// Says how noisy the machine was, writes the files, whole or not at all, and
// prints the table.
Status FinishStudy(const StudyOptions& options, const bench::NoiseWatch& noise,
                   const std::string& table, Json json,
                   const Pictures& pictures);

}  // namespace lcsm::cli
