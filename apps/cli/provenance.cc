#include "provenance.h"

#include <fmt/format.h>

#include "lcsm/version.h"

namespace lcsm::cli {

std::string Provenance(const ModelInfo& info) {
  std::string text =
      fmt::format("lcsm {}, model {} {}", LCSM_VERSION, info.name, info.hash);
  if (info.weight_format != "f32") {
    text += fmt::format(" with weights in {}", info.weight_format);
  }
  return text;
}

}  // namespace lcsm::cli
