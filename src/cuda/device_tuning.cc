#include "cuda/device_tuning.h"

#include <fmt/format.h>

#include <cctype>
#include <charconv>
#include <sstream>
#include <string_view>
#include <system_error>

#include "conv/tuning.h"
#include "io/atomic_file.h"
#include "kernels/lanes.h"
#include "lcsm/version.h"

namespace lcsm::cuda {
namespace {

constexpr const char* kMagic = "lcsm device tile costs 1";
// A table has some eighty lines of forty characters.
constexpr size_t kMaxBytes = size_t{1} << 20;

std::string Identity(const DeviceInfo& info) {
  return fmt::format(
      "device {}, capability {}.{}, {} multiprocessors, {} bytes\n"
      "software {}\nversion {}\n",
      info.name, info.major, info.minor, info.multiprocessors,
      info.memory_bytes, info.software, LCSM_VERSION);
}

std::pair<size_t, size_t> KeyOf(const conv::Problem& problem) {
  return {problem.mixers * GroupsFor(problem.channels), problem.batch};
}

// "filters F rows B" with nothing before, between or behind.
bool ParseKey(std::string_view line, std::pair<size_t, size_t>* key) {
  const auto number = [&line](std::string_view label, size_t* out) {
    if (!line.starts_with(label)) return false;
    line.remove_prefix(label.size());
    const auto [rest, error] =
        std::from_chars(line.data(), line.data() + line.size(), *out);
    line.remove_prefix(static_cast<size_t>(rest - line.data()));
    return error == std::errc() && *out != 0;
  };
  return number("filters ", &key->first) && number(" rows ", &key->second) &&
         line.empty();
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
  std::string text = fmt::format("{}\n{}", kMagic, Identity(info));
  for (const auto& [key, costs] : tables_) {
    text += fmt::format("filters {} rows {}\n{}", key.first, key.second,
                        costs.Print());
  }
  // A file that was cut short lacks it.
  return text + "end\n";
}

StatusOr<DeviceTuning> DeviceTuning::Parse(const std::string& text,
                                           const std::string& name,
                                           const DeviceInfo& info) {
  const std::string magic = fmt::format("{}\n", kMagic);
  if (!text.starts_with(magic)) {
    return InvalidInput(fmt::format(
        "{} is no table of a device's tile costs of this version", name));
  }
  const std::string head = magic + Identity(info);
  if (!text.starts_with(head)) {
    return InvalidInput(fmt::format(
        "{} was measured on another device, or with another driver, runtime or "
        "version",
        name));
  }
  const auto damaged = [&name] {
    return InvalidInput(fmt::format("{} is damaged", name));
  };
  std::istringstream lines(text.substr(head.size()));
  DeviceTuning tuning;
  std::pair<size_t, size_t> key = {};
  std::string line, table;
  const auto finish = [&] {
    if (key.first == 0) return table.empty();
    auto costs = conv::TileCosts::Parse(table);
    if (!costs.ok()) return false;
    table.clear();
    // Twice the same table is nothing that Print writes.
    return tuning.tables_.emplace(key, std::move(costs).value()).second;
  };
  bool ended = false;
  while (std::getline(lines, line)) {
    if (ended) return damaged();
    if (line == "end") {
      ended = true;
    } else if (line.starts_with("filters ")) {
      if (!finish() || !ParseKey(line, &key)) return damaged();
    } else {
      table += line + "\n";
    }
  }
  if (!ended || !finish()) return damaged();
  return tuning;
}

StatusOr<DeviceTuning> DeviceTuning::Load(const std::filesystem::path& path,
                                          const DeviceInfo& info) {
  LCSM_ASSIGN_OR_RETURN(const std::string text, io::ReadFile(path, kMaxBytes));
  return Parse(text, path.string(), info);
}

Status DeviceTuning::Save(const std::filesystem::path& path,
                          const DeviceInfo& info) const {
  std::error_code error;
  if (path.has_parent_path()) {
    std::filesystem::create_directories(path.parent_path(), error);
  }
  if (error) {
    return InvalidInput(fmt::format("{}: the folder cannot be made ({})",
                                    path.parent_path().string(),
                                    error.message()));
  }
  return io::WriteFileAtomically(path, Print(info));
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
  if (tuning.ok()) tuning_ = std::move(tuning).value();
}

conv::TileCosts DeviceCosts::For(const conv::Problem& problem, TilesFor use,
                                 bool measure) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Read();
  conv::TileCosts costs = tuning_.For(problem);
  if (!measure) return costs;
  const std::string before = costs.Print();
  if (!MeasureDeviceCosts(device_, problem, use, limits_, &costs).ok()) {
    return tuning_.For(problem);
  }
  if (costs.Print() == before) return costs;
  tuning_.Set(problem, costs);
  if (!file_.empty()) {
    // Another process may have added to it meanwhile. Where it cannot be
    // written, the next run measures again.
    auto now = DeviceTuning::Load(file_, device_->info());
    if (now.ok()) {
      now->Set(problem, costs);
      tuning_ = std::move(now).value();
    }
    (void)tuning_.Save(file_, device_->info());
  }
  return costs;
}

}  // namespace lcsm::cuda
