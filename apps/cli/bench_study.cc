#include "bench_study.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "base/cpu_info.h"
#include "base/thread_pool.h"
#include "bench/machine.h"
#include "interrupt.h"
#include "model_options.h"
#include "terminal.h"

namespace lcsm::cli {

void AddStudyOptions(App& app, StudyOptions& options) {
  app->add_option("--threads", options.threads, "threads")
      ->check(WholeIn(1, ThreadPool::kMaxThreads))
      ->capture_default_str();
  app->add_option("--repeats", options.repeats, "runs of each case")
      ->check(WholeIn(1, 1000))
      ->capture_default_str();
  AddJsonOption(*app, options.json_file);
  app->add_flag("--quiet", options.quiet, "no notes and no progress");
}

conv::PlanOptions StudyPlan(const StudyOptions& options) {
  conv::PlanOptions plan;
  plan.method = conv::Method::kPlanned;
  plan.threads = options.threads;
  plan.tuning = LoadTuning();
  return plan;
}

bench::Proceed WithProgress(Progress& bar) {
  return [&bar](double done) {
    bar.Update(done);
    return !Interrupted();
  };
}

std::string SpreadText(const bench::Spread& spread) {
  return fmt::format("{:.3f} ({:.3f} .. {:.3f})", spread.median, spread.min,
                     spread.max);
}

std::string TableText(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  std::string text;
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      text += i == 0 ? fmt::format("{:<{}}", row[i], widths[i])
                     : fmt::format("  {:>{}}", row[i], widths[i]);
    }
    text += '\n';
  }
  return text;
}

std::string PictureNote(const StudyOptions& options, const char* command) {
  return fmt::format("{}, {}, {} thread(s), {}; medians of {}",
                     GetCpuInfo().model, SimdTarget(), options.threads, command,
                     options.repeats);
}

Status FinishStudy(const StudyOptions& options, const bench::NoiseWatch& noise,
                   const std::string& table, const Json& json,
                   const Pictures& pictures) {
  if (!options.quiet) Say("{}\n", noise.Report());
  Json whole = {{"machine", bench::MachineJson()},
                {"threads", options.threads},
                {"repeats", options.repeats}};
  whole.update(json);
  return TableThenFiles(table, {options.json_file, std::move(whole)}, pictures);
}

}  // namespace lcsm::cli
