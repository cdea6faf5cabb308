#include "io/stack_config.h"

#include <string_view>

namespace lcsm::io {

std::optional<StackFamily> StackFamilyOf(const ConfigJson& json) {
  // A field of another type is no family's: whoever parses it will say so.
  const StatusOr<std::string> type = json.GetStringOr("model_type", "");
  const StatusOr<std::string> layer = json.GetStringOr("layer._name_", "");
  const std::string name = type.ok() ? *type : "";
  if (name == "lcsm-stack") return StackFamily::kDescribed;
  if (name == "FlashSTU" || name == "stu" ||
      (name.empty() && json.Has("num_eigh"))) {
    return StackFamily::kStu;
  }
  if (name == "h3" || (name.empty() && layer.ok() && *layer == "h3")) {
    return StackFamily::kH3;
  }
  if (name == "stripedhyena" || name == "stripedhyena2" || name == "evo2" ||
      (name.empty() && json.Has("attn_layer_idxs") &&
       json.Has("hidden_size"))) {
    return StackFamily::kStripedHyena;
  }
  return std::nullopt;
}

std::string StackTensorName(StackFamily family, const std::string& key) {
  if (family == StackFamily::kDescribed) return key;
  std::string_view name = key;
  // DistributedDataParallel, torch.compile, Lightning; in any order.
  for (bool more = true; more;) {
    more = false;
    for (const std::string_view wrapper : {"module.", "_orig_mod.", "model."}) {
      if (!name.starts_with(wrapper)) continue;
      name.remove_prefix(wrapper.size());
      more = true;
    }
  }
  return std::string(name);
}

}  // namespace lcsm::io
