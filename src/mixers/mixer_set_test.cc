// Stacks of mixers: who shares an executor, who runs in order, and that the
// answers are those of each mixer alone.
#include "mixers/mixer_set.h"

#include "mixers/diagonal_ssm.h"
#include "mixers/fir_mixer.h"
#include "mixers/long_convolution.h"
#include "mixers/mixer_test_util.h"
#include "mixers/reference.h"
#include "mixers/relaxed_mixer.h"
#include "mixers/softmax_attention.h"

namespace lcsm {
namespace {

using What = MixerRead::What;
using Work = MixerSchedule::Work;

constexpr size_t kWidth = 20, kLength = 150;

std::shared_ptr<const Mixer> Conv(unsigned seed, size_t taps = kLength) {
  auto mixer =
      LongConvolution::Create(kWidth, Normal(taps * kWidth, seed, 0.1f));
  EXPECT_TRUE(mixer.ok());
  return *mixer;
}

std::shared_ptr<const Mixer> Fir() {
  auto mixer = FirMixer::Create(kWidth, 3, Normal(3 * kWidth, 9));
  EXPECT_TRUE(mixer.ok());
  return *mixer;
}

std::shared_ptr<const Mixer> Attention() {
  SoftmaxAttentionOptions options;
  options.key = options.value = 8;
  auto mixer = SoftmaxAttention::Create(options);
  EXPECT_TRUE(mixer.ok());
  return *mixer;
}

StatusOr<MixerSchedule> ScheduleOf(std::vector<MixerEntry> mixers) {
  MixerSetOptions options;
  options.horizon = kLength;
  return PreparedMixers::Schedule(mixers, options);
}

TEST(MixerScheduleTest, LikeConvolutionsShareAnExecutor) {
  const auto schedule = ScheduleOf({{Conv(1), {}},
                                    {Attention(), {}},
                                    {Conv(2), {}},
                                    {Fir(), {}},
                                    {Conv(3, 40), {}},
                                    {Conv(4, 4000), {}}});
  ASSERT_TRUE(schedule.ok());
  ASSERT_EQ(schedule->groups.size(), 2u);
  // Taps beyond the horizon make no difference.
  EXPECT_EQ(schedule->groups[0].mixers, (std::vector<size_t>{0, 2, 5}));
  EXPECT_EQ(schedule->groups[1].mixers, (std::vector<size_t>{4}));
  EXPECT_EQ(schedule->groups[0].plan.problem.mixers, 3u);
  EXPECT_EQ(schedule->entries[0].work, Work::kAcrossLayers);
  EXPECT_EQ(schedule->entries[1].work, Work::kAtOnce);
  EXPECT_EQ(schedule->entries[3].work, Work::kAtOnce);
  EXPECT_EQ(schedule->entries[4].work, Work::kAcrossLayers);
  EXPECT_EQ(schedule->together, MixerSchedule::kAll);
  const std::string text = schedule->Print();
  EXPECT_NE(text.find("mixer 1: softmax attention, 1 heads of 8: at once, its "
                      "contributions look at the query\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("group 0: 3 convolutions of 20 channels, 150 taps: "),
            std::string::npos)
      << text;
}

TEST(MixerScheduleTest, LinksCostOnlyWhatTheyMust) {
  // An output of the same position from before, or of an earlier one: nothing.
  auto schedule = ScheduleOf(
      {{Conv(1), {}}, {Conv(2), {{0, 0, What::kOutput}}}, {Conv(3), {{0, 3}}}});
  ASSERT_TRUE(schedule.ok());
  EXPECT_EQ(schedule->groups.size(), 1u);
  EXPECT_EQ(schedule->together, MixerSchedule::kAll);
  // From behind: the across-layers pass stays, known positions come in parts.
  schedule = ScheduleOf(
      {{Conv(1), {{2, 5}, {1, 9}}}, {Conv(2), {}}, {Conv(3), {{2, 7}}}});
  ASSERT_TRUE(schedule.ok());
  EXPECT_EQ(schedule->groups.size(), 1u);
  EXPECT_EQ(schedule->together, 5u);
  // Ahead: that one runs in order.
  schedule = ScheduleOf(
      {{Conv(1), {}}, {Conv(2), {{0, 0, What::kAhead}}}, {Conv(3), {}}});
  ASSERT_TRUE(schedule.ok());
  EXPECT_EQ(schedule->groups.size(), 2u);
  EXPECT_EQ(schedule->entries[0].work, Work::kInOrder);
  EXPECT_EQ(schedule->entries[1].work, Work::kAcrossLayers);
  EXPECT_EQ(schedule->groups[1].mixers, (std::vector<size_t>{1, 2}));
  EXPECT_EQ(schedule->together, 1u);
  EXPECT_NE(
      schedule->Print().find("in order (group 0), mixer 1 reads it ahead"),
      std::string::npos)
      << schedule->Print();
}

TEST(MixerScheduleTest, WhatIsReadAheadIsNotSpreadOverSteps) {
  MixerSetOptions options;
  options.horizon = 1 << 14;
  options.plan.method = conv::Method::kPlanned;
  options.plan.latency = conv::Latency::kFlat;
  const auto schedule = PreparedMixers::Schedule(
      {{Conv(1, 1 << 14), {}}, {Conv(2, 1 << 14), {{0, 0, What::kAhead}}}},
      options);
  ASSERT_TRUE(schedule.ok()) << schedule.status().message();
  ASSERT_EQ(schedule->groups.size(), 2u);
  EXPECT_FALSE(schedule->groups[0].plan.Deferred());
  EXPECT_TRUE(schedule->groups[1].plan.Deferred());
}

TEST(MixerScheduleTest, RefusesCyclesAndStrangers) {
  const auto refused = [](std::vector<MixerEntry> mixers, const char* what) {
    const auto schedule = ScheduleOf(std::move(mixers));
    ASSERT_FALSE(schedule.ok());
    EXPECT_NE(schedule.status().message().find(what), std::string::npos)
        << schedule.status().message();
  };
  refused({{Conv(1), {{1, 0}}}, {Conv(2), {}}}, "reads mixer 1 of the same");
  refused({{Conv(1), {{0, 0}}}}, "reads mixer 0 of the same position");
  refused({{Conv(1), {{7, 1}}}}, "there are only 1");
  refused({{Fir(), {}}, {Conv(2), {{0, 0, What::kAhead}}}},
          "nothing to read ahead");
  refused({}, "without mixers");
  MixerSetOptions options;
  options.horizon = 0;
  EXPECT_FALSE(PreparedMixers::Schedule({{Conv(1), {}}}, options).ok());
}

// A stack in which each mixer's output goes into the next one.
class MixerSetTest : public testing::Test {
 protected:
  void SetUp() override {
    taps_.push_back(Normal(kLength * kWidth, 1, 0.1f));
    taps_.push_back(Normal(kLength * kWidth, 2, 0.1f));
    taps_.push_back(Normal(33 * kWidth, 3, 0.1f));
    for (const auto& taps : taps_) {
      auto mixer = LongConvolution::Create(kWidth, taps);
      ASSERT_TRUE(mixer.ok());
      mixers_.push_back({*mixer, {}});
    }
    x_ = Normal(kLength * kWidth, 4);
    want_ = Doubles(x_);
    for (const auto& taps : taps_) {
      want_ = ref::Convolution(taps, {}, kWidth, want_);
    }
  }

  std::unique_ptr<MixerStates> Make(const MixerSetOptions& options,
                                    ThreadPool& pool) {
    auto prepared = PreparedMixers::Create(mixers_, options, pool);
    EXPECT_TRUE(prepared.ok());
    auto states = (*prepared)->NewStates(pool);
    EXPECT_TRUE(states.ok());
    return std::move(*states);
  }

  static void Take(MixerStates& states, const std::vector<float>& x,
                   size_t together, std::vector<float>* y) {
    std::vector<float> rows;
    for (size_t t = states.position(); t < kLength;) {
      const size_t count = std::min(together, kLength - t);
      rows.assign(x.data() + t * kWidth, x.data() + (t + count) * kWidth);
      for (size_t m = 0; m < states.size(); ++m) {
        if (count == 1) {
          states[m].Step(rows.data(), rows.data());
        } else {
          ASSERT_TRUE(states[m].Prefill(count, rows.data(), rows.data()).ok());
        }
      }
      std::copy(rows.begin(), rows.end(), y->data() + t * kWidth);
      states.Advance(count);
      t += count;
    }
  }

  std::vector<std::vector<float>> taps_;
  std::vector<MixerEntry> mixers_;
  std::vector<float> x_;
  std::vector<double> want_;
};

TEST_F(MixerSetTest, StackedConvolutions) {
  std::vector<float> first;
  for (size_t threads : {1, 3}) {
    ThreadPool pool(threads);
    for (const auto schedule :
         {conv::Schedule::kAcrossLayers, conv::Schedule::kPerLayer}) {
      for (const auto method : {conv::Method::kPaper, conv::Method::kPlanned,
                                conv::Method::kLazy, conv::Method::kEager}) {
        MixerSetOptions options;
        options.horizon = kLength;
        options.plan.method = method;
        options.plan.schedule = schedule;
        const auto states = Make(options, pool);
        for (size_t together : {size_t{1}, size_t{8}, kLength}) {
          states->Reset();
          std::vector<float> y(x_.size());
          Take(*states, x_, together, &y);
          ExpectNear(y, want_, 2e-6 * 8, "stack");
          if (method != conv::Method::kPaper) continue;
          if (first.empty()) first = y;
          EXPECT_TRUE(SameBits(y, first)) << threads << " " << together;
        }
      }
    }
  }
}

TEST_F(MixerSetTest, ReadsAhead) {
  ThreadPool pool(2);
  mixers_[2].reads = {{0, 0, What::kAhead}};
  for (const auto method : {conv::Method::kPaper, conv::Method::kPlanned,
                            conv::Method::kLazy, conv::Method::kEager}) {
    for (const auto latency : {conv::Latency::kBest, conv::Latency::kFlat}) {
      MixerSetOptions options;
      options.horizon = kLength;
      options.plan.method = method;
      options.plan.latency = latency;
      const auto states = Make(options, pool);
      std::vector<float> y(kWidth), ahead(kWidth);
      std::vector<double> last(kWidth);
      for (size_t t = 0; t < kLength; ++t) {
        (*states)[0].Step(x_.data() + t * kWidth, y.data());
        for (size_t c = 0; c < kWidth; ++c) {
          // What was ahead is the output without this position's own part.
          const double own =
              static_cast<double>(taps_[0][c]) * x_[t * kWidth + c];
          ASSERT_NEAR(y[c] - own, last[c], 4e-6) << t;
        }
        (*states)[0].Ahead(ahead.data());
        last = Doubles(ahead);
        (*states)[1].Step(y.data(), y.data());
        (*states)[2].Step(y.data(), y.data());
        for (size_t c = 0; c < kWidth; ++c) {
          ASSERT_NEAR(y[c], want_[t * kWidth + c], 2e-6 * 8);
        }
        states->Advance();
      }
      // No less at the end: what comes after does not depend on whether there
      // is room for it.
      for (size_t c = 0; c < kWidth; ++c) {
        double coming = 0;
        for (size_t i = 1; i < kLength; ++i) {
          coming += static_cast<double>(x_[i * kWidth + c]) *
                    taps_[0][(kLength - i) * kWidth + c];
        }
        EXPECT_NEAR(last[c], coming, 4e-6) << "the end";
      }
    }
  }
}

TEST_F(MixerSetTest, MemoryIsForetold) {
  ThreadPool pool(2);
  mixers_.push_back({Fir(), {}});
  mixers_.push_back({Attention(), {}});
  MixerSetOptions options;
  options.horizon = kLength;
  const auto memory = PreparedMixers::Foretell(mixers_, options, 2);
  ASSERT_TRUE(memory.ok());
  const auto states = Make(options, pool);
  EXPECT_EQ(memory->states, states->bytes());
  EXPECT_GT(memory->convolution.histories, 3 * kLength * kWidth * 4);
  EXPECT_GT(memory->weights, 0u);
  // A limit that does not do.
  options.plan.memory_limit = 1000;
  EXPECT_FALSE(PreparedMixers::Create(mixers_, options, pool).ok());
}

TEST_F(MixerSetTest, LoadsOnlyWhatFits) {
  ThreadPool pool(1);
  MixerSetOptions options;
  options.horizon = kLength;
  const auto states = Make(options, pool);
  std::vector<float> y(x_.size());
  Take(*states, x_, kLength, &y);
  const auto path = std::filesystem::temp_directory_path() /
                    ("lcsm_mixer_set_" + std::to_string(::getpid()));
  auto writer = io::SectionWriter::Create(path, "{}");
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(states->Save(*writer).ok());
  ASSERT_TRUE(writer->Finish().ok());
  // Fewer positions, or another mixer.
  const auto refused = [&](const MixerSetOptions& other, const char* what) {
    const auto into = Make(other, pool);
    auto reader = io::SectionReader::Open(path);
    ASSERT_TRUE(reader.ok());
    const Status status = into->Load(*reader);
    ASSERT_FALSE(status.ok());
    EXPECT_NE(status.message().find(what), std::string::npos)
        << status.message();
  };
  MixerSetOptions shorter = options;
  shorter.horizon = kLength - 1;
  refused(shorter, "stands at position 150, expected at most 149");
  mixers_.insert(mixers_.begin(), {Conv(7, 11), {}});
  refused(options, "histories");
  std::filesystem::remove(path);
}

TEST_F(MixerSetTest, TellsWhatFallsDue) {
  ThreadPool pool(1);
  MixerSetOptions options;
  options.horizon = 64;
  auto prepared = PreparedMixers::Create({mixers_[0]}, options, pool);
  ASSERT_TRUE(prepared.ok());
  // Every pair of an input and a later output once.
  size_t all = 0;
  for (size_t known = 1; known < 64; ++known) {
    const MixerDue due = (*prepared)->Due(0, known);
    EXPECT_EQ(due.inputs, known & -known);
    all += due.contributions;
  }
  EXPECT_EQ(all, 64u * 63 / 2);
  options.plan.method = conv::Method::kLazy;
  prepared = PreparedMixers::Create({mixers_[0]}, options, pool);
  ASSERT_TRUE(prepared.ok());
  EXPECT_EQ((*prepared)->Due(0, 10).inputs, 10u);
  EXPECT_EQ((*prepared)->Due(0, 10).outputs, 1u);
}

// What comes after a made-up past sees all of it, and no more: rows of about 1
// are averaged by attention and summed by taps of 0.01.
TEST(MadeUpPastTest, IsAsLongAsWanted) {
  ThreadPool pool(1);
  const auto attention = Attention();
  const auto states = Alone(attention, kLength, pool);
  ASSERT_NE(states, nullptr);
  const std::vector<float> zeros(std::max(attention->in_width(), kWidth));
  std::vector<float> y(kWidth);
  for (size_t past : {0, 1, 3, 100, 149}) {
    ASSERT_TRUE(states->Pretend(past).ok());
    (*states)[0].Step(zeros.data(), y.data());
    states->Advance();
    const double rows = static_cast<double>(past);
    for (size_t j = 0; j < 8; ++j) {
      // A row is off by 0.3 on average.
      EXPECT_NEAR(y[j], rows / (rows + 1), 1.5 / (1 + std::sqrt(rows)));
    }
  }
}

TEST(MadeUpPastTest, TilesAreThoseOfThePosition) {
  ThreadPool pool(1);
  auto mixer = LongConvolution::Create(
      kWidth, std::vector<float>(kLength * kWidth, 0.01f));
  ASSERT_TRUE(mixer.ok());
  const std::vector<float> zeros(kWidth);
  std::vector<float> y(kWidth);
  const auto sum_after = [&](conv::Method method, size_t past) {
    MixerSetOptions options;
    options.horizon = kLength;
    options.plan.method = method;
    auto prepared = PreparedMixers::Create({{*mixer, {}}}, options, pool);
    EXPECT_TRUE(prepared.ok());
    auto states = (*prepared)->NewStates(pool);
    EXPECT_TRUE(states.ok());
    EXPECT_TRUE((*states)->Pretend(past).ok());
    for (size_t k = 0; k < 2; ++k) {
      (**states)[0].Step(zeros.data(), y.data());
      (*states)->Advance();
    }
    return y[3];
  };
  // Lazy gathers everything that is known by then, a tile its own block.
  EXPECT_NEAR(sum_after(conv::Method::kLazy, 100), 1.00, 0.1);
  EXPECT_NEAR(sum_after(conv::Method::kLazy, 10), 0.10, 0.05);
  EXPECT_NEAR(sum_after(conv::Method::kPaper, 127), 1.27, 0.15);
  EXPECT_NEAR(sum_after(conv::Method::kPaper, 111), 0.15, 0.05);
  EXPECT_NEAR(sum_after(conv::Method::kPaper, 110), 0.00, 0.011);
}

// A relaxed convolution has an executor to itself, which is planned like the
// shared ones.
TEST(MixerScheduleTest, RelaxedConvolutionsFollowThePlan) {
  const std::shared_ptr<const Mixer> relaxed = *RelaxedMixer::Create(kWidth);
  const auto schedule = [&](const conv::PlanOptions& plan) {
    MixerSetOptions options;
    options.horizon = kLength;
    options.plan = plan;
    return PreparedMixers::Schedule({{Conv(1), {}}, {relaxed, {}}}, options);
  };
  conv::PlanOptions plan;
  for (const conv::Method method :
       {conv::Method::kLazy, conv::Method::kPaper, conv::Method::kPlanned}) {
    plan.method = method;
    const auto made = schedule(plan);
    ASSERT_TRUE(made.ok()) << made.status().message();
    const MixerSchedule::Entry& entry = made->entries[1];
    EXPECT_EQ(entry.work, Work::kAcrossLayers);
    EXPECT_NE(entry.describe.find(", by " + std::string(conv::Name(method))),
              std::string::npos)
        << entry.describe;
  }
  plan.schedule = conv::Schedule::kPerLayer;
  const auto per_layer = schedule(plan);
  ASSERT_TRUE(per_layer.ok());
  EXPECT_EQ(per_layer->entries[1].work, Work::kInOrder);
  plan.schedule = conv::Schedule::kAcrossLayers;
  for (const conv::Method method :
       {conv::Method::kEager, conv::Method::kFutureFill,
        conv::Method::kGardner}) {
    plan.method = method;
    const auto made = schedule(plan);
    ASSERT_FALSE(made.ok()) << conv::Name(method);
    EXPECT_EQ(made.status().message(),
              "mixer 1: there is no relaxed convolution by the method " +
                  std::string(conv::Name(method)) +
                  ": expected lazy, paper or planned");
  }
  plan.method = conv::Method::kPlanned;
  plan.latency = conv::Latency::kFlat;
  EXPECT_EQ(schedule(plan).status().message(),
            "mixer 1: a relaxed convolution cannot spread its work over the "
            "steps to come: expected the latency best");
}

// What a session file keeps: each executor gets its own levels back, whatever
// the method would choose now.
TEST(MixerScheduleTest, LevelsMakeTheSamePlansAgain) {
  const std::vector<MixerEntry> mixers = {{Conv(1), {}},
                                          {Conv(2, 40), {}},
                                          {*RelaxedMixer::Create(kWidth), {}},
                                          {Conv(3), {}}};
  MixerSetOptions options;
  options.horizon = kLength;
  options.plan.method = conv::Method::kPlanned;
  const auto levels = PreparedMixers::Schedule(mixers, options)->Levels();
  ASSERT_EQ(levels.size(), 3u);
  EXPECT_NE(levels[1], levels[2]);
  options.plan.method = conv::Method::kPaper;
  EXPECT_NE(PreparedMixers::Schedule(mixers, options)->Levels(), levels);
  options.levels = levels;
  EXPECT_EQ(PreparedMixers::Schedule(mixers, options)->Levels(), levels);
  options.levels.pop_back();
  const auto refused = PreparedMixers::Schedule(mixers, options);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().message(),
            "levels for 2 executors of long convolutions were given, expected "
            "those for 3");
}

// The same answers by every plan, with tiles done after the position and within
// the step.
TEST(MixerScheduleTest, RelaxedConvolutionsAnswerTheSameByEveryPlan) {
  const std::shared_ptr<const Mixer> relaxed = *RelaxedMixer::Create(kWidth);
  const auto x = Normal(kLength * 2 * kWidth, 3, 0.3f);
  ThreadPool pool(2);
  std::vector<float> want;
  for (const conv::Method method :
       {conv::Method::kLazy, conv::Method::kPaper, conv::Method::kPlanned}) {
    for (const conv::Schedule when :
         {conv::Schedule::kAcrossLayers, conv::Schedule::kPerLayer}) {
      MixerSetOptions options;
      options.horizon = kLength;
      options.plan.method = method;
      options.plan.schedule = when;
      const auto prepared =
          PreparedMixers::Create({{relaxed, {}}}, options, pool);
      ASSERT_TRUE(prepared.ok()) << prepared.status().message();
      for (const size_t together : {1, 7}) {
        const auto states = std::move(*(*prepared)->NewStates(pool));
        std::vector<float> y(kLength * kWidth);
        Take(*states, *relaxed, x, 0, kLength, together, &y);
        if (want.empty()) want = y;
        for (size_t i = 0; i < y.size(); ++i) {
          ASSERT_NEAR(y[i], want[i], 1e-4) << conv::Name(method) << " " << i;
        }
      }
    }
  }
}

// The limit is for everything that a sequence's mixers hold.
TEST(MixerScheduleTest, StatesOfMixersCountAgainstTheMemoryLimit) {
  const std::shared_ptr<const Mixer> relaxed = *RelaxedMixer::Create(kWidth);
  for (const std::shared_ptr<const Mixer>& mixer : {relaxed, Attention()}) {
    const std::vector<MixerEntry> mixers = {{Conv(1), {}}, {mixer, {}}};
    MixerSetOptions options;
    options.horizon = kLength;
    options.plan.method = conv::Method::kPlanned;
    const auto all = PreparedMixers::Foretell(mixers, options, 1);
    ASSERT_TRUE(all.ok()) << all.status().message();
    options.plan.memory_limit = all->Total() + 1;
    EXPECT_TRUE(PreparedMixers::Schedule(mixers, options).ok());
    const auto within = PreparedMixers::Foretell(mixers, options, 1);
    ASSERT_TRUE(within.ok()) << within.status().message();
    EXPECT_LE(within->Total(), options.plan.memory_limit);
    // The long convolution cannot make that up.
    options.plan.memory_limit = all->weights + all->states;
    const auto refused = PreparedMixers::Schedule(mixers, options);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.status().message().rfind("mixer 1: ", 0), 0u)
        << refused.status().message();
    EXPECT_NE(refused.status().message().find("the memory limit leaves"),
              std::string::npos);
  }
}

}  // namespace
}  // namespace lcsm
