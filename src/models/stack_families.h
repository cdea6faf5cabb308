// Published families as descriptions: a translator each from what their
// config.json says and their tensors' names (docs/models.md).
//
// Pure functions.
#pragma once

#include "io/config_json.h"
#include "io/safetensors.h"
#include "lcsm/status.h"
#include "models/stack_description.h"

namespace lcsm {

// Errors: fields missing or out of range, options that change the mathematics
// in ways not supported, each named with its field; tensors whose shape a
// description needs and that are not there.
using StackTranslator = StatusOr<StackDescription> (*)(
    const io::ConfigJson& json, const io::WeightSet& weights);

// Flash-STU with either form of its filters, read from the file.
StatusOr<StackDescription> TranslateStu(const io::ConfigJson& json,
                                        const io::WeightSet& weights);
// H3 with its attention layers.
StatusOr<StackDescription> TranslateH3(const io::ConfigJson& json,
                                       const io::WeightSet& weights);
// StripedHyena 1 (SH-7B, Evo 1) and 2 (Evo 2).
StatusOr<StackDescription> TranslateStripedHyena(const io::ConfigJson& json,
                                                 const io::WeightSet& weights);

// Whose config it is; null: none of these (Hyena, or unknown).
StackTranslator FindStackTranslator(const io::ConfigJson& json);

}  // namespace lcsm
