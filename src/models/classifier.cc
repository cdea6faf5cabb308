#include "models/classifier.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "io/hyena_keys.h"

namespace lcsm {
namespace {

constexpr const char* kScore = "score.weight";
constexpr const char* kDecoder = "head.output_transform.weight";
constexpr const char* kDecoderBias = "head.output_transform.bias";
// Far beyond any labels, near enough that a file cannot ask for all memory.
constexpr size_t kMaxClasses = size_t{1} << 20;

StatusOr<std::vector<float>> Floats(const io::WeightSet& weights,
                                    const io::TensorView& tensor) {
  std::vector<float> values(tensor.elements());
  const Status status = io::CopyToFloat32(tensor, values.data());
  if (!status.ok()) {
    return Status(status.code(), fmt::format("{}: {}", weights.path().string(),
                                             status.message()));
  }
  const auto bad = std::find_if(values.begin(), values.end(),
                                [](float x) { return !std::isfinite(x); });
  if (bad != values.end()) {
    return InvalidInput(fmt::format(
        "{}: tensor {} holds {} at element {}, expected finite numbers",
        weights.path().string(), tensor.name, *bad, bad - values.begin()));
  }
  return values;
}

}  // namespace

const char* Name(Pooling pooling) {
  switch (pooling) {
    case Pooling::kLast:
      return "last";
    case Pooling::kFirst:
      return "first";
    case Pooling::kMean:
      return "pool";
    case Pooling::kSum:
      return "sum";
  }
  return "";
}

std::optional<Pooling> PoolingFromName(std::string_view name) {
  for (const Pooling pooling :
       {Pooling::kLast, Pooling::kFirst, Pooling::kMean, Pooling::kSum}) {
    if (name == Name(pooling)) return pooling;
  }
  return std::nullopt;
}

void Pooler::Add(std::span<const float> rows) {
  const size_t count = rows.size() / width_;
  for (size_t t = 0; t < count; ++t) {
    const std::span<const float> row = rows.subspan(t * width_, width_);
    const bool adds = pooling_ == Pooling::kMean || pooling_ == Pooling::kSum;
    if (adds) {
      for (size_t c = 0; c < width_; ++c) row_[c] += row[c];
    } else if (pooling_ == Pooling::kLast ? t + 1 == count : count_ == 0) {
      std::copy(row.begin(), row.end(), row_.begin());
    }
    ++count_;
  }
}

std::vector<double> Pooler::Row() const {
  std::vector<double> row = row_;
  if (pooling_ == Pooling::kMean) {
    for (double& x : row) x /= static_cast<double>(count_);
  }
  return row;
}

StatusOr<ClassifierHead> ClassifierHead::Load(
    const std::filesystem::path& folder, size_t width) {
  LCSM_ASSIGN_OR_RETURN(const io::ConfigJson config,
                        io::ConfigJson::Read(folder / "config.json"));
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const io::WeightSet> weights,
                        io::WeightSet::Open(folder));
  LCSM_ASSIGN_OR_RETURN(ClassifierHead head, Bind(*weights, config, width));
  LCSM_RETURN_IF_ERROR(weights->CheckIntact());
  return head;
}

StatusOr<ClassifierHead> ClassifierHead::Bind(const io::WeightSet& weights,
                                              const io::ConfigJson& config,
                                              size_t width) {
  const std::string file = weights.path().string();
  std::vector<std::string> keys;
  for (const io::TensorView& tensor : weights.tensors()) {
    keys.push_back(tensor.name);
  }
  LCSM_ASSIGN_OR_RETURN(const io::KeyPlan plan,
                        io::CanonicalHyenaKeys(keys, file));
  const auto find = [&](std::string_view name) -> const io::TensorView* {
    for (const io::KeyPlan::Kept& kept : plan.kept) {
      if (kept.name == name) return &weights.tensors()[kept.index];
    }
    return nullptr;
  };
  const io::TensorView* const score = find(kScore);
  const io::TensorView* const decoder = find(kDecoder);
  if (score == nullptr && decoder == nullptr) {
    return InvalidInput(fmt::format(
        "{}: holds no classifier's head, expected {} or {}; a language model "
        "must be fine-tuned first",
        file, kScore, kDecoder));
  }
  if (score != nullptr && decoder != nullptr) {
    return InvalidInput(fmt::format("{}: holds {} and {}, expected one head",
                                    file, kScore, kDecoder));
  }
  ClassifierHead head;
  head.is_score_ = score != nullptr;
  const io::TensorView& matrix = head.is_score_ ? *score : *decoder;
  if (matrix.shape.size() != 2 || matrix.shape[1] != width ||
      matrix.shape[0] == 0 || matrix.shape[0] > kMaxClasses) {
    return InvalidInput(
        fmt::format("{}: tensor {} has shape {}, and the model's width calls "
                    "for (classes, {})",
                    file, matrix.name, io::ShapeToString(matrix.shape), width));
  }
  const size_t classes = matrix.shape[0];
  LCSM_ASSIGN_OR_RETURN(head.weight_, Floats(weights, matrix));
  if (const io::TensorView* const bias = find(kDecoderBias);
      bias != nullptr && !head.is_score_) {
    if (bias->shape != std::vector<size_t>{classes}) {
      return InvalidInput(fmt::format(
          "{}: tensor {} has shape {}, and {} calls for ({},)", file,
          bias->name, io::ShapeToString(bias->shape), matrix.name, classes));
    }
    LCSM_ASSIGN_OR_RETURN(head.bias_, Floats(weights, *bias));
  }
  for (size_t i = 0; i < classes; ++i) {
    head.labels_.push_back(std::to_string(i));
  }
  LCSM_RETURN_IF_ERROR(head.BindLabels(config));
  return head;
}

Status ClassifierHead::BindLabels(const io::ConfigJson& config) {
  LCSM_ASSIGN_OR_RETURN(
      const std::string type,
      config.GetChoiceOr("problem_type", "single_label_classification",
                         {"single_label_classification",
                          "multi_label_classification", "regression"}));
  task_ = type == "regression"                   ? Task::kNumbers
          : type == "multi_label_classification" ? Task::kSeveral
                                                 : Task::kOneOf;
  // With one output and nothing said, their training code does regression.
  if (classes() == 1 && !config.Has("problem_type")) task_ = Task::kNumbers;
  if (!config.Has("id2label")) return OkStatus();
  const size_t named = config.Keys("id2label").size();
  if (named != classes()) {
    return config.Wrong("id2label",
                        fmt::format("as many labels as the head has rows ({}), "
                                    "not {}",
                                    classes(), named));
  }
  for (size_t i = 0; i < classes(); ++i) {
    LCSM_ASSIGN_OR_RETURN(labels_[i],
                          config.GetString(fmt::format("id2label.{}", i)));
    // They become columns and fields of a table.
    if (labels_[i].empty() ||
        labels_[i].find_first_of("\t\r\n") != std::string::npos) {
      return config.Wrong(fmt::format("id2label.{}", i),
                          "a name without tabs and line ends");
    }
  }
  return OkStatus();
}

std::vector<double> ClassifierHead::Logits(std::span<const double> row) const {
  std::vector<double> logits(classes());
  for (size_t i = 0; i < logits.size(); ++i) {
    const float* const weight = weight_.data() + i * row.size();
    double sum = bias_.empty() ? 0 : bias_[i];
    for (size_t c = 0; c < row.size(); ++c) sum += weight[c] * row[c];
    logits[i] = sum;
  }
  return logits;
}

std::vector<double> ClassifierHead::Outputs(
    std::span<const double> logits) const {
  std::vector<double> out(logits.begin(), logits.end());
  if (task_ == Task::kSeveral) {
    for (double& x : out) x = 1 / (1 + std::exp(-x));
  } else if (task_ == Task::kOneOf) {
    const double largest = *std::max_element(out.begin(), out.end());
    double sum = 0;
    for (double& x : out) sum += x = std::exp(x - largest);
    for (double& x : out) x /= sum;
  }
  return out;
}

}  // namespace lcsm
