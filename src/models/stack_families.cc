#include "models/stack_families.h"

#include <string>

namespace lcsm {

StackTranslator FindStackTranslator(const io::ConfigJson& json) {
  // A field of another type is no family's: whoever parses it will say so.
  const StatusOr<std::string> type = json.GetStringOr("model_type", "");
  const StatusOr<std::string> layer = json.GetStringOr("layer._name_", "");
  const std::string name = type.ok() ? *type : "";
  if (name == "FlashSTU" || name == "stu" ||
      (name.empty() && json.Has("num_eigh"))) {
    return TranslateStu;
  }
  if (name == "h3" || (name.empty() && layer.ok() && *layer == "h3")) {
    return TranslateH3;
  }
  if (name == "stripedhyena" || name == "stripedhyena2" || name == "evo2" ||
      (name.empty() && json.Has("attn_layer_idxs") &&
       json.Has("hidden_size"))) {
    return TranslateStripedHyena;
  }
  return nullptr;
}

}  // namespace lcsm
