#include "api/engine.h"  // First: see there.

#include <utility>

#include "api/execution.h"
#include "base/cpu_info.h"
#include "lcsm/model.h"

namespace lcsm {
inline namespace v0 {

Model::Model(std::shared_ptr<const Engine> engine)
    : engine_(std::move(engine)) {}

StatusOr<Model> Model::Load(const std::string& folder,
                            const LoadOptions& options) {
  return api::NoThrow([&]() -> StatusOr<Model> {
    LCSM_ASSIGN_OR_RETURN(std::shared_ptr<const Engine> engine,
                          Engine::Load(folder, options));
    return Model(std::move(engine));
  });
}

const ModelInfo& Model::info() const { return engine_->info(); }

StatusOr<std::vector<int32_t>> Model::Encode(std::string_view text) const {
  return api::NoThrow([&]() -> StatusOr<std::vector<int32_t>> {
    if (engine_->tokenizer() == nullptr) return engine_->tokenizer_status();
    return engine_->tokenizer()->Encode(text).ids;
  });
}

StatusOr<std::string> Model::Decode(std::span<const int32_t> ids) const {
  return api::NoThrow([&]() -> StatusOr<std::string> {
    if (engine_->tokenizer() == nullptr) return engine_->tokenizer_status();
    return engine_->tokenizer()->Decode(ids);
  });
}

StatusOr<size_t> Model::EstimateMemoryBytes(
    const SessionOptions& options) const {
  return api::NoThrow([&]() -> StatusOr<size_t> {
    LCSM_ASSIGN_OR_RETURN(const auto prepare,
                          engine_->ToPrepareOptions(options));
    const size_t threads = options.execution.threads != 0
                               ? options.execution.threads
                               : GetCpuInfo().cpus;
    LCSM_ASSIGN_OR_RETURN(const auto memory,
                          engine_->model().EstimateMemory(prepare, threads));
    return memory.Total();
  });
}

}  // namespace v0
}  // namespace lcsm
