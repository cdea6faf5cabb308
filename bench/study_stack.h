// Stacks with random weights for studies: equal in everything but in what mixes
// along time, written as the descriptions that anybody could write
// (docs/stacks.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "lcsm/status.h"
#include "models/stack_weights.h"
#include "runtime/model.h"

namespace lcsm::bench {

// What mixes along time in each block.
enum class StudyMixer {
  kHyena,            // Order 2, with a long convolution.
  kRelaxedHyena,     // The same with filters that the tokens make.
  kStu,              // Spectral filters, the approximate form.
  kMamba,            // Selective state space, 16 states, expanded twice.
  kLinearAttention,  // Features elu + 1, normalised.
  kAttention,        // Softmax, rotary.
};
const char* Name(StudyMixer mixer);
std::optional<StudyMixer> StudyMixerFromName(const std::string& name);

// What a block reads of another one, beside the residual stream.
enum class StudyLink {
  kNone,
  kOutput,  // Block 0's output, at the same position.
  kPast,    // What the block after it left one position ago.
  kAhead,   // What the convolution before it is about to give.
};
const char* Name(StudyLink link);
std::optional<StudyLink> StudyLinkFromName(const std::string& name);

struct StudyShape {
  StudyMixer mixer = StudyMixer::kHyena;
  size_t layers = 4, width = 256, length = 1024;
  // The first `links` blocks that can have one have such a link: all but the
  // first one of kOutput and kAhead, all but the last one of kPast. kHyena
  // only.
  StudyLink link = StudyLink::kNone;
  size_t links = 0;

  static constexpr size_t kVocab = 64;
  static constexpr size_t kPoles = 4;  // Of each of Hyena's long filters.
  // Whether block b is one of them.
  bool Links(size_t b) const {
    if (link == StudyLink::kNone) return false;
    return link == StudyLink::kPast ? b < links && b + 1 < layers
                                    : b >= 1 && b <= links;
  }
};

struct StudyStack {
  StudyShape shape;
  std::string config;                                 // As written.
  std::map<std::string, std::vector<float>> tensors;  // By name.
  std::shared_ptr<const StackWeights> weights;
  std::shared_ptr<const Model> model;
};

// Writes the folder of such a model to where temporary files go, loads it and
// removes it. Errors: shapes that are out of range, what writing and loading
// say.
StatusOr<StudyStack> MakeStudyStack(const StudyShape& shape);

// Logits of the stack after each token, [tokens][vocabulary], by the formulas
// of its description in float64, everything earlier summed anew at each
// position. kHyena and kRelaxedHyena only.
std::vector<double> ReferenceLogits(const StudyStack& stack,
                                    const std::vector<int32_t>& tokens);

// Compares steps and known tokens of such a stack for `length` positions with
// what is computed otherwise: ReferenceLogits where there are such, else known
// tokens by lazy sums. Gives the largest difference as a share of the largest
// logit; more than kStudyTolerance is an error.
inline constexpr double kStudyTolerance = 1e-4;
StatusOr<double> CheckStudyStack(const StudyShape& shape, size_t length,
                                 ThreadPool& pool);

}  // namespace lcsm::bench
