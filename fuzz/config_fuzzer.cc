// config.json: typed getters on any document, and that printing one gives the
// same document again.
#include <cstdint>
#include <string>
#include <string_view>

#include "check.h"
#include "io/config_json.h"

namespace {

template <typename T>
void CheckResult(const lcsm::StatusOr<T>& result) {
  if (!result.ok()) CheckSentence(result.status());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using lcsm::io::ConfigJson;
  const auto config = ConfigJson::Parse(
      std::string_view(reinterpret_cast<const char*>(data), size), "c");
  if (!config.ok()) {
    CheckSentence(config.status());
    return 0;
  }
  std::vector<std::string> fields = config->Keys("");
  fields.push_back("layer.l_max");
  fields.push_back("");
  for (const std::string& field : fields) {
    CheckResult(config->GetInt(field, -5, 1 << 20));
    CheckResult(config->GetIntOr(field, 3, 0, INT64_MAX));
    CheckResult(config->GetNumber(field));
    CheckResult(config->GetBool(field));
    CheckResult(config->GetString(field));
    CheckResult(config->GetChoiceOr(field, "a", {"a", "b"}));
    (void)config->Keys(field);
    const auto count = config->ListSize(field);
    CheckResult(count);
    FUZZ_CHECK(count.ok() == config->IsList(field));
    if (count.ok()) {
      FUZZ_CHECK(!config->Has(field + "." + std::to_string(*count)));
    }
  }
  const std::string text = config->Dump();
  const auto again = ConfigJson::Parse(text, "c");
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(again->Dump() == text);
  return 0;
}
