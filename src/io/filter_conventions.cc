#include "io/filter_conventions.h"

#include <string>

namespace lcsm::io {
namespace {

constexpr int64_t kHyenaDnaVocab = 12;

// What the code behind the Hugging Face files and HyenaDNA's stand-alone file
// adds to the window without saying so in any file.
constexpr double kHyenaDnaShift = 0.05;

bool IsHuggingFace(const ConfigJson& config) {
  const auto type = config.GetStringOr("model_type", "");
  return type.ok() && *type == "hyenadna";
}

}  // namespace

std::string_view FilterLayoutName(FilterLayout layout) {
  return layout == FilterLayout::kOrderSlowest ? "order_slowest"
                                               : "order_fastest";
}

bool ParseFilterLayout(std::string_view name, FilterLayout* layout) {
  for (const FilterLayout known :
       {FilterLayout::kOrderSlowest, FilterLayout::kOrderFastest}) {
    if (name == FilterLayoutName(known)) {
      *layout = known;
      return true;
    }
  }
  return false;
}

bool IsHyenaDna(const ConfigJson& config) {
  const auto vocab = config.GetIntOr("vocab_size", 0, 1, INT32_MAX);
  return IsHuggingFace(config) || (vocab.ok() && *vocab == kHyenaDnaVocab);
}

StatusOr<FilterConventions> ReadFilterConventions(const ConfigJson& config,
                                                  WeightContainer container) {
  const bool dna = IsHyenaDna(config);
  FilterConventions conventions;
  LCSM_ASSIGN_OR_RETURN(
      const double theirs,
      config.GetNumberOr(IsHuggingFace(config) ? "shift" : "layer.shift",
                         dna ? kHyenaDnaShift : 0.0));
  LCSM_ASSIGN_OR_RETURN(conventions.shift,
                        config.GetNumberOr("filter_shift", theirs));
  // The stand-alone HyenaDNA code puts the order first, and so do the Lightning
  // files that order 3 was checked with; the full safari code puts it last.
  const FilterLayout usual = dna || container == WeightContainer::kLightning
                                 ? FilterLayout::kOrderSlowest
                                 : FilterLayout::kOrderFastest;
  LCSM_ASSIGN_OR_RETURN(
      const std::string layout,
      config.GetChoiceOr("filter_layout", FilterLayoutName(usual),
                         {"order_slowest", "order_fastest"}));
  ParseFilterLayout(layout, &conventions.layout);
  return conventions;
}

}  // namespace lcsm::io
