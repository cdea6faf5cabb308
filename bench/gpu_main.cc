// What bench/gpu.sh measures with: mixers and models on one device, as JSON and
// pictures.
//
//   lcsm_gpu_bench OUTPUT_FOLDER [--device cuda:N] [--quick] [--seconds S]
//
// Cases come in order of importance, and none begins when S seconds have gone
// by. Every case is written as soon as it is there, so a run that is cut short
// leaves what it has. Answers are checked before they are timed; a wrong one is
// in the file's notes, and the exit code is then 1.
#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include "bench/gpu_mixers.h"
#include "bench/gpu_model.h"
#include "bench/machine.h"
#include "bench/timing.h"
#include "cuda/device.h"
#include "io/atomic_file.h"

namespace {

using lcsm::bench::GpuMixerCase;
using lcsm::bench::GpuModelCase;
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
  void Save() { Write("gpu.json", json_.dump(1) + "\n"); }
  bool failed_ = false;

 private:
  const std::filesystem::path folder_;
  ordered_json json_;
};

void Mixers(const std::shared_ptr<lcsm::cuda::Device>& device,
            const GpuMixerCase& wanted, Report& report) {
  const std::string title =
      fmt::format("M {} D {} B {} L {}", wanted.mixers, wanted.channels,
                  wanted.batch, wanted.length);
  fmt::print("mixers, {}\n", title);
  ordered_json result = lcsm::bench::MeasureGpuMixers(device, wanted);
  for (const auto& row : result["results"]) {
    fmt::print(
        "  {:<16} {:>10.4f} s{} {:>8.3f} ns a token and channel, {}\n",
        std::string(row["method"]), double{row["seconds"]},
        row["sampled"] ? " (sampled)" : "", double{row["ns_per_token_channel"]},
        row.contains("vs_better_of_lazy_and_eager")
            ? fmt::format("{:.1f}x", double{row["vs_better_of_lazy_and_eager"]})
            : "baseline");
  }
  for (const auto& note : result["notes"]) {
    const std::string text = note;
    fmt::print("  note: {}\n", text);
    if (text.find("wrong") != std::string::npos) report.failed_ = true;
  }
  report.Write(
      fmt::format("mixers-{}-{}-{}-{}.svg", wanted.mixers, wanted.channels,
                  wanted.batch, wanted.length),
      lcsm::bench::GpuMixerSvg(result, title + ", " + device->info().name));
  report.json()["mixers"].push_back(std::move(result));
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
  const auto device = lcsm::cuda::OpenCudaDevice(choice->indices.front());
  if (!device.ok()) {
    fmt::print(stderr, "lcsm_gpu_bench: {}\n", device.status().message());
    return 1;
  }
  std::error_code error;
  std::filesystem::create_directories(arguments.folder, error);
  Report report(arguments.folder, (*device)->info());
  const lcsm::bench::Stopwatch clock;
  const auto time_left = [&] { return clock.Seconds() < arguments.seconds; };
  if (arguments.quick) {
    Mixers(*device, {.mixers = 2, .channels = 256, .length = 4096}, report);
    Models(*device,
           {.shape = "hyenadna-tiny-1k",
            .horizon = 1024,
            .positions = {64},
            .steps = 32},
           report);
    return report.failed_ ? 1 : 0;
  }
  // The paper's largest setting; HyenaDNA-large near its start and in its
  // middle; then what is left of the paper's grid.
  Mixers(*device, {.mixers = 18, .channels = 768, .length = 1 << 16}, report);
  if (time_left()) {
    Models(*device,
           {.horizon = 1 << 17,
            .positions = {1024, 1 << 16},
            .score_tokens = 1 << 17},
           report);
  }
  for (const GpuMixerCase& wanted : std::vector<GpuMixerCase>{
           {.mixers = 18, .channels = 768, .batch = 8, .length = 1 << 14},
           {.mixers = 36, .channels = 256, .length = 1 << 17},
           {.mixers = 18, .channels = 256, .length = 1 << 12}}) {
    if (time_left()) Mixers(*device, wanted, report);
  }
  if (time_left()) {
    Models(*device,
           {.horizon = 1000002,
            .positions = {1 << 19, 980000},
            .score_tokens = 1000000},
           report);
  }
  report.json()["seconds"] = clock.Seconds();
  report.Save();
  return report.failed_ ? 1 : 0;
}
