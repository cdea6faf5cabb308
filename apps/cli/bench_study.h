// What the subcommands of studies share: lcsm bench mixers, bytes and links.
#pragma once

#include <string>
#include <vector>

#include "bench/mixers_bench.h"
#include "bench/timing.h"
#include "bench_output.h"
#include "conv/plan.h"
#include "lcsm/status.h"
#include "option_parser.h"
#include "progress.h"

namespace lcsm::cli {

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

// "1.234 (1.200 .. 1.301)"
std::string SpreadText(const bench::Spread& spread);

// Widths of at least two cells each, the first left, the others right aligned.
std::string TableText(const std::vector<std::vector<std::string>>& rows);

// Below every picture: CPU, threads, command.
std::string PictureNote(const StudyOptions& options, const char* command);
// Says how noisy the machine was; then as FilesThenTable. `json` is what comes
// behind machine, threads and repeats.
Status FinishStudy(const StudyOptions& options, const bench::NoiseWatch& noise,
                   const std::string& table, const Json& json,
                   const Pictures& pictures);

}  // namespace lcsm::cli
