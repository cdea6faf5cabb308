#include "models/stack_families.h"

#include <optional>

#include "io/stack_config.h"

namespace lcsm {

StackTranslator FindStackTranslator(const io::ConfigJson& json) {
  const std::optional<io::StackFamily> family = io::StackFamilyOf(json);
  if (!family.has_value()) return nullptr;
  switch (*family) {
    case io::StackFamily::kDescribed:
      return nullptr;
    case io::StackFamily::kStu:
      return TranslateStu;
    case io::StackFamily::kH3:
      return TranslateH3;
    case io::StackFamily::kStripedHyena:
      return TranslateStripedHyena;
  }
  return nullptr;
}

}  // namespace lcsm
