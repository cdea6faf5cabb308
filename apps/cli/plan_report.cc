#include "plan_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/byte_text.h"
#include "base/cpu_info.h"
#include "bench/machine.h"
#include "model_options.h"

namespace lcsm::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string Marks(conv::Spectra spectra) {
  switch (spectra) {
    case conv::Spectra::kKept:
      return "";
    case conv::Spectra::kRemade:
      return "*";
    case conv::Spectra::kEvaluated:
      return "**";
  }
  return "?";
}

std::string Legend(const conv::Plan& plan) {
  const bool any = std::any_of(plan.levels.begin(), plan.levels.end(),
                               [](const conv::Level& level) {
                                 return level.spectra != conv::Spectra::kKept;
                               });
  if (!any) return "";
  return "*: spectra are made anew for each tile; **: and so are the taps that "
         "they are made of.\n";
}

// Where a level's data comes from when it is met again.
std::string Home(double bytes) {
  const CpuInfo cpu = GetCpuInfo();
  const auto fits = [bytes](size_t cache) {
    return cache != 0 && bytes <= 0.75 * static_cast<double>(cache);
  };
  if (fits(cpu.l1d_bytes)) return "L1";
  if (fits(cpu.l2_bytes)) return "L2";
  if (fits(cpu.l3_bytes)) return "L3";
  return "memory";
}

}  // namespace

const char* ServesName(conv::Serves serves) {
  switch (serves) {
    case conv::Serves::kSiblings:
      return "siblings";
    case conv::Serves::kNeighbours:
      return "neighbours";
    case conv::Serves::kDistant:
      return "deferred";
  }
  return "?";
}

std::string RadixText(const conv::Level& level) {
  return level.radix == conv::Level::kToTheEnd ? "-"
                                               : std::to_string(level.radix);
}

std::string NsText(double ns) {
  return ns < 0 ? "-" : fmt::format("{:.0f}", ns);
}

nlohmann::ordered_json NsJson(double ns) {
  return ns < 0 ? Json(nullptr) : Json(ns);
}

std::string ProblemText(const conv::Problem& problem) {
  return fmt::format(
      "{} of {}, {} of {}, {}", Count(problem.mixers, "mixer"),
      Count(problem.channels, "channel"), Count(problem.batch, "row"),
      Count(problem.length, "position"), Count(problem.taps, "tap"));
}

nlohmann::ordered_json ProblemJson(const conv::Problem& problem) {
  return {{"mixers", problem.mixers},
          {"channels", problem.channels},
          {"batch", problem.batch},
          {"length", problem.length},
          {"taps", problem.taps}};
}

std::string TotalsText(const bench::PlanReport& report) {
  return fmt::format("{:>9} {:>5}  {:<10} {:<14} {:>10} {:>10}\n", "1", "-",
                     "red cells", "", "-", NsText(report.red_ns)) +
         fmt::format("{:>9} {:>5}  {:<10} {:<14} {:>10} {:>10}\n", "all", "",
                     "", "", NsText(report.predicted_ns),
                     NsText(report.measured_ns));
}

std::string CheckedText(const bench::PlanReport& report) {
  if (report.error < 0) return "";
  return fmt::format(
      "Answers were checked against float64: off by {:.1e} of max |y|.\n",
      report.error);
}

std::string PlanText(const MadePlan& made, const bench::PlanReport& report) {
  std::string text =
      fmt::format("{}, {}\n{}\n\n", ProblemText(made.plan.problem),
                  Count(made.threads, "thread"), made.plan.Print());
  text += fmt::format(
      "{:>9} {:>5}  {:<10} {:<14} {:>10} {:>10} {:>8} {:>8} {:>8} {:>7} "
      "{:>6} {:>10}\n",
      "block", "radix", "serves", "tau", "predicted", "measured", "flops",
      "bytes", "GFLOP/s", "GB/s", "from", "MiB");
  for (const bench::LevelReport& row : report.levels) {
    const double ns = row.measured_ns > 0 ? row.measured_ns : row.predicted_ns;
    text += fmt::format(
        "{:>9} {:>5}  {:<10} {:<14} {:>10} {:>10} {:>8.0f} {:>8.0f} {:>8.1f} "
        "{:>7.1f} {:>6} {:>10.1f}\n",
        row.level.block, RadixText(row.level), ServesName(row.level.serves),
        conv::Name(row.level.tau) + Marks(row.level.spectra),
        NsText(row.predicted_ns), NsText(row.measured_ns), row.flops, row.bytes,
        ns > 0 ? row.flops / ns : 0, ns > 0 ? row.bytes / ns : 0,
        Home(row.working_set), static_cast<double>(row.memory) / 0x1p20);
  }
  text += TotalsText(report);
  const conv::MemoryEstimate bytes = made.plan.Memory(made.threads);
  text += fmt::format(
      "\nTimes are ns a position for all channels, on average over the "
      "sequence; {}.\nBlocks of 1 and 2 ride with the red cells. GFLOP/s and "
      "GB/s are of the {} times;\n'from' is the cache that a level's data "
      "comes "
      "back from.\n",
      made.tuned ? "predicted from tiles measured on one thread of this machine"
                 : "predicted from estimates (--tune measures)",
      report.measured_ns > 0 ? "measured" : "predicted");
  text += Legend(made.plan);
  text += CheckedText(report);
  text += fmt::format(
      "\nmemory: {} (taps {}, spectra {}, histories {}, kept blocks {}, "
      "scratch {})\n",
      ByteText(bytes.Total()), ByteText(bytes.taps), ByteText(bytes.spectra),
      ByteText(bytes.histories), ByteText(bytes.blocks),
      ByteText(bytes.scratch));
  if (!made.schedule.empty()) {
    text += "\nThe table is of group 0.\n\n" + made.schedule;
  }
  return text;
}

std::string PlanJson(const MadePlan& made, const bench::PlanReport& report) {
  Json levels = Json::array();
  for (const bench::LevelReport& row : report.levels) {
    levels.push_back(
        {{"block", row.level.block},
         {"radix", row.level.radix},
         {"serves", ServesName(row.level.serves)},
         {"tau", conv::Name(row.level.tau)},
         {"remade", row.level.spectra != conv::Spectra::kKept},
         {"evaluated", row.level.spectra == conv::Spectra::kEvaluated},
         {"predicted_ns", row.predicted_ns},
         {"measured_ns", NsJson(row.measured_ns)},
         {"flops", row.flops},
         {"bytes", row.bytes},
         {"from", Home(row.working_set)},
         {"memory_bytes", row.memory}});
  }
  const conv::MemoryEstimate bytes = made.plan.Memory(made.threads);
  Json json = {{"machine", bench::MachineJson()},
               {"problem", ProblemJson(made.plan.problem)},
               {"threads", made.threads},
               {"tuned", made.tuned},
               {"plan", made.plan.Print()},
               {"levels", levels},
               {"red_cells_ns", NsJson(report.red_ns)},
               {"predicted_ns", report.predicted_ns},
               {"measured_ns", NsJson(report.measured_ns)},
               {"max_relative_error", NsJson(report.error)},
               {"memory_bytes",
                {{"taps", bytes.taps},
                 {"spectra", bytes.spectra},
                 {"histories", bytes.histories},
                 {"blocks", bytes.blocks},
                 {"scratch", bytes.scratch},
                 {"total", bytes.Total()}}}};
  if (!made.schedule.empty()) json["schedule"] = made.schedule;
  return json.dump(2) + "\n";
}

std::string NothingPlanned(const MadePlan& made, bool json) {
  if (!json) return made.schedule;
  return Json({{"machine", bench::MachineJson()}, {"schedule", made.schedule}})
             .dump(2) +
         "\n";
}

}  // namespace lcsm::cli
