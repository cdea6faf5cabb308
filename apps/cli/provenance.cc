#include "provenance.h"

#include <fmt/format.h>

#include "base/cpu_info.h"
#include "lcsm/version.h"
#include "model_options.h"

namespace lcsm::cli {

std::string Provenance(const ModelInfo& info) {
  std::string text =
      fmt::format("lcsm {}, model {} {}", LCSM_VERSION, info.name, info.hash);
  if (info.weight_format != "f32") {
    text += fmt::format(" with weights in {}", info.weight_format);
  }
  return text;
}

std::string ComputedBy(const ModelInfo& info, size_t threads) {
  return fmt::format("{}; {}, {}\n", Provenance(info), Count(threads, "thread"),
                     SimdTarget());
}

}  // namespace lcsm::cli
