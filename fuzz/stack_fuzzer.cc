// Descriptions of stacks: any JSON document, and that what is accepted is laid
// out within its rows.
#include <cstdint>
#include <string_view>

#include "check.h"
#include "io/config_json.h"
#include "models/stack_description.h"
#include "models/stack_layout.h"

namespace {

void CheckSpan(const lcsm::StackSpan& span, size_t row) {
  FUZZ_CHECK(span.width > 0);
  FUZZ_CHECK(span.offset <= row && span.width <= row - span.offset);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto json = lcsm::io::ConfigJson::Parse(
      std::string_view(reinterpret_cast<const char*>(data), size), "c");
  if (!json.ok()) return 0;
  const auto stack = lcsm::ParseStackDescription(*json);
  if (!stack.ok()) {
    CheckSentence(stack.status());
    return 0;
  }
  const auto layout = lcsm::LayOut(*stack);
  FUZZ_CHECK(layout.ok());
  FUZZ_CHECK(layout->blocks.size() == stack->blocks.size());
  for (const auto& block : layout->blocks) {
    for (const lcsm::StackPartLayout& part : block) {
      FUZZ_CHECK(part.output.width == stack->width);
      for (const lcsm::StackStepLayout& step : part.steps) {
        for (const auto& span : step.from) CheckSpan(span, layout->row);
        for (const auto& span : step.to) CheckSpan(span, layout->row);
      }
    }
  }
  return 0;
}
