#include "bench/gpu_targets.h"

#include <fmt/format.h>

#include <algorithm>

namespace lcsm::bench {
namespace {

using nlohmann::ordered_json;

struct Target {
  const char* text;
  bool at_least;
  double aim;  // 0: none.
};

// The shape whose tokens a second are aimed at.
constexpr char kAimedAt[] = "hyenadna-large-1m";

constexpr Target kMixers = {"mixers against the better of lazy and eager", true,
                            110};
constexpr Target kPlanned = {"planned mixers against the hybrid", true, 1.5};
constexpr Target kEndToEnd = {"end to end against the better of lazy and eager",
                              true, 7.8};
constexpr Target kStep = {"a step over the same without mixers", false, 1.1};
constexpr Target kBandwidth = {"share of the memory's speed, on weights", true,
                               0.6};
constexpr Target kTokens = {"tokens a second", true, 10000};
constexpr Target kSerial = {"the same, one launch after another", true, 0};
constexpr Target kScored = {"seconds for a million tokens scored", false, 5};
constexpr Target kLaunches = {"launches a token", false, 0};
constexpr Target kLaunchShare = {"of a step, what its launches alone take",
                                 false, 0};
constexpr Target kIdle = {"device idle where the host waits for each step",
                          false, 0};

// Of a method's row; below zero: it has none.
double Seen(const Target& target, const ordered_json& row) {
  const auto value = [&row](const char* key) {
    return row.contains(key) ? double{row[key]} : -1.0;
  };
  if (&target == &kMixers || &target == &kEndToEnd) {
    return value("vs_better_of_lazy_and_eager");
  }
  if (&target == &kStep) {
    return std::max(value("worst_ratio"), value("amortised_ratio"));
  }
  if (&target == &kBandwidth) return value("share_of_copy");
  if (&target == &kLaunches) return value("launches_a_token");
  if (&target == &kLaunchShare) return value("launch_share");
  return value("idle_share");
}

std::string Where(const ordered_json& one) {
  const bool mixers = !one.contains("setting");
  return fmt::format("{} M {} D {} B {} L {}",
                     mixers ? "mixers" : std::string(one["setting"]),
                     size_t{one[mixers ? "mixers" : "layers"]},
                     size_t{one[mixers ? "channels" : "width"]},
                     size_t{one["batch"]}, size_t{one["length"]});
}

// `seen` below zero: it was not measured.
ordered_json RowOf(const Target& target, std::string where, double seen) {
  ordered_json row = {{"target", target.text}, {"where", std::move(where)}};
  if (target.aim != 0) {
    row["aim"] = target.aim;
    row["at"] = target.at_least ? "least" : "most";
  }
  if (seen < 0) {
    row["verdict"] = "not measured";
    return row;
  }
  const bool met = target.at_least ? seen >= target.aim : seen <= target.aim;
  row["seen"] = seen;
  row["verdict"] = target.aim == 0 ? "seen" : met ? "met" : "missed";
  return row;
}

// Of the fastest method: another one's step or launches are no merit of it.
void Add(const Target& target, const ordered_json& one, ordered_json* rows) {
  const ordered_json* best = nullptr;
  for (const auto& row : one["results"]) {
    if (Seen(target, row) < 0) continue;
    if (best == nullptr || row["seconds"] < (*best)["seconds"]) best = &row;
  }
  rows->push_back(
      RowOf(target, Where(one), best == nullptr ? -1 : Seen(target, *best)));
  if (best != nullptr) rows->back()["method"] = (*best)["method"];
}

// Both are seconds of the same sequence by our own kernels.
void AddPlanned(const ordered_json& one, ordered_json* rows) {
  double hybrid = 0, planned = 0;
  std::string method;
  for (const auto& row : one["results"]) {
    const std::string name = row["method"];
    if (!row.contains("seconds")) continue;
    const double seconds = row["seconds"];
    if (name == "hybrid") hybrid = seconds;
    if ((name == "planned" || name == "deferred") &&
        (planned == 0 || seconds < planned)) {
      planned = seconds;
      method = name;
    }
  }
  const bool there = hybrid > 0 && planned > 0;
  rows->push_back(RowOf(kPlanned, Where(one), there ? hybrid / planned : -1.0));
  if (there) rows->back()["method"] = method;
}

void AddModel(const ordered_json& one, ordered_json* rows) {
  const std::string shape = one["shape"];
  const bool overlaps = one["launches_overlap"];
  for (const auto& row : one["results"]) {
    const bool samples = row.contains("step_us_device_samples");
    const double us =
        row[samples ? "step_us_device_samples" : "step_us"]["median"];
    rows->push_back(RowOf(
        overlaps ? kTokens : kSerial,
        fmt::format("{} at {}", shape, size_t{row["position"]}), 1e6 / us));
  }
  if (one.contains("score_seconds") && one["score_tokens"] == 1000000) {
    rows->push_back(RowOf(kScored, shape, one["score_seconds"]));
  }
}

}  // namespace

ordered_json GpuTargets(const ordered_json& report) {
  ordered_json rows = ordered_json::array();
  for (const auto& one : report["mixers"]) Add(kMixers, one, &rows);
  for (const auto& one : report["mixers"]) AddPlanned(one, &rows);
  for (const auto& one : report["paper"]) Add(kEndToEnd, one, &rows);
  for (const auto& one : report["paper"]) {
    // What is asked of it: Hyena's gates and short FIRs stay.
    if (one["setting"] == "synthetic") Add(kStep, one, &rows);
  }
  for (const auto& one : report["paper"]) {
    if (one["batch"] == 1) Add(kBandwidth, one, &rows);
  }
  for (const auto& one : report["models"]) {
    if (one["shape"] == kAimedAt) AddModel(one, &rows);
  }
  for (const Target* const target : {&kLaunches, &kLaunchShare, &kIdle}) {
    for (const auto& one : report["paper"]) Add(*target, one, &rows);
  }
  return rows;
}

std::string PrintGpuTargets(const ordered_json& targets) {
  std::string text;
  for (const auto& row : targets) {
    const std::string aim =
        row.contains("aim")
            ? fmt::format("at {} {:.4g}", std::string(row["at"]),
                          double{row["aim"]})
            : "";
    const std::string seen =
        row.contains("seen") ? fmt::format("{:.4g}", double{row["seen"]}) : "-";
    text += fmt::format(
        "{:<48} {:<34} {:<13} {:>9}  {}{}\n", std::string(row["target"]),
        std::string(row["where"]), aim, seen, std::string(row["verdict"]),
        row.contains("method") ? ", " + std::string(row["method"]) : "");
  }
  return text;
}

}  // namespace lcsm::bench
