// Histories that are rings, of one top block or of two, beside whole ones: the
// same bits, whichever lines outputs and inputs share.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "base/cpu_info.h"
#include "conv/layout.h"
#include "conv/online_convolution.h"
#include "io/section_file.h"

namespace lcsm::conv {
namespace {

using Signal = std::vector<float>;  // [mixer][t][B][D]

class RingTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { ASSERT_TRUE(ForceSimdTarget(GetParam()).ok()); }
  void TearDown() override { ASSERT_TRUE(ForceSimdTarget("best").ok()); }
};

Signal Noise(size_t n, std::mt19937& rng) {
  std::normal_distribution<float> normal;
  Signal noise(n);
  for (float& v : noise) v = normal(rng);
  return noise;
}

StatusOr<Plan> PlanWith(Rings rings, const Problem& problem,
                        const PlanOptions& options) {
  PlanOptions with = options;
  with.rings = rings;
  return MakePlan(problem, with);
}

// By steps and by stretches of known positions, over a fork and a file.
Signal RunAll(const Plan& plan, const std::shared_ptr<FilterBank>& bank,
              const Signal& x, size_t threads, uint32_t seed) {
  std::mt19937 rng(seed);
  const Problem& problem = plan.problem;
  const size_t width = problem.batch * problem.channels;
  ThreadPool pool(threads);
  const auto prepared = PreparedConvolution::Create(plan, bank, pool).value();
  auto conv = OnlineConvolution::Create(prepared, pool).value();
  const std::string path =
      testing::TempDir() + "ring." + std::to_string(::getpid());
  Signal y(x.size());
  while (conv->position() < problem.length) {
    const size_t t = conv->position(), left = problem.length - t;
    switch (rng() % 8) {
      case 0:
        conv = conv->Fork().value();
        break;
      case 1: {
        auto writer = io::SectionWriter::Create(path, "{}").value();
        EXPECT_TRUE(conv->Save(writer).ok());
        EXPECT_TRUE(writer.Finish().ok());
        auto reader = io::SectionReader::Open(path).value();
        conv = OnlineConvolution::Create(prepared, pool).value();
        const Status loaded = conv->Load(reader);
        EXPECT_TRUE(loaded.ok()) << loaded.message();
        break;
      }
      case 2: {
        const size_t count = rng() % (left + 1);
        for (size_t m = 0; m < problem.mixers; ++m) {
          const size_t at = (m * problem.length + t) * width;
          conv->StepMany(m, count, &x[at], &y[at]);
        }
        conv->AdvanceMany(count);
        break;
      }
      default: {
        const size_t end = t + std::min(left, 1 + rng() % 70);
        while (conv->position() < end) {
          for (size_t m = 0; m < problem.mixers; ++m) {
            const size_t at = (m * problem.length + conv->position()) * width;
            conv->Step(m, &x[at], &y[at]);
          }
          conv->Advance();
        }
      }
    }
  }
  std::filesystem::remove(path);
  return y;
}

TEST_P(RingTest, HaveTheBitsOfWholeHistories) {
  std::mt19937 rng(5);
  // The last one has three blocks either way: what is deferred has no inputs
  // to replace.
  const struct {
    const char* levels;
    size_t one, two;  // Lines.
  } cases[] = {
      {"1x8 direct-blocked, 8 fft-fused", 8, 16},
      {"1x16 direct-blocked, 16x2 fft-fused, 32 fft-fused", 32, 64},
      {"1x2 direct-blocked, 2x8 direct, 16x4 fft-fused, 64 fft-fused", 64, 128},
      {"1x16 direct-blocked, 16x2 fft-fused remade, 32x4 fft-fused, "
       "128 fft-fused",
       128, 256},
      {"1x16 direct-blocked, 16x2 fft-fused, 32x2 fft-library, 64 fft-fused",
       64, 128},
      {"1x16 direct-blocked, 16 neighbours fft-fused, 16x4 distant fft-fused, "
       "64 distant fft-fused",
       192, 192},
  };
  for (const auto& c : cases) {
    for (const size_t length : {c.one - 1, c.one, c.one + 1, 2 * c.one,
                                2 * c.one + 1, 3 * c.one - 1, 5 * c.one + 3}) {
      Problem problem;
      problem.mixers = 1 + rng() % 2;
      problem.channels = std::vector<size_t>{1, 16, 17}[rng() % 3];
      problem.batch = 1 + rng() % 2;
      problem.length = length;
      problem.taps = rng() % 4 == 0 ? c.one / 2 + 1 : length;
      PlanOptions options;
      options.method = Method::kPlanned;
      options.levels = ParseLevels(c.levels, "levels").value();
      const auto one = PlanWith(Rings::kOneBlock, problem, options);
      if (!one.ok()) continue;  // A level with nothing to do.
      SCOPED_TRACE(std::string(c.levels) + ", L " + std::to_string(length) +
                   ", H " + std::to_string(problem.taps));
      const Plan two = PlanWith(Rings::kTwoBlocks, problem, options).value();
      const Plan whole = PlanWith(Rings::kNone, problem, options).value();
      EXPECT_EQ(HistoryLines(*one), std::min(length, c.one));
      EXPECT_EQ(HistoryLines(two), std::min(length, c.two));
      EXPECT_EQ(HistoryLines(whole), length);
      EXPECT_EQ(
          whole.Memory(2).histories - one->Memory(2).histories,
          HistoryGroups(problem) * sizeof(float) *
              (HistoryStride(length) - HistoryStride(std::min(length, c.one))));
      const auto bank =
          std::shared_ptr<FilterBank>(FilterBank::Create(problem).value());
      for (size_t m = 0; m < problem.mixers; ++m) {
        bank->SetTaps(m, 0, bank->taps(),
                      Noise(bank->taps() * problem.channels, rng).data());
      }
      Signal x = Noise(
          problem.mixers * length * problem.batch * problem.channels, rng);
      // Silence at first: tiles whose outputs are zeros.
      std::fill_n(x.begin(), x.size() / 3, 0.0f);
      const Signal want = RunAll(whole, bank, x, 1, 1);
      for (const Plan& plan : {*one, two}) {
        for (uint32_t seed : {2u, 3u}) {
          const Signal got = RunAll(plan, bank, x, seed, seed);
          ASSERT_EQ(
              std::memcmp(got.data(), want.data(), want.size() * sizeof(float)),
              0)
              << (plan.rings == Rings::kTwoBlocks ? "two blocks" : "one block");
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, RingTest,
                         testing::ValuesIn(SupportedSimdTargets()),
                         [](const auto& target) { return target.param; });

}  // namespace
}  // namespace lcsm::conv
