// Heads of sequence classifiers on top of a Hyena model: what turns the
// activations of a sequence into a number for each class (docs/models.md).
//
// Two kinds exist. Hugging Face's HyenaDNAForSequenceClassification has a
// matrix without a bias, applied to the last position. HyenaDNA's own
// SequenceDecoder has one with a bias, applied to a position or to a mean or
// sum of all; which, no file says.
//
// Thread safety: a head is immutable and may be shared; a pooler belongs to one
// thread.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/config_json.h"
#include "io/safetensors.h"
#include "lcsm/status.h"

namespace lcsm {

// As SequenceDecoder calls them: "last", "first", "pool" (the mean), "sum".
enum class Pooling { kLast, kFirst, kMean, kSum };
const char* Name(Pooling pooling);
std::optional<Pooling> PoolingFromName(std::string_view name);

// Activations of a sequence, in any number of pieces, to one row; sums in
// float64.
class Pooler {
 public:
  Pooler(Pooling pooling, size_t width)
      : pooling_(pooling), row_(width), width_(width) {}
  // Rows [n][width] of consecutive positions.
  void Add(std::span<const float> rows);
  // Requires at least one row.
  std::vector<double> Row() const;

 private:
  Pooling pooling_;
  std::vector<double> row_;
  size_t width_, count_ = 0;
};

class ClassifierHead {
 public:
  // What the numbers are, by config.json's problem_type.
  enum class Task {
    kOneOf,    // One class of several: softmax.
    kSeveral,  // Each class for itself: the logistic function.
    kNumbers,  // Regression: as they are.
  };

  // Errors: no head, or two; a shape that does not fit the model; labels that
  // do not fit the head; values that are not finite.
  static StatusOr<ClassifierHead> Load(const std::filesystem::path& folder,
                                       size_t width);
  static StatusOr<ClassifierHead> Bind(const io::WeightSet& weights,
                                       const io::ConfigJson& config,
                                       size_t width);

  size_t classes() const { return labels_.size(); }
  // config.json's id2label, else "0", "1" and so on.
  const std::vector<std::string>& labels() const { return labels_; }
  Task task() const { return task_; }
  // True: Hugging Face's head.
  bool is_score() const { return is_score_; }
  // What the head was trained with as far as its code tells.
  Pooling usual_pooling() const {
    return is_score_ ? Pooling::kLast : Pooling::kMean;
  }

  std::vector<double> Logits(std::span<const double> row) const;
  // Of the task: probabilities, or the logits themselves.
  std::vector<double> Outputs(std::span<const double> logits) const;

 private:
  Status BindLabels(const io::ConfigJson& config);

  bool is_score_ = false;
  Task task_ = Task::kOneOf;
  std::vector<std::string> labels_;
  std::vector<float> weight_;  // [classes][width]
  std::vector<float> bias_;    // [classes], or none.
};

}  // namespace lcsm
