#include "cuda/device_tuning.h"

#include <fmt/format.h>

#include <cctype>
#include <string>
#include <utility>
#include <vector>

#include "base/byte_text.h"
#include "conv/tuning.h"
#include "kernels/lanes.h"
#include "lcsm/version.h"

namespace lcsm::cuda {
namespace {

conv::CostFile FileOf(const DeviceInfo& info) {
  return {.kind = "lcsm device tile costs 1",
          .identity = fmt::format(
              "device {}, capability {}.{}, {} multiprocessors, {} bytes\n"
              "software {}\nversion {}\n",
              info.name, info.major, info.minor, info.multiprocessors,
              info.memory_bytes, info.software, LCSM_VERSION),
          .counts = {"filters", "rows"},
          .other_kind = "is no table of a device's tile costs of this version",
          .other_identity =
              "was measured on another device, or with another "
              "driver, runtime or version"};
}

std::vector<size_t> KeyOf(const conv::Problem& problem) {
  return {problem.mixers * GroupsFor(problem.channels), problem.batch};
}

}  // namespace

conv::TileCosts DeviceTuning::For(const conv::Problem& problem) const {
  const auto entry = tables_.find(KeyOf(problem));
  return entry == tables_.end() ? conv::TileCosts() : entry->second;
}

void DeviceTuning::Set(const conv::Problem& problem, conv::TileCosts costs) {
  tables_[KeyOf(problem)] = std::move(costs);
}

std::string DeviceTuning::Print(const DeviceInfo& info) const {
  return conv::PrintCostTables(FileOf(info), tables_);
}

StatusOr<DeviceTuning> DeviceTuning::Parse(const std::string& text,
                                           const std::string& name,
                                           const DeviceInfo& info) {
  DeviceTuning tuning;
  LCSM_ASSIGN_OR_RETURN(tuning.tables_,
                        conv::ParseCostTables(FileOf(info), text, name));
  return tuning;
}

StatusOr<DeviceTuning> DeviceTuning::Load(const std::filesystem::path& path,
                                          const DeviceInfo& info) {
  DeviceTuning tuning;
  LCSM_ASSIGN_OR_RETURN(tuning.tables_,
                        conv::LoadCostTables(FileOf(info), path));
  return tuning;
}

Status DeviceTuning::Save(const std::filesystem::path& path,
                          const DeviceInfo& info) const {
  return conv::SaveCostTables(FileOf(info), tables_, path);
}

std::filesystem::path DefaultTuningPath(const DeviceInfo& info) {
  const std::filesystem::path host = conv::DefaultTuningPath();
  if (host.empty()) return {};
  std::string name = info.name;
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '-';
  }
  return host.parent_path() / ("tiles-" + name + ".txt");
}

DeviceCosts::DeviceCosts(std::shared_ptr<Device> device,
                         std::filesystem::path file,
                         const MeasureLimits& limits)
    : device_(std::move(device)), file_(std::move(file)), limits_(limits) {}

void DeviceCosts::Read() {
  if (read_ || file_.empty()) return;
  read_ = true;
  // One that is not there, or not to be believed, is measured anew.
  auto tuning = DeviceTuning::Load(file_, device_->info());
  if (!tuning.ok()) return;
  tuning_ = std::move(tuning).value();
  kept_ = true;
}

std::filesystem::path DeviceCosts::KeptIn() {
  const std::lock_guard<std::mutex> lock(mutex_);
  Read();
  return kept_ ? file_ : std::filesystem::path();
}

Status DeviceCosts::Keep(const conv::Problem& problem, conv::TileCosts costs) {
  // Another process may have added to it meanwhile.
  auto now = DeviceTuning::Load(file_, device_->info());
  if (now.ok()) tuning_ = std::move(now).value();
  tuning_.Set(problem, std::move(costs));
  const Status saved = tuning_.Save(file_, device_->info());
  kept_ = saved.ok();
  return saved;
}

Status DeviceCosts::MeasureAnew(const conv::Problem& problem, TilesFor use) {
  if (file_.empty()) {
    return InvalidInput(fmt::format(
        "neither XDG_CACHE_HOME nor HOME says where measurements of {} go",
        device_->info().label));
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  Read();
  conv::TileCosts costs;
  LCSM_RETURN_IF_ERROR(
      MeasureDeviceCosts(device_, problem, use, limits_, &costs));
  if (!costs.measured()) {
    LCSM_ASSIGN_OR_RETURN(const size_t left, device_->FreeBytes());
    return ResourceExhausted(
        fmt::format("no tile could be measured on {}, where {} are free",
                    device_->info().label, ByteText(left)));
  }
  return Keep(problem, std::move(costs));
}

conv::TileCosts DeviceCosts::For(const conv::Problem& problem, TilesFor use,
                                 bool measure) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Read();
  conv::TileCosts costs = tuning_.For(problem);
  if (!measure) return costs;
  const conv::TileCosts before = costs;
  if (!MeasureDeviceCosts(device_, problem, use, limits_, &costs).ok()) {
    return tuning_.For(problem);
  }
  if (costs == before) return costs;
  if (file_.empty()) {
    tuning_.Set(problem, costs);
  } else {
    // Where it cannot be written, the next run measures again.
    (void)Keep(problem, costs);
  }
  return costs;
}

}  // namespace lcsm::cuda
