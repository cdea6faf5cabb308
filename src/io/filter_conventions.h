// What no tensor of a Hyena model tells about its filters: the floor of their
// decay window and, for order > 2, the numbering of their channels.
//
// Two fields of config.json say it; `lcsm convert` writes them, no published
// config has them. Without them the habits of the code that the model comes
// from hold. This is the one place that knows those habits: if the converter
// and the loader parted, a folder would mean one thing before and another after
// its conversion.
//
// Thread safety: pure functions.
#pragma once

#include <string_view>

#include "io/config_json.h"
#include "lcsm/status.h"

namespace lcsm::io {

// How filter outputs, decays and skips of an operator of order > 2 are numbered
// by convolution o and channel c. Of no consequence for order 2.
enum class FilterLayout {
  kOrderSlowest,  // o * D + c
  kOrderFastest,  // c * (N - 1) + o
};
// "order_slowest", "order_fastest"; ends with a NUL.
std::string_view FilterLayoutName(FilterLayout layout);
// False if `name` is neither.
bool ParseFilterLayout(std::string_view name, FilterLayout* layout);

// Of HyenaDNA, whoever trained it: its Hugging Face format, or its 12 ids.
bool IsHyenaDna(const ConfigJson& config);

struct FilterConventions {
  double shift = 0;
  FilterLayout layout = FilterLayout::kOrderSlowest;
};

// What weights lie in.
enum class WeightContainer {
  kLightning,  // A training run's checkpoint.
  kOther,      // A bare state dict, or safetensors, which do not tell.
};

//             the field says       else, HyenaDNA    else, other models
//   shift     filter_shift, shift  0.05              0
//   layout    filter_layout        order_slowest     order_slowest from a
//                                                    Lightning checkpoint, else
//                                                    order_fastest
//
// `shift` stands among the filter's other fields, that is, in `layer` where
// there is one. Errors: fields of the wrong type, a layout that is none.
StatusOr<FilterConventions> ReadFilterConventions(const ConfigJson& config,
                                                  WeightContainer container);

}  // namespace lcsm::io
