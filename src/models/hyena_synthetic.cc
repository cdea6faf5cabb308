#include "models/hyena_synthetic.h"

#include <fmt/format.h>

#include <utility>

#include "models/hyena_model.h"

namespace lcsm {
namespace {

struct Shape {
  const char* name;
  size_t layers, width, inner, max_length, features, vocab;
  bool modulate;
};

// Lmax of HyenaDNA is the advertised length and room for two special tokens
// (model-formats 1.1).
constexpr Shape kShapes[] = {
    {"hyenadna-tiny-1k", 2, 128, 512, 1026, 5, 12, true},
    {"hyenadna-tiny-1k-d256", 2, 256, 1024, 1026, 5, 12, true},
    {"hyenadna-tiny-16k", 2, 128, 512, 16386, 5, 12, true},
    {"hyenadna-small-32k", 4, 256, 1024, 32770, 5, 12, true},
    {"hyenadna-medium-160k", 8, 256, 1024, 160002, 5, 12, true},
    {"hyenadna-medium-450k", 8, 256, 1024, 450002, 5, 12, true},
    {"hyenadna-large-1m", 8, 256, 1024, 1000002, 5, 12, true},
    {"hyena-150m", 18, 864, 1728, 2048, 33, 50257, false},
};

}  // namespace

std::vector<std::string> SyntheticShapes() {
  std::vector<std::string> names;
  for (const Shape& shape : kShapes) names.emplace_back(shape.name);
  return names;
}

StatusOr<HyenaConfig> SyntheticConfig(const std::string& name) {
  for (const Shape& shape : kShapes) {
    if (name != shape.name) continue;
    HyenaConfig config;
    config.dialect = shape.vocab == 12 ? "hyenadna" : "safari";
    config.vocab = shape.vocab;
    config.padded_vocab = (shape.vocab + 7) / 8 * 8;
    config.width = shape.width;
    config.inner = shape.inner;
    config.layers = shape.layers;
    config.max_length = shape.max_length;
    config.features = shape.features;
    config.modulate = shape.modulate;
    config.shift = shape.vocab == 12 ? 0.05 : 0.0;
    return config;
  }
  return InvalidInput(fmt::format("shape \"{}\" is none of {}", name,
                                  fmt::join(SyntheticShapes(), ", ")));
}

StatusOr<std::shared_ptr<const Model>> MakeSyntheticModel(
    const std::string& shape, uint64_t seed, WeightFormat format) {
  LCSM_ASSIGN_OR_RETURN(const HyenaConfig config, SyntheticConfig(shape));
  return MakeSyntheticModel(config, shape, seed, format);
}

StatusOr<std::shared_ptr<const Model>> MakeSyntheticModel(
    const HyenaConfig& config, const std::string& name, uint64_t seed,
    WeightFormat format) {
  LCSM_ASSIGN_OR_RETURN(
      std::shared_ptr<const HyenaWeights> weights,
      HyenaWeights::Bind(config, MakeRandomSource(seed), format));
  return std::shared_ptr<const Model>(
      std::make_shared<HyenaModel>(std::move(weights), name));
}

}  // namespace lcsm
