// That the studies measure what they say; never how fast anything is.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <random>
#include <set>
#include <tuple>
#include <vector>

#include "bench/byte_count.h"
#include "bench/bytes_bench.h"
#include "bench/links_bench.h"
#include "bench/mixers_bench.h"
#include "bench/read_speed.h"
#include "bench/step_samples.h"
#include "bench/study_stack.h"
#include "conv/level_op.h"
#include "conv/random_plan.h"

namespace lcsm::bench {
namespace {

using conv::Level;
using conv::Plan;
using conv::Problem;
using conv::Tau;

// ---- Steps that stand for others

TEST(StepSamplesTest, StandForAllSteps) {
  for (const auto& [begin, end] :
       std::vector<std::pair<size_t, size_t>>{{1, 2},
                                              {5, 6},
                                              {100, 200},
                                              {600, 1300},
                                              {1024, 2048},
                                              {8192, 16384},
                                              {12345, 98765},
                                              {65536, 131072}}) {
    SCOPED_TRACE(fmt::format("{} to {}", begin, end));
    const std::vector<StepRun> runs =
        SampleSteps(begin, end, StepPattern::kTiled);
    // What a step costs depends on its tile; sums of those are exact.
    double weights = 0, sampled = 0, all = 0;
    size_t steps = 0;
    for (const StepRun& run : runs) {
      ASSERT_LT(run.first + run.warm + run.weights.size(), end);
      for (size_t k = 0; k < run.weights.size(); ++k) {
        const size_t known = run.first + run.warm + k + 1;
        ASSERT_GE(known, begin);
        weights += run.weights[k];
        sampled += run.weights[k] * static_cast<double>(known & -known);
      }
      steps += run.warm + run.weights.size();
    }
    for (size_t known = begin; known < end; ++known) {
      all += static_cast<double>(known & -known);
    }
    EXPECT_NEAR(weights, 1, 1e-9);
    EXPECT_NEAR(sampled, all / static_cast<double>(end - begin), 1e-9 * all);
    EXPECT_LE(steps, 800u);
  }
}

TEST(StepSamplesTest, TilesOfALargerRadixAreMetAlike) {
  // Of each size all remainders modulo 16 that it has.
  std::map<size_t, std::set<size_t>> odd;
  for (const StepRun& run :
       SampleSteps(1 << 16, 1 << 17, StepPattern::kTiled)) {
    if (run.weights.size() != 1) continue;
    const size_t known = run.first + run.warm + 1, block = known & -known;
    odd[block].insert(known / block % 16);
  }
  for (size_t block = 64; block <= 2048; block *= 2) {
    EXPECT_EQ(odd[block].size(), 8u) << block;
  }
}

TEST(StepSamplesTest, OtherPatterns) {
  for (const auto pattern : {StepPattern::kEven, StepPattern::kDeferred}) {
    for (const size_t end : {2, 30, 5000, 100000}) {
      double weights = 0;
      for (const StepRun& run : SampleSteps(1, end, pattern)) {
        ASSERT_LT(run.first + run.weights.size(), end);
        for (const double weight : run.weights) weights += weight;
      }
      EXPECT_NEAR(weights, 1, 1e-9);
    }
  }
}

TEST(StepSamplesTest, MeansAreWeighted) {
  size_t position = 0;
  double probe = 0;
  const StepMeans means = MeanStep(
      {{3, 1, {0.25, 0.25}}, {10, 0, {0.5}}}, [&](size_t at) { position = at; },
      [&] { probe += static_cast<double>(position++); }, [&] { return probe; });
  EXPECT_EQ(means.probe, 0.25 * 4 + 0.25 * 5 + 0.5 * 10);
  EXPECT_GT(means.step, 0);
}

// ---- Bytes

// Which lines and spectra a plan's tiles touch, pair by pair from what plan.h
// says a level serves, in sets; nothing of TileAt and its closed forms.
class Touched {
 public:
  explicit Touched(const Plan& plan) : plan_(plan), problem_(plan.problem) {}

  double Tile(size_t known) {
    if (known >= problem_.length) return 0;
    if (plan_.method == conv::Method::kLazy) {
      return Sums(0, known, known, known + 1);
    }
    // The largest block that ends here.
    const Level* due = &plan_.levels.front();
    for (const Level& level : plan_.levels) {
      if (known % level.block == 0) due = &level;
    }
    const size_t block = due->block, target = known / block;
    const std::vector<size_t> from = From(*due, target);
    if (from.empty()) return 0;
    const size_t end = std::min(known + block, problem_.length);
    if (due->tau == Tau::kDirect || due->tau == Tau::kDirectBlocked) {
      return Sums(from.front() * block, known, known, end);
    }
    return Transforms(*due, target, from, end - known);
  }

  // Slices of filters met so far, in lines as they are stored.
  size_t SliceLines() const {
    size_t lines = 0;
    for (const auto& [block, distance] : slices_) lines += 2 * block + 3;
    return lines;
  }

 private:
  // Blocks that the level serves block `target` from, nearest last.
  std::vector<size_t> From(const Level& level, size_t target) const {
    std::vector<size_t> from;
    for (size_t i = 0; i < target; ++i) {
      const bool siblings = level.radix == Level::kToTheEnd ||
                            i / level.radix == target / level.radix;
      // The nearest two of them are one position more than the blocks between.
      const size_t nearest = (target - i - 1) * level.block + 1;
      if (siblings && nearest < problem_.taps) from.push_back(i);
    }
    return from;
  }
  double Sums(size_t x_begin, size_t x_end, size_t y_begin, size_t y_end) {
    std::set<size_t> inputs, lags, outputs;
    for (size_t x = x_begin; x < x_end; ++x) {
      for (size_t y = y_begin; y < y_end; ++y) {
        outputs.insert(y);
        // Tiles take whole blocks of inputs, lazy only those that a tap meets.
        if (y - x < problem_.taps) lags.insert(y - x);
        if (y - x < problem_.taps || plan_.method != conv::Method::kLazy) {
          inputs.insert(x);
        }
      }
    }
    if (lags.empty()) return 0;
    return 64.0 * static_cast<double>(inputs.size() + lags.size() +
                                      2 * outputs.size());
  }
  double Transforms(const Level& level, size_t target,
                    const std::vector<size_t>& from, size_t outputs) {
    const size_t block = level.block, newest = target - 1;
    const bool kept = SlotsOf(problem_, level) != 0;
    std::set<size_t> spectra, distances;
    size_t sums = 0;
    const auto waiting = waiting_.find({block, target});
    for (const size_t i : from) {
      if (waiting != waiting_.end() && waiting->second.contains(i)) continue;
      if (i != newest) spectra.insert(i);
      distances.insert(target - i);
    }
    if (waiting != waiting_.end()) ++sums;
    // The second of a pair, if the level serves it from all of these.
    const size_t first = level.radix == Level::kToTheEnd
                             ? 0
                             : target / level.radix * level.radix;
    const size_t last = first + SlicesOf(problem_, level).count;
    if (kept && (target - first) % 2 == 0 && target + 1 <= last) {
      for (const size_t i : From(level, target + 1)) {
        if (i > newest) continue;
        EXPECT_NE(std::find(from.begin(), from.end(), i), from.end());
        distances.insert(target + 1 - i);
        waiting_[{block, target + 1}].insert(i);
      }
      ++sums;
    }
    if (level.spectra == conv::Spectra::kKept && level.tau == Tau::kFftFused) {
      for (const size_t d : distances) slices_.insert({block, d});
    }
    const size_t blocks = spectra.size() + sums + (kept ? 1 : 0);
    return 64.0 * static_cast<double>(block + 2 * outputs +
                                      2 * block * (blocks + distances.size()));
  }

  const Plan& plan_;
  const Problem& problem_;
  // Blocks whose sum for a target is already there.
  std::map<std::pair<size_t, size_t>, std::set<size_t>> waiting_;
  std::set<std::pair<size_t, size_t>> slices_;
};

void ExpectCounted(const Plan& plan) {
  SCOPED_TRACE(fmt::format("{}, {} positions, {} taps", plan.Print(),
                           plan.problem.length, plan.problem.taps));
  Touched touched(plan);
  double all = RedBytes().Total() * static_cast<double>(plan.problem.length);
  for (size_t known = 1; known < plan.problem.length; ++known) {
    const double tile = touched.Tile(known);
    ASSERT_EQ(TileBytes(plan, known).Total(), tile) << known;
    all += tile;
  }
  const auto counted = CountBytes(plan, false);
  ASSERT_TRUE(counted.ok()) << counted.status().message();
  const double histories =
      static_cast<double>(plan.problem.mixers * plan.problem.batch *
                          ((plan.problem.channels + 15) / 16));
  EXPECT_NEAR(counted->Total(), all * histories, 1e-9 * all * histories);
}

TEST(ByteCountTest, TilesTouchWhatTheirContributionsDo) {
  std::mt19937 rng(17);
  size_t plans = 0, transformed = 0;
  while (plans < 150) {
    Problem problem;
    problem.length = 2 + rng() % 200;
    problem.taps = rng() % 3 == 0 ? 2 + rng() % problem.length : problem.length;
    problem.taps = std::min(problem.taps, problem.length);
    const Plan plan = conv::RandomPlan(problem, rng);
    const auto plain = [](const Level& level) {
      return level.serves == conv::Serves::kSiblings &&
             level.tau != Tau::kFftPast;
    };
    if (plan.levels.empty() ||
        !std::all_of(plan.levels.begin(), plan.levels.end(), plain)) {
      continue;
    }
    ++plans;
    for (const Level& level : plan.levels) {
      transformed += SlotsOf(problem, level) != 0 ? 1 : 0;
    }
    ExpectCounted(plan);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(transformed, 20u);
}

TEST(ByteCountTest, MethodsByName) {
  Problem problem;
  problem.mixers = 2;
  problem.channels = 20;
  problem.batch = 3;
  for (const size_t length : {2, 100, 1000}) {
    problem.length = problem.taps = length;
    for (const auto method :
         {conv::Method::kLazy, conv::Method::kPaper, conv::Method::kPlanned}) {
      const Plan plan = conv::MakePlan(problem, {.method = method}).value();
      ExpectCounted(plan);
      // Every slice that is kept is met, and no other.
      if (method == conv::Method::kLazy) continue;
      Touched touched(plan);
      for (size_t known = 1; known < length; ++known) touched.Tile(known);
      EXPECT_EQ(touched.SliceLines() * 64 * 2 * 2, plan.Memory(1).spectra);
    }
    // Rows of a batch share filters, and nothing else.
    const Plan plan =
        conv::MakePlan(problem, {.method = conv::Method::kPaper}).value();
    const BytesMoved together = CountBytes(plan, true).value();
    const BytesMoved apart = CountBytes(plan, false).value();
    EXPECT_NEAR(together.filters * 3, apart.filters, 1e-9 * apart.filters);
    EXPECT_EQ(together.inputs, apart.inputs);
    EXPECT_EQ(together.outputs, apart.outputs);
  }
}

// Each input, to each output in reach, by way of the accumulators that are
// passed on every 256 inputs, and by one line each time.
TEST(ByteCountTest, Eager) {
  for (const size_t taps : {2, 100, 600}) {
    Problem problem;
    problem.length = 600;
    problem.taps = taps;
    const Plan plan =
        conv::MakePlan(problem, {.method = conv::Method::kEager}).value();
    double lines = 600 * 3;  // Red cells.
    for (size_t known = 1; known < 600; ++known) {
      lines += 1;
      for (size_t t = known; t < 600; ++t) {
        const size_t lag = t - (known - 1);
        if (lag < taps) lines += 3;  // A tap, and its accumulator both ways.
        if (t == known || known % 256 == 0) lines += 4;
      }
    }
    EXPECT_EQ(CountBytes(plan, true)->Total(), 64 * lines);
  }
}

TEST(ByteCountTest, GrowsAsItShould) {
  const auto total = [](conv::Method method, size_t length) {
    Problem problem;
    problem.length = problem.taps = length;
    return CountBytes(conv::MakePlan(problem, {.method = method}).value(), true)
        ->Total();
  };
  for (const auto method : {conv::Method::kLazy, conv::Method::kEager}) {
    EXPECT_NEAR(total(method, 8192) / total(method, 4096), 4, 0.05);
  }
  // L log L: twice the length, one more level of ten or so.
  for (const auto method : {conv::Method::kPaper, conv::Method::kPlanned}) {
    const double ratio = total(method, 1 << 16) / total(method, 1 << 15);
    EXPECT_GT(ratio, 1.8);
    EXPECT_LT(ratio, 2.4);
  }
  const auto refused =
      CountBytes(conv::MakePlan({.length = 4096, .taps = 4096},
                                {.method = conv::Method::kGardner})
                     .value(),
                 true);
  EXPECT_FALSE(refused.ok());
}

TEST(BytesBenchTest, RowsAreComplete) {
  BytesCase wanted;
  wanted.methods = {conv::Method::kLazy, conv::Method::kPlanned};
  wanted.batches = {1, 3};
  wanted.lengths = {64, 300};
  wanted.channels = 20;
  wanted.repeats = 1;
  const auto rows = RunBytes(wanted, nullptr);
  ASSERT_TRUE(rows.ok()) << rows.status().message();
  ASSERT_EQ(rows->size(), 8u);
  for (const BytesRow& row : *rows) {
    EXPECT_GT(row.moved.Total(), 3 * 4.0);
    EXPECT_GE(row.apart, row.moved.Total() * (1 - 1e-9));
    EXPECT_EQ(row.weights, 12.0 * 20 * 4 / static_cast<double>(row.batch));
    EXPECT_GT(row.Share(), 0);
    EXPECT_LT(row.error, 2e-6);
    EXPECT_GT(row.read_speed, 0);
  }
  EXPECT_FALSE(RunBytes(wanted, [](double) { return false; }).ok());
  wanted.timed = false;
  EXPECT_EQ(RunBytes(wanted, nullptr)->front().Share(), 0);
  ThreadPool pool(2);
  EXPECT_GT(ReadMs(1 << 20, pool).value(), 0);
}

// ---- Stacks

constexpr StudyMixer kAll[] = {
    StudyMixer::kHyena, StudyMixer::kRelaxedHyena,    StudyMixer::kStu,
    StudyMixer::kMamba, StudyMixer::kLinearAttention, StudyMixer::kAttention};

TEST(StudyStackTest, NamesAreFoundAgain) {
  for (const StudyMixer mixer : kAll) {
    EXPECT_EQ(StudyMixerFromName(Name(mixer)), mixer);
  }
  for (const auto link : {StudyLink::kNone, StudyLink::kOutput,
                          StudyLink::kPast, StudyLink::kAhead}) {
    EXPECT_EQ(StudyLinkFromName(Name(link)), link);
  }
  EXPECT_FALSE(StudyMixerFromName("Hyena").has_value());
  EXPECT_FALSE(StudyLinkFromName("").has_value());
}

TEST(StudyStackTest, AllKindsAnswerRightly) {
  ThreadPool pool(2);
  for (const StudyMixer mixer : kAll) {
    for (const size_t width : {5, 64}) {
      StudyShape shape;
      shape.mixer = mixer;
      shape.layers = 2;
      shape.width = width;
      const auto difference = CheckStudyStack(shape, 70, pool);
      ASSERT_TRUE(difference.ok()) << difference.status().message();
      EXPECT_LE(*difference, kStudyTolerance);
    }
  }
}

TEST(StudyStackTest, TheReferenceSeesEveryTensor) {
  StudyShape shape;
  shape.layers = 2;
  shape.width = 6;
  shape.length = 20;
  shape.link = StudyLink::kAhead;
  shape.links = 1;
  auto stack = MakeStudyStack(shape);
  ASSERT_TRUE(stack.ok()) << stack.status().message();
  std::vector<int32_t> tokens(20);
  for (size_t t = 0; t < tokens.size(); ++t) {
    tokens[t] = static_cast<int32_t>(t * t % StudyShape::kVocab);
  }
  const std::vector<double> want = ReferenceLogits(*stack, tokens);
  for (auto& [name, values] : stack->tensors) {
    const std::vector<float> kept = values;
    for (float& v : values) v *= 0.5f;
    EXPECT_NE(ReferenceLogits(*stack, tokens), want) << name;
    values = kept;
  }
}

TEST(StudyStackTest, RefusesWhatIsOutOfRange) {
  for (const size_t n : {size_t{0}, size_t{1} << 40}) {
    EXPECT_FALSE(MakeStudyStack({.layers = n}).ok());
    EXPECT_FALSE(MakeStudyStack({.width = n}).ok());
    EXPECT_FALSE(MakeStudyStack({.length = n}).ok());
  }
}

TEST(MixersBenchTest, HistoriesGrowOrDoNot) {
  MixersCase wanted;
  wanted.mixers.assign(std::begin(kAll), std::end(kAll));
  wanted.lengths = {64, 2048};
  wanted.layers = 2;
  wanted.width = 20;
  wanted.repeats = 1;
  wanted.plan.method = conv::Method::kPlanned;
  const auto rows = RunMixers(wanted, nullptr);
  ASSERT_TRUE(rows.ok()) << rows.status().message();
  ASSERT_EQ(rows->size(), 12u);
  for (size_t i = 0; i < 12; i += 2) {
    const MixersRow& small = (*rows)[i];
    const MixersRow& large = (*rows)[i + 1];
    SCOPED_TRACE(Name(small.mixer));
    ASSERT_EQ(small.mixer, large.mixer);
    EXPECT_GT(small.step_ms.min, small.mixing_ms.min);
    EXPECT_GT(small.mixing_ms.min, 0);
    const bool recurrent = small.mixer == StudyMixer::kMamba ||
                           small.mixer == StudyMixer::kLinearAttention;
    if (recurrent) {
      EXPECT_EQ(small.history_bytes, large.history_bytes);
    } else {
      EXPECT_GT(large.history_bytes, 4 * small.history_bytes);
    }
    const bool filters =
        small.mixer == StudyMixer::kHyena || small.mixer == StudyMixer::kStu;
    EXPECT_EQ(large.shared_bytes > 0, filters);
    EXPECT_TRUE(large.sampled);
  }
  EXPECT_FALSE(RunMixers(wanted, [](double) { return false; }).ok());
}

TEST(MixersBenchTest, CrossingsAreOnTheLine) {
  const std::vector<double> modes = {16, 32, 64}, ns = {10, 20, 30};
  EXPECT_EQ(FindCrossing(modes, ns, 15).modes, 24);
  EXPECT_EQ(FindCrossing(modes, ns, 25).modes, 48);
  EXPECT_EQ(FindCrossing(modes, ns, 20).modes, 32);
  EXPECT_TRUE(FindCrossing(modes, ns, 10).between);
  EXPECT_TRUE(FindCrossing(modes, ns, 30).between);
  EXPECT_EQ(FindCrossing(modes, ns, 5).modes, 8);
  EXPECT_FALSE(FindCrossing(modes, ns, 5).between);
  EXPECT_EQ(FindCrossing(modes, ns, 40).modes, 96);
  EXPECT_FALSE(FindCrossing(modes, ns, 40).between);
  EXPECT_EQ(FindCrossing(modes, ns, -10).modes, 0);
  EXPECT_FALSE(FindCrossing(modes, {10, 10, 10}, 12).between);
}

TEST(MixersBenchTest, StatesAgainstConvolutions) {
  StatesCase wanted;
  wanted.lengths = {64, 1024};
  wanted.modes = {2, 8};
  wanted.layers = 2;
  wanted.width = 20;
  wanted.repeats = 1;
  wanted.plan.method = conv::Method::kPlanned;
  const auto result = RunStates(wanted, nullptr);
  ASSERT_TRUE(result.ok()) << result.status().message();
  ASSERT_EQ(result->states.size(), 2u);
  ASSERT_EQ(result->crossover.size(), 2u);
  EXPECT_GT(result->states[0].real_ns.median, 0);
  EXPECT_GT(result->crossover[1].convolution_ns.median, 0);
  EXPECT_LT(result->difference, kStudyTolerance);
  EXPECT_FALSE(RunStates(wanted, [](double) { return false; }).ok());
}

TEST(LinksBenchTest, TheScheduleLosesWhatLinksTake) {
  LinksCase wanted;
  wanted.links = {StudyLink::kOutput, StudyLink::kPast, StudyLink::kAhead};
  wanted.layers = 4;
  wanted.width = 20;
  wanted.length = 700;
  wanted.threads = 2;
  wanted.repeats = 1;
  wanted.plan.method = conv::Method::kPlanned;
  const auto rows = RunLinks(wanted, nullptr);
  ASSERT_TRUE(rows.ok()) << rows.status().message();
  ASSERT_EQ(rows->size(), 12u);
  for (const LinksRow& row : *rows) {
    SCOPED_TRACE(fmt::format("{} {}", Name(row.link), row.links));
    const bool ahead = row.link == StudyLink::kAhead;
    // Those that are read ahead, each with an executor of its own.
    EXPECT_EQ(row.in_order, ahead ? row.links : 0);
    EXPECT_EQ(row.executors, ahead ? row.links + 1 : 1);
    EXPECT_EQ(row.known_by_blocks,
              row.links == 0 || row.link == StudyLink::kOutput);
    EXPECT_GT(row.step_ms.median, row.mixing_ms.median);
    EXPECT_GT(row.known_ms.median, 0);
    EXPECT_LE(row.difference, kStudyTolerance);
  }
  EXPECT_FALSE(RunLinks(wanted, [](double) { return false; }).ok());
}

}  // namespace
}  // namespace lcsm::bench
