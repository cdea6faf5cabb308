#include "bench/paper_stack.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "bench/timing.h"
#include "conv/reference.h"
#include "kernels/dense.h"
#include "kernels/pointwise.h"
#include "models/hyena_state.h"
#include "models/hyena_synthetic.h"

namespace lcsm::bench {
namespace {

// As in hyena_state.cc, where they are explained.
constexpr size_t kRowUnit = 16;
constexpr size_t kGrainProducts = 32768;

// Calls body(begin, end) on ranges of the rows [0, n) of a matrix with `in`
// columns that `count` vectors go through.
template <typename Body>
void SplitRows(ThreadPool& pool, size_t n, size_t in, size_t count,
               Body&& body) noexcept {
  const size_t units = (n + kRowUnit - 1) / kRowUnit;
  const size_t grain = kGrainProducts / (kRowUnit * in * count) + 1;
  pool.ParallelFor(units, grain, [&](size_t begin, size_t end, size_t) {
    body(begin * kRowUnit, std::min(n, end * kRowUnit));
  });
}

// Gaussian numbers drawn once and repeated with a period that divides no
// matrix: drawing 85 million of them takes a while.
void FillGaussian(float scale, size_t seed, size_t n, ThreadPool& pool,
                  float* out) {
  constexpr size_t kPeriod = 999983;
  std::mt19937 rng(static_cast<uint32_t>(seed));
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> table(std::min(n, kPeriod));
  for (float& v : table) v = normal(rng);
  pool.ParallelFor(n, kPeriod, [&](size_t begin, size_t end, size_t) {
    for (size_t i = begin; i < end; ++i) out[i] = table[i % table.size()];
  });
}

double Gelu(double x) {
  return 0.5 * x *
         (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

class HyenaStack : public PaperStack {
 public:
  HyenaStack(std::unique_ptr<HyenaState> state, size_t vocab,
             size_t padded_vocab)
      : state_(std::move(state)), vocab_(vocab), logits_(padded_vocab) {}

  void Step() noexcept override {
    state_->Step(token_, logits_.data());
    token_ = static_cast<int32_t>(
        std::max_element(logits_.begin(), logits_.begin() + vocab_) -
        logits_.begin());
  }
  const StepTimes& times() const override { return state_->times(); }
  conv::OnlineConvolution& convolution() override {
    return *state_->convolution();
  }

 private:
  std::unique_ptr<HyenaState> state_;
  size_t vocab_;
  std::vector<float> logits_;
  int32_t token_ = 7;
};

}  // namespace

StatusOr<std::shared_ptr<const SyntheticWeights>> MakeSyntheticWeights(
    size_t layers, size_t width, ThreadPool& pool) {
  auto weights = std::make_shared<SyntheticWeights>();
  weights->layers = layers;
  weights->width = width;
  const size_t floats = layers * 4 * width * width;
  LCSM_ASSIGN_OR_RETURN(weights->up,
                        FloatBuffer::Allocate(floats, "the MLP's weights"));
  LCSM_ASSIGN_OR_RETURN(weights->down,
                        FloatBuffer::Allocate(floats, "the MLP's weights"));
  // GELU lets between a half and 0.7 of the size through: with these, a layer
  // scales by 0.5 to 0.7, and the noise lives on in the first layers.
  const float size = 1.0f / std::sqrt(static_cast<float>(width));
  FillGaussian(size, 1, floats, pool, weights->up.data());
  FillGaussian(size / 2, 2, floats, pool, weights->down.data());
  return std::shared_ptr<const SyntheticWeights>(std::move(weights));
}

std::vector<float> SyntheticNoise(size_t floats) {
  std::vector<float> noise(kSyntheticNoiseRows * floats);
  std::mt19937 rng(3);
  std::normal_distribution<float> normal;
  for (float& v : noise) v = normal(rng);
  return noise;
}

StatusOr<std::unique_ptr<SyntheticStack>> SyntheticStack::Create(
    std::shared_ptr<const SyntheticWeights> weights,
    std::shared_ptr<const conv::PreparedConvolution> prepared,
    ThreadPool& pool) {
  const conv::Problem& problem = prepared->plan().problem;
  const size_t batch = problem.batch, mixers = problem.mixers;
  const size_t width = weights->width;
  std::unique_ptr<SyntheticStack> stack(
      new SyntheticStack(std::move(weights), pool));
  stack->batch_ = batch;
  stack->mixers_ = mixers;
  stack->hidden_.resize(batch * 4 * width);
  stack->output_.resize(batch * width);
  stack->noise_ = SyntheticNoise(batch * width);
  stack->x_.assign(stack->noise_.begin(),
                   stack->noise_.begin() + batch * width);
  LCSM_ASSIGN_OR_RETURN(stack->convolution_, conv::OnlineConvolution::Create(
                                                 std::move(prepared), pool));
  return stack;
}

void SyntheticStack::Mlp(size_t layer) noexcept {
  const DenseKernels& dense = GetDenseKernels();
  const PointwiseKernels& pointwise = GetPointwiseKernels();
  const size_t width = weights_->width, inner = 4 * width;
  SplitRows(pool_, inner, width, batch_, [&](size_t begin, size_t end) {
    dense.dense(weights_->Up(layer), nullptr, width, begin, end, x_.data(),
                width, batch_, hidden_.data(), inner);
    for (size_t row = 0; row < batch_; ++row) {
      float* const h = hidden_.data() + row * inner + begin;
      pointwise.gelu(h, end - begin, h);
    }
  });
  SplitRows(pool_, width, inner, batch_, [&](size_t begin, size_t end) {
    dense.dense(weights_->Down(layer), nullptr, inner, begin, end,
                hidden_.data(), inner, batch_, output_.data(), width);
  });
  x_.swap(output_);
}

void SyntheticStack::Step() noexcept {
  const Stopwatch whole;
  double mixers = 0;
  for (size_t layer = 0; layer < weights_->layers; ++layer) {
    if (layer < mixers_) {
      const Stopwatch watch;
      convolution_->Step(layer, x_.data(), x_.data());
      mixers += watch.Seconds();
    }
    Mlp(layer);
  }
  const size_t position = convolution_->position();
  const Stopwatch tiles;
  convolution_->Advance();
  mixers += tiles.Seconds();
  const Stopwatch sampler;
  std::copy(x_.begin(), x_.end(), output_.begin());
  GetPointwiseKernels().add(
      output_.data(),
      noise_.data() + (position + 1) % kSyntheticNoiseRows * output_.size(),
      output_.size(), x_.data());
  const double head = sampler.Seconds();
  times_.mixers += mixers;
  times_.head += head;
  times_.blocks += whole.Seconds() - mixers - head;
}

StatusOr<double> CheckSyntheticStack(const SyntheticWeights& weights,
                                     const conv::PlanOptions& options,
                                     size_t batch, ThreadPool& pool) {
  constexpr size_t kPositions = 12;
  const size_t width = weights.width;
  conv::Problem problem;
  problem.mixers = std::min<size_t>(2, weights.layers);
  problem.channels = width;
  problem.batch = batch;
  problem.length = problem.taps = kPositions;
  // The same numbers, seen as a model of fewer layers.
  auto few = std::make_shared<SyntheticWeights>();
  few->layers = problem.mixers;
  few->width = width;
  const size_t floats = few->layers * 4 * width * width;
  LCSM_ASSIGN_OR_RETURN(few->up, FloatBuffer::Allocate(floats, "a check"));
  LCSM_ASSIGN_OR_RETURN(few->down, FloatBuffer::Allocate(floats, "a check"));
  std::copy_n(weights.up.data(), floats, few->up.data());
  std::copy_n(weights.down.data(), floats, few->down.data());
  LCSM_ASSIGN_OR_RETURN(conv::Plan plan, conv::MakePlan(problem, options));
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const conv::FilterBank> bank,
                        MakePaperFilters(problem, pool));
  LCSM_ASSIGN_OR_RETURN(
      std::shared_ptr<const conv::PreparedConvolution> prepared,
      conv::PreparedConvolution::Create(std::move(plan), bank, pool));
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<SyntheticStack> stack,
                        SyntheticStack::Create(few, std::move(prepared), pool));
  // history[layer][t][row * D + c], in float64, of the reference's own
  // activations.
  std::vector<std::vector<std::vector<double>>> history(few->layers);
  double error = 0, largest = 0;
  std::vector<double> x(batch * width), hidden(4 * width);
  for (size_t t = 0; t < kPositions; ++t) {
    std::copy(stack->input().begin(), stack->input().end(), x.begin());
    stack->Step();
    for (size_t layer = 0; layer < few->layers; ++layer) {
      history[layer].push_back(x);
      for (size_t c = 0; c < x.size(); ++c) {
        const size_t channel = c % width;
        const float* rho =
            bank->Group(layer, channel / kLanes) + channel % kLanes;
        x[c] = 0;
        for (size_t i = 0; i <= t; ++i)
          x[c] += history[layer][i][c] * rho[(t - i) * kLanes];
      }
      for (size_t row = 0; row < batch; ++row) {
        double* const v = x.data() + row * width;
        for (size_t r = 0; r < hidden.size(); ++r) {
          const float* w = few->Up(layer) + r * width;
          double sum = 0;
          for (size_t k = 0; k < width; ++k) sum += w[k] * v[k];
          hidden[r] = Gelu(sum);
        }
        for (size_t r = 0; r < width; ++r) {
          const float* w = few->Down(layer) + r * hidden.size();
          double sum = 0;
          for (size_t k = 0; k < hidden.size(); ++k) sum += w[k] * hidden[k];
          v[r] = sum;
        }
      }
    }
    for (size_t c = 0; c < x.size(); ++c) {
      largest = std::max(largest, std::abs(x[c]));
      error = std::max(error, std::abs(x[c] - stack->output()[c]));
    }
  }
  return largest > 0 ? error / largest : error;
}

StatusOr<HyenaConfig> HyenaSetting(size_t layers, size_t width, size_t length) {
  LCSM_ASSIGN_OR_RETURN(HyenaConfig config,
                        SyntheticConfig("hyenadna-large-1m"));
  config.layers = layers;
  config.width = width;
  config.inner = 4 * width;
  config.max_length = length;
  return config;
}

StatusOr<std::shared_ptr<const HyenaWeights>> MakeHyenaWeights(size_t layers,
                                                               size_t width,
                                                               size_t length) {
  LCSM_ASSIGN_OR_RETURN(const HyenaConfig config,
                        HyenaSetting(layers, width, length));
  return HyenaWeights::Bind(config, MakeRandomSource(1));
}

StatusOr<std::unique_ptr<PaperStack>> MakeHyenaStack(
    std::shared_ptr<const HyenaWeights> weights,
    std::shared_ptr<const conv::PreparedConvolution> prepared,
    ThreadPool& pool) {
  const HyenaConfig& config = weights->config();
  const size_t vocab = config.vocab, padded = config.padded_vocab;
  LCSM_ASSIGN_OR_RETURN(
      std::unique_ptr<HyenaState> state,
      HyenaState::Create(std::move(weights), std::move(prepared), pool));
  return std::unique_ptr<PaperStack>(
      std::make_unique<HyenaStack>(std::move(state), vocab, padded));
}

StatusOr<std::shared_ptr<const conv::FilterBank>> MakePaperFilters(
    const conv::Problem& problem, ThreadPool& pool) {
  // A period of noise, begun elsewhere for each mixer.
  constexpr size_t kPeriod = 2039;
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<conv::FilterBank> filters,
                        conv::FilterBank::Create(problem));
  std::vector<float> noise(kPeriod * problem.channels);
  FillGaussian(1.0f / std::sqrt(static_cast<float>(filters->taps())), 4,
               noise.size(), pool, noise.data());
  pool.ParallelFor(problem.mixers, 1, [&](size_t begin, size_t end, size_t) {
    for (size_t m = begin; m < end; ++m) {
      for (size_t n = 0; n < filters->taps();) {
        const size_t row = (n + 17 * m) % kPeriod;
        const size_t count = std::min(kPeriod - row, filters->taps() - n);
        filters->SetTaps(m, n, count, noise.data() + row * problem.channels);
        n += count;
      }
    }
  });
  return std::shared_ptr<const conv::FilterBank>(std::move(filters));
}

}  // namespace lcsm::bench
