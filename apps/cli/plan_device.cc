#include "plan_device.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "bench/gpu_plan.h"
#include "bench/machine.h"
#include "cuda/device_plan.h"
#include "cuda/hyena_device_model.h"
#include "memory_rows.h"
#include "model_options.h"
#include "plan_report.h"

namespace lcsm::cli {
namespace {

using Json = nlohmann::ordered_json;

StatusOr<DevicePlan> Described(ModelMemory memory,
                               const std::shared_ptr<cuda::Device>& device,
                               bool measure) {
  DevicePlan made;
  made.memory = std::move(memory);
  conv::Plan own = made.memory.plan;
  own.problem = made.memory.tile_costs->problem;
  // Devices keep the spectra of every level.
  for (conv::Level& level : own.levels) level.spectra = conv::Spectra::kKept;
  made.report = bench::DescribePlan(own, made.memory.tile_costs->all);
  if (measure) {
    LCSM_RETURN_IF_ERROR(bench::MeasureDevicePlan(device, own, made.report));
  }
  return made;
}

// What a level's cost is foretold by: its tile as it was measured, an estimate
// scaled as that was wrong elsewhere, or the bare estimate.
const char* Source(const DeviceTileCosts& costs, const conv::Level& level) {
  if (!costs.measured.measured()) return "estimated";
  const bool many = level.tau == conv::Tau::kFftFused &&
                    conv::SlotsOf(costs.problem, level) != 0;
  return costs.measured.Has(level.tau, level.block, many) ? "measured"
                                                          : "scaled";
}

std::string SourcesText(const DevicePlan& made) {
  const DeviceTileCosts& costs = *made.memory.tile_costs;
  if (!costs.measured.measured()) {
    return "predicted from estimates (--tune measures tiles there)";
  }
  std::string text = "predicted from tiles measured there";
  if (!costs.file.empty()) text += fmt::format(", kept in {}", costs.file);
  const bool scaled = std::any_of(
      made.report.levels.begin(), made.report.levels.end(),
      [&costs](const bench::LevelReport& row) {
        return std::string_view(Source(costs, row.level)) == "scaled";
      });
  if (scaled) {
    text +=
        "\n('scaled': was not, and is an estimate as wrong as at the nearest "
        "that was)";
  }
  return text;
}

}  // namespace

StatusOr<DevicePlan> PlanModelOnDevice(const Model& model,
                                       const PrepareOptions& prepare,
                                       const DevicePlanWork& work) {
  if (work.tune) LCSM_RETURN_IF_ERROR(cuda::MeasureTilesAnew(model, prepare));
  LCSM_ASSIGN_OR_RETURN(ModelMemory memory, model.EstimateMemory(prepare, 1));
  return Described(std::move(memory), cuda::DevicesOf(model).front(),
                   work.measure);
}

StatusOr<DevicePlan> PlanConvolutionOnDevice(cuda::DeviceCosts& costs,
                                             const conv::Problem& problem,
                                             const PrepareOptions& prepare,
                                             const DevicePlanWork& work) {
  if (work.tune) {
    LCSM_RETURN_IF_ERROR(
        costs.MeasureAnew(problem, cuda::TilesOf(prepare.plan)));
  }
  LCSM_ASSIGN_OR_RETURN(ModelMemory memory,
                        cuda::OutlineConvolution(costs, problem, prepare));
  return Described(std::move(memory), costs.device(), work.measure);
}

std::string DevicePlanText(const DevicePlan& made) {
  const ModelMemory& memory = made.memory;
  std::string where = memory.device;
  for (const ModelMemory& rank : memory.ranks) {
    where = &rank == &memory.ranks.front() ? rank.device
                                           : where + ", " + rank.device;
  }
  std::string text =
      fmt::format("{}, on {}\n{}\n\n", ProblemText(memory.plan.problem), where,
                  memory.plan.Print());
  const bench::PlanReport& report = made.report;
  text +=
      fmt::format("{:>9} {:>5}  {:<10} {:<14} {:>10} {:>10}  {}\n", "block",
                  "radix", "serves", "tau", "predicted", "measured", "tiles");
  for (const bench::LevelReport& row : report.levels) {
    text += fmt::format("{:>9} {:>5}  {:<10} {:<14} {:>10} {:>10}  {}\n",
                        row.level.block, RadixText(row.level),
                        ServesName(row.level.serves), conv::Name(row.level.tau),
                        NsText(row.predicted_ns), NsText(row.measured_ns),
                        Source(*memory.tile_costs, row.level));
  }
  text += TotalsText(report) + "\n";
  text += fmt::format(
      "Times are ns a position {}, on average over the sequence;\n{}. Blocks "
      "of 1 and 2 ride with the red cells.\n",
      memory.ranks.empty()
          ? "for all channels"
          : fmt::format("of the GPU with the most channels ({})",
                        memory.tile_costs->problem.channels),
      SourcesText(made));
  text += CheckedText(report);
  text += "\n";
  return text + MemoryTables(
                    fmt::format("memory of one sequence of {}",
                                Count(memory.plan.problem.length, "position")),
                    memory, 1);
}

std::string DevicePlanJson(const DevicePlan& made) {
  const ModelMemory& memory = made.memory;
  const DeviceTileCosts& costs = *memory.tile_costs;
  const bench::PlanReport& report = made.report;
  Json levels = Json::array();
  for (const bench::LevelReport& row : report.levels) {
    levels.push_back({{"block", row.level.block},
                      {"radix", row.level.radix},
                      {"serves", ServesName(row.level.serves)},
                      {"tau", conv::Name(row.level.tau)},
                      {"predicted_ns", row.predicted_ns},
                      {"measured_ns", NsJson(row.measured_ns)},
                      {"tiles", Source(costs, row.level)}});
  }
  Json json = {
      {"machine", bench::MachineJson()},
      {"device", memory.device},
      {"problem", ProblemJson(memory.plan.problem)},
      {"tuned", costs.measured.measured()},
      {"costs_file", costs.file.empty() ? Json(nullptr) : Json(costs.file)},
      {"plan", memory.plan.Print()},
      {"levels", levels},
      {"levels_channels", costs.problem.channels},
      {"red_cells_ns", NsJson(report.red_ns)},
      {"predicted_ns", report.predicted_ns},
      {"measured_ns", NsJson(report.measured_ns)},
      {"max_relative_error", NsJson(report.error)}};
  AddMemoryJson(memory, json);
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace lcsm::cli
