#include "bench_subject.h"

#include "models/hyena_synthetic.h"

namespace lcsm::cli {

void AddBenchSubject(App& app, BenchSubject& subject) {
  AddModelOption(app, subject.model);
  app.add_option("--shape", subject.shape,
                 "instead of a model, random weights in a published shape, "
                 "e.g. hyenadna-large-1m")
      ->type_name("NAME")
      ->excludes(app.get_option("--model"));
}

StatusOr<std::shared_ptr<const Model>> LoadBenchSubject(
    const BenchSubject& subject) {
  if (!subject.shape.empty()) {
    return MakeSyntheticModel(subject.shape, 1, ToWeightFormat(subject.model));
  }
  LCSM_ASSIGN_OR_RETURN(const LoadedModel loaded,
                        LoadNamedModel(subject.model));
  return loaded.model;
}

std::string SubjectName(const BenchSubject& subject, const Model& model) {
  return subject.shape.empty() ? model.info().name : subject.shape;
}

}  // namespace lcsm::cli
