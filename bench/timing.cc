#include "bench/timing.h"

#include <fmt/format.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "base/cpu_info.h"

namespace lcsm::bench {
namespace {

long InvoluntarySwitches() {
  rusage usage;
  return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_nivcsw : 0;
}

void ReadJiffies(double& stolen, double& total) {
  std::ifstream stat("/proc/stat");
  std::string label;
  stat >> label;
  total = 0;
  double value = 0;
  for (int field = 0; field < 8 && stat >> value; ++field) {
    total += value;
    if (field == 7)
      stolen = value;  // "steal": ours to use, but another guest ran.
  }
}

}  // namespace

Spread Summarize(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  return {values.front(), values[values.size() / 2], values.back()};
}

double Quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  const double rank = std::ceil(q * static_cast<double>(values.size()));
  const size_t index =
      rank < 1 ? 0 : std::min(values.size() - 1, static_cast<size_t>(rank) - 1);
  std::nth_element(values.begin(), values.begin() + index, values.end());
  return values[index];
}

NoiseWatch::NoiseWatch() : switches_(InvoluntarySwitches()) {
  ReadJiffies(stolen_, total_);
}

std::string NoiseWatch::Report() const {
  double stolen = 0, total = 0, load = 0;
  ReadJiffies(stolen, total);
  const bool loaded = getloadavg(&load, 1) == 1;
  const double share =
      total > total_ ? 100 * (stolen - stolen_) / (total - total_) : 0;
  return fmt::format(
      "{} involuntary switches in {:.1f} s, {:.1f} % of the time stolen{}",
      InvoluntarySwitches() - switches_, clock_.Seconds(), share,
      loaded ? fmt::format(", load {:.1f} on {} processors", load,
                           GetCpuInfo().cpus)
             : std::string());
}

}  // namespace lcsm::bench
