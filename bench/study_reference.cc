// What stacks of studies are held to before anything is timed.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "bench/study_stack.h"
#include "conv/plan.h"

namespace lcsm::bench {
namespace {

using Row = std::vector<double>;

Row RmsNorm(const Row& x) {
  double square = 0;
  for (const double v : x) square += v * v;
  const double scale =
      1 / std::sqrt(square / static_cast<double>(x.size()) + 1e-6);
  Row y = x;
  for (double& v : y) v *= scale;
  return y;
}

double Gelu(double x) {
  return 0.5 * x *
         (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

// Position by position, blocks in order; every sum over the past anew.
class Reference {
 public:
  // For up to `length` tokens.
  Reference(const StudyStack& stack, size_t length)
      : stack_(stack),
        width_(stack.shape.width),
        short_inputs_(stack.shape.layers),
        long_inputs_(stack.shape.layers),
        past_(stack.shape.layers, Row(width_)) {
    for (size_t b = 0; b < stack.shape.layers; ++b) {
      taps_.push_back(Relaxed() ? std::vector<Row>() : Taps(b, length + 1));
    }
  }

  Row Logits(int32_t token) {
    const std::vector<float>& embedding = Tensor("embedding");
    const auto first =
        embedding.begin() +
        static_cast<std::ptrdiff_t>(static_cast<size_t>(token) * width_);
    Row x(first, first + static_cast<std::ptrdiff_t>(width_));
    std::vector<Row> left(stack_.shape.layers);
    for (size_t b = 0; b < stack_.shape.layers; ++b) {
      Hyena(b, left, &x);
      Row hidden = Product(Own(b, "up"), RmsNorm(x));
      for (double& v : hidden) v = Gelu(v);
      Add(Product(Own(b, "down"), hidden), &x);
      left[b] = x;
    }
    past_ = std::move(left);
    return Product(embedding, RmsNorm(x));
  }

 private:
  // Whose taps come with the positions.
  bool Relaxed() const {
    return stack_.shape.mixer == StudyMixer::kRelaxedHyena;
  }
  const std::vector<float>& Tensor(const std::string& name) const {
    return stack_.tensors.at(name);
  }
  const std::vector<float>& Own(size_t b, const char* name) const {
    return Tensor(fmt::format("blocks.{}.{}", b, name));
  }
  static Row Product(const std::vector<float>& matrix, const Row& x) {
    Row y(matrix.size() / x.size());
    for (size_t r = 0; r < y.size(); ++r) {
      for (size_t k = 0; k < x.size(); ++k) {
        y[r] += static_cast<double>(matrix[r * x.size() + k]) * x[k];
      }
    }
    return y;
  }
  static void Add(const Row& what, Row* x) {
    for (size_t i = 0; i < x->size(); ++i) (*x)[i] += what[i];
  }
  // The first `count` of a block's long filters.
  std::vector<Row> Taps(size_t b, size_t count) const {
    constexpr size_t kPoles = StudyShape::kPoles;
    const std::vector<float>& residues = Own(b, "residues");
    const std::vector<float>& log_poles = Own(b, "log_poles");
    std::vector<Row> taps(count, Row(width_));
    for (size_t lag = 0; lag < count; ++lag) {
      for (size_t i = 0; i < width_ * kPoles; ++i) {
        taps[lag][i / kPoles] += static_cast<double>(residues[i]) *
                                 std::exp(static_cast<double>(log_poles[i]) *
                                          static_cast<double>(lag));
      }
    }
    return taps;
  }
  // What the inputs so far give to output `at`.
  Row LongSum(size_t b, size_t at) const {
    Row y(width_);
    for (size_t i = 0; i < long_inputs_[b].size(); ++i) {
      for (size_t c = 0; c < width_; ++c) {
        y[c] += taps_[b][at - i][c] * long_inputs_[b][i][c];
      }
    }
    return y;
  }
  void Hyena(size_t b, const std::vector<Row>& left, Row* x) {
    short_inputs_[b].push_back(Product(Own(b, "in"), RmsNorm(*x)));
    const size_t t = short_inputs_[b].size() - 1;
    const std::vector<float>& taps = Own(b, "short");
    Row streams(short_inputs_[b].back().size());
    const size_t count = taps.size() / streams.size();
    for (size_t c = 0; c < streams.size(); ++c) {
      for (size_t lag = 0; lag < std::min(count, t + 1); ++lag) {
        streams[c] += static_cast<double>(taps[(c + 1) * count - 1 - lag]) *
                      short_inputs_[b][t - lag][c];
      }
    }
    Row seen(width_);
    if (stack_.shape.Links(b)) {
      switch (stack_.shape.link) {
        case StudyLink::kNone:
          break;
        case StudyLink::kOutput:
          seen = RmsNorm(left[0]);
          break;
        case StudyLink::kPast:
          seen = RmsNorm(past_[b + 1]);
          break;
        case StudyLink::kAhead:
          seen = RmsNorm(LongSum(b - 1, t + 1));
          break;
      }
    }
    Row u(width_);
    for (size_t c = 0; c < width_; ++c) {
      u[c] = (streams[width_ + c] + seen[c]) * streams[2 * width_ + c];
    }
    long_inputs_[b].push_back(u);
    if (Relaxed()) {
      taps_[b].emplace_back(
          streams.begin() + static_cast<std::ptrdiff_t>(3 * width_),
          streams.end());
    }
    Row y = LongSum(b, t);
    if (Relaxed()) {
      y = RmsNorm(y);
    } else {
      const std::vector<float>& skip = Own(b, "skip");
      for (size_t c = 0; c < width_; ++c) y[c] += skip[c] * u[c];
    }
    for (size_t c = 0; c < width_; ++c) y[c] *= streams[c];
    Add(Product(Own(b, "out"), y), x);
  }

  const StudyStack& stack_;
  const size_t width_;
  // Of each block, [lag][channel] and [position][channel].
  std::vector<std::vector<Row>> taps_, short_inputs_, long_inputs_;
  std::vector<Row> past_;  // What blocks left one position ago.
};

StatusOr<std::vector<float>> Engine(const StudyStack& stack,
                                    conv::Method method,
                                    const std::vector<int32_t>& tokens,
                                    bool steps, ThreadPool& pool) {
  PrepareOptions options;
  options.horizon = tokens.size();
  options.plan.method = method;
  options.plan.threads = pool.NumThreads();
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const PreparedModel> prepared,
                        stack.model->Prepare(options, pool, nullptr));
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<ModelState> state,
                        prepared->NewState(pool));
  std::vector<float> all;
  if (!steps) {
    LCSM_RETURN_IF_ERROR(state->Prefill(
        tokens, {.on_logits = [&](size_t, std::span<const float> logits) {
          all.insert(all.end(), logits.begin(), logits.end());
          return OkStatus();
        }}));
    return all;
  }
  const size_t vocab = stack.model->info().padded_vocab;
  all.resize(tokens.size() * vocab);
  for (size_t t = 0; t < tokens.size(); ++t) {
    state->Step(tokens[t], all.data() + t * vocab);
  }
  return all;
}

// The largest difference as a share of the largest of `want`; NaN where one is.
double Difference(const std::vector<float>& got,
                  const std::vector<double>& want) {
  double largest = 0, difference = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    largest = std::max(largest, std::abs(want[i]));
    const double one = std::abs(got[i] - want[i]);
    if (!(one <= difference)) difference = one;
  }
  return difference / largest;
}

}  // namespace

std::vector<double> ReferenceLogits(const StudyStack& stack,
                                    const std::vector<int32_t>& tokens) {
  Reference reference(stack, tokens.size());
  std::vector<double> all;
  for (const int32_t token : tokens) {
    const Row logits = reference.Logits(token);
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

StatusOr<double> CheckStudyStack(const StudyShape& shape, size_t length,
                                 ThreadPool& pool) {
  StudyShape small = shape;
  small.length = length;
  LCSM_ASSIGN_OR_RETURN(const StudyStack stack, MakeStudyStack(small));
  std::mt19937 rng(7);
  std::vector<int32_t> tokens(length);
  for (int32_t& token : tokens) {
    token = static_cast<int32_t>(rng() % StudyShape::kVocab);
  }
  std::vector<double> want;
  if (shape.mixer == StudyMixer::kHyena ||
      shape.mixer == StudyMixer::kRelaxedHyena) {
    want = ReferenceLogits(stack, tokens);
  } else {
    LCSM_ASSIGN_OR_RETURN(
        const std::vector<float> lazy,
        Engine(stack, conv::Method::kLazy, tokens, false, pool));
    want.assign(lazy.begin(), lazy.end());
  }
  double worst = 0;
  for (const bool steps : {true, false}) {
    LCSM_ASSIGN_OR_RETURN(
        const std::vector<float> got,
        Engine(stack, conv::Method::kPlanned, tokens, steps, pool));
    const double difference = Difference(got, want);
    if (!(difference <= kStudyTolerance)) {
      return InternalError(fmt::format(
          "logits of a stack of {} with {} links ({}) by {} differ by {:.2e} "
          "of the largest one from what is computed anew for each position, "
          "more than {:.0e}",
          Name(shape.mixer), shape.links, Name(shape.link),
          steps ? "steps" : "known tokens", difference, kStudyTolerance));
    }
    worst = std::max(worst, difference);
  }
  return worst;
}

}  // namespace lcsm::bench
