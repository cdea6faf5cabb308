// Decode steps allocate nothing (design 7), whoever would do it: malloc itself
// is counted, so that a library's allocations show as well as ours. Not built
// under sanitizers, which own malloc.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "base/thread_pool.h"
#include "conv/online_convolution.h"
#include "conv/relaxed_convolution.h"
#include "mixers/diagonal_ssm.h"
#include "mixers/fir_mixer.h"
#include "mixers/gated_mixer.h"
#include "mixers/linear_attention.h"
#include "mixers/long_convolution.h"
#include "mixers/max_plus.h"
#include "mixers/mixer_set.h"
#include "mixers/selective_ssm.h"
#include "mixers/softmax_attention.h"
#include "models/load_model.h"
#include "runtime/model.h"

namespace {

std::atomic<bool> counting{false};
std::atomic<size_t> allocations{0};

void Count() {
  if (counting.load(std::memory_order_relaxed)) ++allocations;
}

}  // namespace

// glibc's own, under the names it keeps for those who interpose.
extern "C" {
void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t count, size_t bytes);
void* __libc_realloc(void* p, size_t bytes);
void* __libc_memalign(size_t alignment, size_t bytes);

void* malloc(size_t bytes) {
  Count();
  return __libc_malloc(bytes);
}
void* calloc(size_t count, size_t bytes) {
  Count();
  return __libc_calloc(count, bytes);
}
void* realloc(void* p, size_t bytes) {
  Count();
  return __libc_realloc(p, bytes);
}
void* aligned_alloc(size_t alignment, size_t bytes) {
  Count();
  return __libc_memalign(alignment, bytes);
}
}

namespace lcsm {
namespace {

// Allocations of all threads while `body` runs.
template <typename Body>
size_t CountAllocations(Body&& body) {
  allocations = 0;
  counting = true;
  body();
  counting = false;
  return allocations;
}

std::vector<conv::PlanOptions> AllOptions() {
  using conv::Method;
  using conv::Tau;
  std::vector<conv::PlanOptions> all;
  for (conv::Schedule schedule :
       {conv::Schedule::kPerLayer, conv::Schedule::kAcrossLayers}) {
    all.push_back({Method::kLazy, Tau::kHybrid, schedule});
    all.push_back({Method::kEager, Tau::kHybrid, schedule});
    for (Tau tau : {Tau::kDirect, Tau::kDirectBlocked, Tau::kFftLibrary,
                    Tau::kFftFused, Tau::kHybrid}) {
      all.push_back({Method::kPaper, tau, schedule});
    }
  }
  return all;
}

TEST(AllocationTest, TheCounterCounts) {
  // Through volatile pointers, or the compiler proves the pair needless.
  EXPECT_EQ(CountAllocations([] {
              void* (*volatile allocate)(size_t) = malloc;
              void (*volatile release)(void*) = free;
              release(allocate(100));
            }),
            1u);
  EXPECT_EQ(CountAllocations([] {
              int* volatile p = new int(1);
              delete p;
            }),
            1u);
  EXPECT_EQ(CountAllocations([] {}), 0u);
}

TEST(AllocationTest, ConvolutionStepsAllocateNothing) {
  for (const conv::PlanOptions& options : AllOptions()) {
    conv::Problem problem;
    problem.mixers = 2;
    problem.channels = 33;
    problem.length = problem.taps = 600;
    ThreadPool pool(2);
    const conv::Plan plan = conv::MakePlan(problem, options).value();
    std::shared_ptr<conv::FilterBank> bank =
        conv::FilterBank::Create(problem).value();
    std::vector<float> row(problem.channels, 0.5f);
    for (size_t m = 0; m < 2; ++m) bank->SetTaps(m, 0, 1, row.data());
    auto prepared = conv::PreparedConvolution::Create(plan, bank, pool).value();
    auto session = conv::OnlineConvolution::Create(prepared, pool).value();
    std::vector<float> y(problem.channels);
    EXPECT_EQ(CountAllocations([&] {
                for (size_t t = 0; t < problem.length; ++t) {
                  for (size_t m = 0; m < 2; ++m)
                    session->Step(m, row.data(), y.data());
                  session->Advance();
                }
              }),
              0u)
        << plan.Print();
  }
}

TEST(AllocationTest, MixerStepsAllocateNothing) {
  ThreadPool pool(2);
  const size_t width = 24, length = 300;
  std::vector<MixerEntry> mixers;
  const std::vector<float> taps(length * width, 0.1f);
  const std::shared_ptr<const Mixer> convolution =
      LongConvolution::Create(width, taps).value();
  mixers.push_back({GatedMixer::Create({convolution, convolution}).value()});
  mixers.push_back(
      {FirMixer::Create(width, 1, std::vector<float>(width, 1.0f)).value()});
  DiagonalModes modes;
  modes.channels = width;
  modes.poles.assign(width, {0.5, 0.5});
  modes.residues.assign(width, 1);
  mixers.push_back({DiagonalSsm::Create(modes).value()});
  mixers.push_back(
      {SelectiveSsm::Create(width, 2, std::vector<float>(2 * width, -1))
           .value()});
  LinearAttentionOptions linear;
  linear.feature = LinearAttentionOptions::Feature::kEluPlusOne;
  linear.normalise = true;
  mixers.push_back({LinearAttention::Create(linear).value()});
  SoftmaxAttentionOptions softmax;
  softmax.key = softmax.value = softmax.rotary = 8;
  softmax.window = 100;
  mixers.push_back({SoftmaxAttention::Create(softmax).value()});
  mixers.push_back({MaxPlusMixer(width, taps).value()});
  MixerSetOptions options;
  options.horizon = length;
  const auto prepared = PreparedMixers::Create(mixers, options, pool).value();
  const auto states = prepared->NewStates(pool).value();
  const std::vector<float> x(10 * width, 0.5f);
  std::vector<float> y(10 * width);
  EXPECT_EQ(CountAllocations([&] {
              for (size_t t = 0; t < length; ++t) {
                for (size_t m = 0; m < states->size(); ++m) {
                  (*states)[m].Step(x.data(), y.data());
                }
                states->Advance();
              }
            }),
            0u);
}

TEST(AllocationTest, RelaxedStepsAllocateNothing) {
  for (const conv::Method method :
       {conv::Method::kLazy, conv::Method::kPaper, conv::Method::kPlanned}) {
    conv::Problem problem;
    problem.channels = 33;
    problem.length = problem.taps = 600;
    ThreadPool pool(2);
    const conv::Plan plan =
        conv::MakeRelaxedPlan(problem, {.method = method}).value();
    auto session = conv::RelaxedConvolution::Create(plan, pool).value();
    std::vector<float> row(problem.channels, 0.5f), y(problem.channels);
    EXPECT_EQ(CountAllocations([&] {
                while (session->position() < 500) {
                  session->Step(0, row.data(), row.data(), y.data());
                  session->Advance();
                }
                for (size_t k = 0; k < 100; ++k) {
                  session->StepMany(0, 1, row.data(), row.data(), y.data());
                  session->AdvanceMany(1);
                }
              }),
              0u)
        << plan.Print();
  }
}

TEST(AllocationTest, DecodeStepsAllocateNothing) {
  const std::filesystem::path folder = std::filesystem::path(LCSM_SOURCE_DIR) /
                                       "tests/data/golden/hyenadna-tiny-1k-hf";
  const auto model = LoadModel(folder);
  ASSERT_TRUE(model.ok()) << model.status().message();
  size_t threads = 1;
  for (const conv::PlanOptions& options : AllOptions()) {
    threads = 3 - threads;  // One and two in turn.
    ThreadPool pool(threads);
    PrepareOptions prepare;
    prepare.horizon = 300;
    prepare.plan = options;
    const auto prepared = (*model)->Prepare(prepare, pool, nullptr);
    ASSERT_TRUE(prepared.ok()) << prepared.status().message();
    auto state = (*prepared)->NewState(pool).value();
    std::vector<float> logits((*model)->info().padded_vocab);
    EXPECT_EQ(CountAllocations([&] {
                for (size_t t = 0; t < prepare.horizon; ++t) {
                  state->Step(static_cast<int32_t>(7 + t % 4), logits.data());
                }
              }),
              0u)
        << (*prepared)->plan().Print();
    state->Reset();
    const auto batch = state->Spread(3).value();
    logits.resize(3 * logits.size());
    const int32_t tokens[] = {7, 8, 9};
    EXPECT_EQ(CountAllocations([&] {
                for (size_t t = 0; t < prepare.horizon; ++t) {
                  batch->Step(tokens, logits.data());
                }
              }),
              0u)
        << (*prepared)->plan().Print();
  }
}

TEST(AllocationTest, StepsOfBatchesOfStacksAllocateNothing) {
  for (const char* name :
       {"stack-ahead", "stack-links", "stack-mixed", "stack-relaxed",
        "stu-full", "h3", "stripedhyena2"}) {
    const auto model = LoadModel(std::filesystem::path(LCSM_SOURCE_DIR) /
                                 "tests/data/golden" / name);
    ASSERT_TRUE(model.ok()) << model.status().message();
    for (size_t threads : {1, 2}) {
      ThreadPool pool(threads);
      PrepareOptions prepare;
      prepare.horizon = 60;
      prepare.plan.method = conv::Method::kPlanned;
      const auto prepared = (*model)->Prepare(prepare, pool, nullptr).value();
      const auto state = prepared->NewState(pool).value();
      const std::vector<int32_t> prompt = {1, 2, 3, 1, 2};
      ASSERT_TRUE(state->Prefill(prompt, {}).ok());
      const auto batch = state->Spread(3).value();
      std::vector<float> logits(3 * (*model)->info().padded_vocab);
      const int32_t tokens[] = {1, 2, 3};
      EXPECT_EQ(CountAllocations([&] {
                  while (batch->StepRoom() > 0) {
                    batch->Step(tokens, logits.data());
                  }
                }),
                0u)
          << name;
    }
  }
}

TEST(AllocationTest, StepsOfGrownSessionsAllocateNothing) {
  for (const char* name : {"hyenadna-tiny-1k-hf", "stack-mixed", "h3"}) {
    const auto model = LoadModel(std::filesystem::path(LCSM_SOURCE_DIR) /
                                 "tests/data/golden" / name);
    ASSERT_TRUE(model.ok()) << model.status().message();
    for (const conv::Method method :
         {conv::Method::kPlanned, conv::Method::kEager}) {
      ThreadPool pool(2);
      PrepareOptions prepare;
      prepare.horizon = 20;
      prepare.plan.method = method;
      prepare.growable = true;
      auto prepared = (*model)->Prepare(prepare, pool, nullptr).value();
      auto state = prepared->NewState(pool).value();
      std::vector<float> logits((*model)->info().padded_vocab);
      for (const size_t horizon : {20, 33, 60}) {
        if (horizon != 20) {
          prepare.horizon = horizon;
          prepare.shorter = prepared.get();
          auto longer = (*model)->Prepare(prepare, pool, nullptr).value();
          state = longer->Grow(*state).value();
          prepared = longer;
        }
        EXPECT_EQ(CountAllocations([&] {
                    while (state->StepRoom() > 1) {
                      state->Step(static_cast<int32_t>(state->position() % 4),
                                  logits.data());
                    }
                  }),
                  0u)
            << name << " " << prepared->plan().Print();
      }
    }
  }
}

TEST(AllocationTest, EvaluatingTapsAllocatesNothing) {
  // Its positions lie in the file.
  const std::filesystem::path folder = std::filesystem::path(LCSM_SOURCE_DIR) /
                                       "tests/data/golden/hyenadna-tiny-1k-hf";
  const auto model = LoadModel(folder);
  ASSERT_TRUE(model.ok()) << model.status().message();
  for (const size_t threads : {1, 2}) {
    ThreadPool pool(threads);
    PrepareOptions prepare;
    prepare.horizon = 500;
    prepare.plan.levels = conv::ParseLevels(
                              "1x16 direct, 16x2 fft-fused evaluated, "
                              "32x8 fft-fused, 256 fft-fused evaluated",
                              "plan")
                              .value();
    const auto prepared = (*model)->Prepare(prepare, pool, nullptr);
    ASSERT_TRUE(prepared.ok()) << prepared.status().message();
    auto state = (*prepared)->NewState(pool).value();
    std::vector<float> logits((*model)->info().padded_vocab);
    EXPECT_EQ(CountAllocations([&] {
                for (size_t t = 0; t < prepare.horizon; ++t) {
                  state->Step(static_cast<int32_t>(7 + t % 4), logits.data());
                }
              }),
              0u);
  }
}

TEST(AllocationTest, StepsOfStacksAllocateNothing) {
  for (const char* name : {"stack-filters", "stack-links", "stack-mixed",
                           "stu-full", "h3", "stripedhyena1"}) {
    const auto model = LoadModel(std::filesystem::path(LCSM_SOURCE_DIR) /
                                 "tests/data/golden" / name);
    ASSERT_TRUE(model.ok()) << model.status().message();
    for (size_t threads : {1, 2}) {
      ThreadPool pool(threads);
      const auto prepared =
          (*model)->Prepare({.horizon = 90, .plan = {}}, pool, nullptr);
      ASSERT_TRUE(prepared.ok()) << prepared.status().message();
      auto state = (*prepared)->NewState(pool).value();
      std::vector<float> logits((*model)->info().padded_vocab);
      EXPECT_EQ(CountAllocations([&] {
                  for (size_t t = 0; t < 90; ++t) {
                    state->Step(static_cast<int32_t>(t % 7), logits.data());
                  }
                }),
                0u)
          << name;
    }
  }
}

}  // namespace
}  // namespace lcsm
