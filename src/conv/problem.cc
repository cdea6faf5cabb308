#include "conv/problem.h"

#include <array>
#include <utility>

namespace lcsm::conv {
namespace {

template <typename Enum, size_t kCount>
using Names = std::array<std::pair<Enum, const char*>, kCount>;

constexpr Names<Method, 6> kMethods = {{
    {Method::kLazy, "lazy"},
    {Method::kEager, "eager"},
    {Method::kPaper, "paper"},
    {Method::kPlanned, "planned"},
    {Method::kFutureFill, "futurefill"},
    {Method::kGardner, "gardner"},
}};
constexpr Names<Tau, 6> kTaus = {{
    {Tau::kDirect, "direct"},
    {Tau::kDirectBlocked, "direct-blocked"},
    {Tau::kFftLibrary, "fft-library"},
    {Tau::kFftFused, "fft-fused"},
    {Tau::kFftPast, "fft-past"},
    {Tau::kHybrid, "hybrid"},
}};
constexpr Names<Schedule, 2> kSchedules = {{
    {Schedule::kPerLayer, "per-layer"},
    {Schedule::kAcrossLayers, "across-layers"},
}};

constexpr Names<Latency, 2> kLatencies = {{
    {Latency::kBest, "best"},
    {Latency::kFlat, "flat"},
}};
constexpr Names<Rings, 3> kRings = {{{Rings::kOneBlock, "one block"},
                                     {Rings::kTwoBlocks, "two blocks"},
                                     {Rings::kNone, "whole"}}};

template <typename Enum, size_t kCount>
const char* NameOf(const Names<Enum, kCount>& names, Enum value) {
  for (const auto& [entry, name] : names) {
    if (entry == value) return name;
  }
  return "?";
}

template <typename Enum, size_t kCount>
std::optional<Enum> FromName(const Names<Enum, kCount>& names,
                             const std::string& wanted) {
  for (const auto& [entry, name] : names) {
    if (wanted == name) return entry;
  }
  return std::nullopt;
}

}  // namespace

const char* Name(Method method) { return NameOf(kMethods, method); }
const char* Name(Tau tau) { return NameOf(kTaus, tau); }
const char* Name(Schedule schedule) { return NameOf(kSchedules, schedule); }
const char* Name(Latency latency) { return NameOf(kLatencies, latency); }
const char* Name(Rings rings) { return NameOf(kRings, rings); }
std::optional<Method> MethodFromName(const std::string& name) {
  return FromName(kMethods, name);
}
std::optional<Tau> TauFromName(const std::string& name) {
  return FromName(kTaus, name);
}
std::optional<Schedule> ScheduleFromName(const std::string& name) {
  return FromName(kSchedules, name);
}

std::optional<Latency> LatencyFromName(const std::string& name) {
  return FromName(kLatencies, name);
}
std::optional<Rings> RingsFromName(const std::string& name) {
  return FromName(kRings, name);
}

}  // namespace lcsm::conv
