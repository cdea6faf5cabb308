#include "bench_output.h"

#include "io/atomic_file.h"
#include "output.h"

namespace lcsm::cli {
namespace {

Status WriteFiles(const JsonFile& json, const Pictures& pictures) {
  if (!json.name.empty()) {
    LCSM_RETURN_IF_ERROR(
        io::WriteFileAtomically(json.name, json.json.dump(2) + "\n"));
  }
  for (const auto& [file, svg] : pictures) {
    if (file.empty()) continue;
    LCSM_RETURN_IF_ERROR(io::WriteFileAtomically(file, svg));
  }
  return OkStatus();
}

Status PrintTable(const std::string& table) {
  Output out;
  LCSM_RETURN_IF_ERROR(out.Write(table));
  return out.Flush();
}

}  // namespace

void AddJsonOption(App& app, std::string& file) {
  app.add_option("--json", file, "write the results to FILE")
      ->type_name("FILE");
}

Json SpreadJson(const bench::Spread& spread) {
  return {{"median", spread.median}, {"min", spread.min}, {"max", spread.max}};
}

Json StepJson(const bench::StepStatistics& ms) {
  return {{"mean", ms.mean},
          {"p50", ms.p50},
          {"p99", ms.p99},
          {"p99_9", ms.p99_9},
          {"max", ms.max}};
}

Status TableThenFiles(const std::string& table, const JsonFile& json,
                      const Pictures& pictures) {
  LCSM_RETURN_IF_ERROR(PrintTable(table));
  return WriteFiles(json, pictures);
}

}  // namespace lcsm::cli
