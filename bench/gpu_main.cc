// What bench/gpu.sh measures with: mixers, the paper's whole models and others
// on one device, as JSON and pictures, and at the end what was aimed at and
// what was seen.
//
//   lcsm_gpu_bench OUTPUT_FOLDER [--device cuda:N] [--quick] [--seconds S]
//
// Cases come in order of importance, and none begins when S seconds have gone
// by. Every case is written as soon as it is there, so a run that is cut short
// leaves what it has. Answers are checked before they are timed; a wrong one is
// in the file's notes, and the exit code is then 1.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>

#include "bench/gpu_mixers.h"
#include "bench/gpu_model.h"
#include "bench/gpu_paper.h"
#include "bench/gpu_targets.h"
#include "bench/machine.h"
#include "bench/timing.h"
#include "cuda/device.h"
#include "io/atomic_file.h"

namespace {

using lcsm::bench::GpuCosts;
using lcsm::bench::GpuMixerCase;
using lcsm::bench::GpuModelCase;
using lcsm::bench::GpuPaperCase;
using lcsm::bench::PaperSetting;
using nlohmann::ordered_json;

struct Arguments {
  std::filesystem::path folder;
  std::string device = "cuda:0";
  bool quick = false;
  double seconds = 420;
};

bool Parse(int argc, char** argv, Arguments* out) {
  for (int k = 1; k < argc; ++k) {
    const std::string word = argv[k];
    if (word == "--quick") {
      out->quick = true;
    } else if (word == "--device" && k + 1 < argc) {
      out->device = argv[++k];
    } else if (word == "--seconds" && k + 1 < argc) {
      out->seconds = std::atof(argv[++k]);
    } else if (out->folder.empty() && word[0] != '-') {
      out->folder = word;
    } else {
      return false;
    }
  }
  return !out->folder.empty();
}

class Report {
 public:
  Report(std::filesystem::path folder, const lcsm::cuda::DeviceInfo& info)
      : folder_(std::move(folder)) {
    json_["machine"] = lcsm::bench::MachineJson();
    json_["device"] = {
        {"name", info.name},
        {"capability", fmt::format("{}.{}", info.major, info.minor)},
        {"multiprocessors", info.multiprocessors},
        {"memory_bytes", info.memory_bytes},
        {"l2_bytes", info.l2_bytes}};
    json_["mixers"] = ordered_json::array();
    json_["paper"] = ordered_json::array();
    json_["models"] = ordered_json::array();
    json_["notes"] = ordered_json::array();
  }
  ordered_json& json() { return json_; }
  void Write(const std::string& name, const std::string& text) {
    const lcsm::Status status =
        lcsm::io::WriteFileAtomically(folder_ / name, text);
    if (!status.ok()) {
      fmt::print(stderr, "lcsm_gpu_bench: {}\n", status.message());
      failed_ = true;
    }
  }
  void Save() {
    json_["targets"] = lcsm::bench::GpuTargets(json_);
    Write("gpu.json", json_.dump(1) + "\n");
  }
  bool failed_ = false;

 private:
  const std::filesystem::path folder_;
  ordered_json json_;
};

// Prints the notes; a wrong answer makes the run one that failed.
void TellNotes(const ordered_json& result, Report& report) {
  for (const auto& note : result["notes"]) {
    const std::string text = note;
    fmt::print("  note: {}\n", text);
    if (text.find("wrong") != std::string::npos) report.failed_ = true;
  }
}

std::string Versus(const ordered_json& row) {
  return row.contains("vs_better_of_lazy_and_eager")
             ? fmt::format("{:.1f}x",
                           double{row["vs_better_of_lazy_and_eager"]})
             : "baseline";
}

void Mixers(GpuCosts& costs, const GpuMixerCase& wanted, Report& report) {
  const std::string title =
      fmt::format("M {} D {} B {} L {}", wanted.mixers, wanted.channels,
                  wanted.batch, wanted.length);
  fmt::print("mixers, {}\n", title);
  ordered_json result = lcsm::bench::MeasureGpuMixers(costs, wanted);
  for (const auto& row : result["results"]) {
    fmt::print("  {:<16} {:>10.4f} s{} {:>8.3f} ns a token and channel, {}\n",
               std::string(row["method"]), double{row["seconds"]},
               row["sampled"] ? " (sampled)" : "",
               double{row["ns_per_token_channel"]}, Versus(row));
  }
  TellNotes(result, report);
  report.Write(fmt::format("mixers-{}-{}-{}-{}.svg", wanted.mixers,
                           wanted.channels, wanted.batch, wanted.length),
               lcsm::bench::GpuMixerSvg(
                   result, title + ", " + costs.device()->info().name));
  report.json()["mixers"].push_back(std::move(result));
  report.Save();
  std::fflush(stdout);
}

void Paper(GpuCosts& costs, const GpuPaperCase& wanted, Report& report) {
  const char* const setting =
      wanted.setting == PaperSetting::kSynthetic ? "synthetic" : "hyena";
  const std::string title =
      fmt::format("{}, M {} D {} B {} L {}", setting, wanted.layers,
                  wanted.width, wanted.batch, wanted.length);
  fmt::print("end to end, {}\n", title);
  auto result = lcsm::bench::MeasureGpuPaper(costs, wanted);
  if (!result.ok()) {
    // What does not fit is no failure.
    fmt::print("  {}\n", result.status().message());
    report.json()["notes"].push_back(title + ": " + result.status().message());
    if (result.status().code() != lcsm::StatusCode::kResourceExhausted) {
      report.failed_ = true;
    }
    report.Save();
    return;
  }
  for (const auto& row : (*result)["results"]) {
    fmt::print("  {:<10} {:>10.3f} s{} {:>9.1f} us a step, {}",
               std::string(row["method"]), double{row["seconds"]},
               row["sampled"] ? " (sampled)" : "", double{row["step_us"]},
               Versus(row));
    if (row.contains("worst_ratio")) {
      fmt::print(
          "; without mixers {:.1f} us, ratio {:.3f} in the mean and {:.3f} at "
          "worst; {:.0f} GB/s of weights; {:.1f} launches",
          double{row["step_us_without_mixers"]}, double{row["amortised_ratio"]},
          double{row["worst_ratio"]}, double{row["gigabytes_a_second"]},
          double{row["launches_a_token"]});
    }
    fmt::print("\n");
  }
  TellNotes(*result, report);
  report.Write(fmt::format("{}-{}-{}-{}-{}.svg", setting, wanted.layers,
                           wanted.width, wanted.batch, wanted.length),
               lcsm::bench::GpuPaperSvg(
                   *result, title + ", " + costs.device()->info().name));
  report.json()["paper"].push_back(std::move(*result));
  report.Save();
  std::fflush(stdout);
}

void Models(const std::shared_ptr<lcsm::cuda::Device>& device,
            const GpuModelCase& wanted, Report& report) {
  fmt::print("model, {} to {} positions\n", wanted.shape, wanted.horizon);
  auto result = lcsm::bench::MeasureGpuModel(device, wanted);
  if (result.ok()) {
    fmt::print("{}\n", result->dump(1));
    report.json()["models"].push_back(std::move(*result));
  } else {
    fmt::print("  {}\n", result.status().message());
    report.json()["notes"].push_back(wanted.shape + ": " +
                                     result.status().message());
    report.failed_ = true;
  }
  report.Save();
  std::fflush(stdout);
}

// In the order of what the figures decide: the paper's largest setting, then
// HyenaDNA-large up to a million positions, then what is left of the
// paper's grid, and lengths beyond it. What is there when time is up is the
// report.
// `serial`: the same GPU, whose launches wait for each other.
void MeasureAll(GpuCosts& costs,
                const std::shared_ptr<lcsm::cuda::Device>& serial,
                Report& report, const std::function<double()>& seconds_left) {
  constexpr size_t kLongest = size_t{1} << 17;
  const auto mixers = [&](GpuMixerCase wanted) {
    wanted.seconds = std::min(wanted.seconds, seconds_left());
    if (wanted.seconds > 0) Mixers(costs, wanted, report);
  };
  const auto paper = [&](GpuPaperCase wanted) {
    wanted.seconds = std::min(wanted.seconds, seconds_left());
    if (wanted.seconds > 0) Paper(costs, wanted, report);
  };
  const auto models = [&](const GpuModelCase& wanted) {
    if (seconds_left() <= 0) return;
    Models(wanted.launches_overlap ? costs.device() : serial, wanted, report);
  };
  // 7 GiB of taps, as much of histories, 14 of spectra by the paper's tiling
  // and a multiple of that by plans of the planner, which knows what is free.
  mixers({.mixers = 18, .channels = 768, .length = kLongest});
  paper({.layers = 18, .width = 768, .length = kLongest});
  paper({.setting = PaperSetting::kHyena,
         .layers = 18,
         .width = 768,
         .length = kLongest});
  models({.horizon = 1000002,
          .positions = {1024, 1 << 16, 1 << 19, 980000},
          .score_tokens = 1000000});
  models({.horizon = 1000002, .positions = {1024}, .launches_overlap = false});
  paper({.layers = 18,
         .width = 768,
         .batch = 8,
         .length = 1 << 14,
         .seconds = 30});
  paper({.layers = 36, .width = 256, .length = kLongest, .seconds = 30});
  paper({.layers = 18, .width = 256, .length = 1 << 12, .seconds = 20});
  mixers({.mixers = 18, .channels = 768, .batch = 8, .length = 1 << 14});
  mixers({.mixers = 36, .channels = 256, .length = kLongest});
  paper({.layers = 18, .width = 256, .length = 1 << 20, .seconds = 30});
  paper({.setting = PaperSetting::kHyena,
         .layers = 36,
         .width = 256,
         .length = 1 << 14,
         .seconds = 20});
  mixers({.mixers = 18, .channels = 256, .length = 1 << 12});
  paper({.layers = 36,
         .width = 768,
         .batch = 4,
         .length = 1 << 10,
         .seconds = 20});
  paper({.layers = 36, .width = 768, .length = 1 << 16, .seconds = 30});
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  if (!Parse(argc, argv, &arguments)) {
    fmt::print(stderr,
               "usage: lcsm_gpu_bench OUTPUT_FOLDER [--device cuda:N] "
               "[--quick] [--seconds S]\n");
    return 2;
  }
  const auto choice = lcsm::cuda::ParseDevice(arguments.device);
  if (!choice.ok() || choice->kind != lcsm::cuda::DeviceChoice::Kind::kCuda ||
      choice->indices.size() != 1) {
    fmt::print(stderr, "lcsm_gpu_bench: the device is '{}', expected cuda:N\n",
               arguments.device);
    return 2;
  }
  const int index = choice->indices.front();
  const auto device = lcsm::cuda::OpenCudaDevice(index);
  const auto serial = lcsm::cuda::OpenCudaDevice(index, {.overlap = false});
  for (const auto* const opened : {&device, &serial}) {
    if (opened->ok()) continue;
    fmt::print(stderr, "lcsm_gpu_bench: {}\n", opened->status().message());
    return 1;
  }
  std::error_code error;
  std::filesystem::create_directories(arguments.folder, error);
  Report report(arguments.folder, (*device)->info());
  const lcsm::bench::Stopwatch clock;
  GpuCosts costs(*device);
  if (arguments.quick) {
    Mixers(costs, {.mixers = 2, .channels = 256, .length = 4096}, report);
    for (const PaperSetting setting :
         {PaperSetting::kSynthetic, PaperSetting::kHyena}) {
      Paper(costs,
            {.setting = setting,
             .layers = 2,
             .width = 256,
             .length = 2048,
             .steps = 128},
            report);
    }
    Models(*device,
           {.shape = "hyenadna-tiny-1k",
            .horizon = 1024,
            .positions = {64},
            .steps = 32},
           report);
  } else {
    MeasureAll(costs, *serial, report,
               [&] { return arguments.seconds - clock.Seconds(); });
  }
  if (const lcsm::Status status = (*device)->status(); !status.ok()) {
    fmt::print(stderr, "lcsm_gpu_bench: {}\n", status.message());
    report.json()["notes"].push_back(status.message());
    report.failed_ = true;
  }
  report.json()["seconds"] = clock.Seconds();
  report.Save();
  fmt::print("{}", lcsm::bench::PrintGpuTargets(report.json()["targets"]));
  return report.failed_ ? 1 : 0;
}
