#include "conv/problem.h"

#include <array>
#include <utility>

namespace lcsm::conv {
namespace {

template <typename Enum, size_t kCount>
using Names = std::array<std::pair<Enum, const char*>, kCount>;

constexpr Names<Method, 3> kMethods = {{
    {Method::kLazy, "lazy"},
    {Method::kEager, "eager"},
    {Method::kPaper, "paper"},
}};
constexpr Names<Tau, 6> kTaus = {{
    {Tau::kDirect, "direct"},
    {Tau::kDirectBlocked, "direct-blocked"},
    {Tau::kFftLibrary, "fft-library"},
    {Tau::kFftFused, "fft-fused"},
    {Tau::kHybrid, "hybrid"},
    {Tau::kMeasured, "measured"},
}};
constexpr Names<Schedule, 2> kSchedules = {{
    {Schedule::kPerLayer, "per-layer"},
    {Schedule::kAcrossLayers, "across-layers"},
}};

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
std::optional<Method> MethodFromName(const std::string& name) {
  return FromName(kMethods, name);
}
std::optional<Tau> TauFromName(const std::string& name) {
  return FromName(kTaus, name);
}
std::optional<Schedule> ScheduleFromName(const std::string& name) {
  return FromName(kSchedules, name);
}

}  // namespace lcsm::conv
