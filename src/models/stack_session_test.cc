// Saved sessions of stacks, whose long convolutions may have several executors
// with plans of their own: one that goes on from its file, prepared by nothing
// but what that says, gives the bits of one that was never broken.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "io/test_util.h"
#include "models/golden_reference.h"
#include "models/load_model.h"
#include "runtime/session_file.h"

namespace lcsm {
namespace {

std::vector<std::string> Folders() {
  return {"stack-ahead", "stack-filters", "stack-mixed", "stack-relaxed"};
}

class StackSessionTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    auto model = LoadModel(Golden(GetParam()));
    ASSERT_TRUE(model.ok()) << model.status().message();
    model_ = *model;
    tokens_ = ReadGolden(Golden(GetParam())).tokens;
  }

  // Breaks a session off, and goes on with it and with what its file brings.
  void ExpectUnbroken(const PrepareOptions& options, ThreadPool& pool) {
    const ModelInfo& info = model_->info();
    const auto prepared = model_->Prepare(options, pool, nullptr).value();
    const auto state = prepared->NewState(pool).value();
    const auto stop = tokens_.begin() + 53;
    std::vector<float> want(info.padded_vocab), got(info.padded_vocab);
    for (auto token = tokens_.begin(); token != stop; ++token) {
      state->Step(*token, want.data());
    }
    const io::ScratchFolder folder;
    const auto file = folder / "session";
    SessionRecord record =
        MakeSessionRecord(*model_, *prepared, {tokens_.begin(), stop});
    record.sampled.logits = want;
    ASSERT_TRUE(SaveSession(file, record, *state).ok());
    auto opened = OpenSession(file);
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    ASSERT_TRUE(opened->Check(info).ok());
    EXPECT_EQ(opened->record.method, options.plan.method);
    EXPECT_EQ(opened->record.schedule, options.plan.schedule);
    EXPECT_EQ(opened->record.steps, options.horizon);
    PrepareOptions alike = opened->ToPrepareOptions({}).value();
    const auto again = model_->Prepare(alike, pool, nullptr);
    ASSERT_TRUE(again.ok()) << again.status().message();
    EXPECT_EQ((*again)->plans().levels, prepared->plans().levels);
    const auto resumed = (*again)->NewState(pool).value();
    const Status loaded = opened->Load(*resumed);
    ASSERT_TRUE(loaded.ok()) << loaded.message();
    for (auto token = stop; token != tokens_.end(); ++token) {
      state->Step(*token, want.data());
      resumed->Step(*token, got.data());
      ASSERT_EQ(got, want) << "position " << token - tokens_.begin();
    }
    // For another length, as if nothing had been said of levels.
    PlanAnew(&alike);
    EXPECT_TRUE(alike.plan.levels.empty() && alike.levels.empty());
    alike.horizon = options.horizon - 1;
    EXPECT_TRUE(model_->Prepare(alike, pool, nullptr).ok());
  }

  std::shared_ptr<const Model> model_;
  std::vector<int32_t> tokens_;
};

TEST_P(StackSessionTest, GoesOnInTheSameBits) {
  ThreadPool pool(2);
  std::vector<conv::PlanOptions> plans;
  for (const conv::Method method :
       {conv::Method::kPlanned, conv::Method::kPaper, conv::Method::kLazy}) {
    for (const conv::Schedule schedule :
         {conv::Schedule::kAcrossLayers, conv::Schedule::kPerLayer}) {
      plans.push_back({.method = method, .schedule = schedule});
    }
  }
  if (GetParam() != "stack-relaxed") {  // Which knows no others.
    plans.push_back({.method = conv::Method::kEager});
    plans.push_back(
        {.method = conv::Method::kPlanned, .latency = conv::Latency::kFlat});
  }
  for (const conv::PlanOptions& plan : plans) {
    for (const bool growable : {false, true}) {
      SCOPED_TRACE(fmt::format("{} {} {} {}", conv::Name(plan.method),
                               conv::Name(plan.schedule),
                               conv::Name(plan.latency), growable));
      ExpectUnbroken(
          {.horizon = tokens_.size(), .plan = plan, .growable = growable},
          pool);
    }
  }
}

// Levels of which there are too many or too few: none at all are as if nothing
// had been said, so that "too few" takes several executors.
TEST(StackLevelsTest, RefusesThoseOfOtherStacks) {
  ThreadPool pool(1);
  size_t most = 0;
  for (const std::string& name : Folders()) {
    SCOPED_TRACE(name);
    const auto model = LoadModel(Golden(name));
    ASSERT_TRUE(model.ok()) << model.status().message();
    PrepareOptions options = {
        .horizon = ReadGolden(Golden(name)).tokens.size(),
        .plan = {.method = conv::Method::kPlanned, .threads = 1}};
    const auto levels =
        (*model)->Prepare(options, pool, nullptr).value()->plans().levels;
    most = std::max(most, levels.size());
    std::vector<size_t> counts = {levels.size() + 1, levels.size() + 7};
    if (levels.size() > 1) counts.push_back(levels.size() - 1);
    for (const size_t count : counts) {
      options.levels.assign(count, {});
      const auto refused = (*model)->Prepare(options, pool, nullptr);
      ASSERT_FALSE(refused.ok()) << count;
      EXPECT_NE(refused.status().message().find(
                    fmt::format("levels for {} executors", count)),
                std::string::npos)
          << refused.status().message();
    }
  }
  EXPECT_GT(most, 1u);
}

INSTANTIATE_TEST_SUITE_P(Folders, StackSessionTest,
                         testing::ValuesIn(Folders()), [](const auto& folder) {
                           std::string name = folder.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace lcsm
