// What whole-model benchmarks run on: a model, or random weights in a published
// shape.
#pragma once

#include <memory>
#include <string>

#include "lcsm/status.h"
#include "model_options.h"
#include "option_parser.h"
#include "runtime/model.h"

namespace lcsm::cli {

// --model, --weights, --shape.
struct BenchSubject {
  ModelOption model;
  std::string shape;  // Empty: the model.
};
void AddBenchSubject(App& app, BenchSubject& subject);
StatusOr<std::shared_ptr<const Model>> LoadBenchSubject(
    const BenchSubject& subject);
std::string SubjectName(const BenchSubject& subject, const Model& model);

}  // namespace lcsm::cli
