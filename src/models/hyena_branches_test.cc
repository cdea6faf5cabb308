// Texts that begin alike, taken in side by side, against forks: the same bits.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "models/test_model.h"

namespace lcsm {
namespace {

using Request = ModelState::BranchRequest;
using Branches = std::vector<std::vector<int32_t>>;

struct Logits {
  std::vector<float> trunk;
  std::vector<std::vector<float>> branches;
  bool operator==(const Logits&) const = default;
};

// By forks, or as the state does it.
Logits Take(ModelState& state, const std::vector<int32_t>& trunk,
            const Branches& branches, bool forks) {
  std::vector<std::span<const int32_t>> spans(branches.begin(), branches.end());
  Logits out;
  out.branches.resize(branches.size());
  const size_t begin = state.position();
  Request request;
  std::vector<size_t> order;
  request.on_logits = [&](size_t branch, size_t position,
                          std::span<const float> logits) {
    std::vector<float>& to =
        branch == Request::kTrunk ? out.trunk : out.branches[branch];
    EXPECT_EQ(position, begin + (branch == Request::kTrunk ? 0 : trunk.size()) +
                            to.size() / logits.size());
    to.insert(to.end(), logits.begin(), logits.end());
    return OkStatus();
  };
  const Status status =
      forks ? state.ModelState::PrefillBranches(trunk, spans, request)
            : state.PrefillBranches(trunk, spans, request);
  EXPECT_TRUE(status.ok()) << status.message();
  return out;
}

Branches MakeBranches(const std::vector<size_t>& lengths) {
  Branches branches;
  for (size_t i = 0; i < lengths.size(); ++i) {
    branches.push_back(RandomTokens(lengths[i], 12, 100 + i));
  }
  return branches;
}

TEST(HyenaBranchesTest, TheBitsOfForks) {
  const std::vector<std::vector<size_t>> shapes = {
      {}, {0}, {1}, {150, 150}, {1, 0, 97, 3}, {24, 25, 23}};
  for (const size_t order : {2, 3}) {
    HyenaConfig config = SmallConfig();
    config.order = order;
    config.fir_taps = order + 1;
    const TestModel test(config);
    for (const bool kept : {true, false}) {
      for (const size_t threads : {1, 3}) {
        ThreadPool pool(threads);
        const auto state = StateWithLimits(
            test, 300, kept ? HyenaPrefillLimits() : kNothingKept, pool);
        for (const std::vector<size_t>& lengths : shapes) {
          // A trunk too short for a branch's short filter goes by forks.
          for (const size_t trunk_length : {1, 2, 3, 24, 130}) {
            SCOPED_TRACE(fmt::format("order {} kept {} threads {} trunk {}",
                                     order, kept, threads, trunk_length));
            const auto trunk = RandomTokens(trunk_length, 12, 5);
            const Branches branches = MakeBranches(lengths);
            state->Reset();
            const Logits want = Take(*state, trunk, branches, true);
            EXPECT_EQ(want.trunk.size(), trunk_length * config.padded_vocab);
            state->Reset();
            ASSERT_EQ(Take(*state, trunk, branches, false), want);
          }
        }
      }
    }
  }
}

// Behind known tokens, whose contributions both trunk and branches take in.
TEST(HyenaBranchesTest, InTheMiddleOfAText) {
  const TestModel test(SmallConfig());
  const auto before = RandomTokens(61, 12, 3), trunk = RandomTokens(50, 12, 4);
  const Branches branches = MakeBranches({70, 1});
  std::vector<int32_t> whole = before;
  whole.insert(whole.end(), trunk.begin(), trunk.end());
  whole.insert(whole.end(), branches[0].begin(), branches[0].end());
  const std::vector<double> want =
      ReferenceLogits(test.config, test.tensors, whole);
  ThreadPool pool(2);
  const auto state = NewState(test, 200, 0, pool);
  std::vector<Logits> runs;
  for (const bool forks : {true, false}) {
    state->Reset();
    ASSERT_TRUE(state->Prefill(before, {}).ok());
    runs.push_back(Take(*state, trunk, branches, forks));
  }
  EXPECT_EQ(runs[0], runs[1]);
  std::vector<float> got = runs[1].trunk;
  got.insert(got.end(), runs[1].branches[0].begin(), runs[1].branches[0].end());
  ExpectNear(got, {want.begin() + 61 * 16, want.end()});
}

TEST(HyenaBranchesTest, BadInput) {
  const TestModel test(SmallConfig());
  ThreadPool pool(1);
  const auto state = NewState(test, 200, 0, pool);
  const auto trunk = RandomTokens(150, 12, 4);
  const auto fits = RandomTokens(50, 12, 5), not_so = RandomTokens(51, 12, 5);
  Request request;
  request.on_logits = [](size_t, size_t, std::span<const float>) {
    return OkStatus();
  };
  const std::span<const int32_t> both[] = {fits, not_so};
  const Status status = state->PrefillBranches(trunk, both, request);
  EXPECT_NE(status.message().find("51 tokens do not fit into the 50 positions"),
            std::string::npos)
      << status.message();
  // Nothing has happened.
  const std::span<const int32_t> one[] = {fits};
  ASSERT_TRUE(state->PrefillBranches(trunk, one, request).ok());
  // And nothing more can, until Reset.
  EXPECT_FALSE(state->Prefill(fits, {}).ok());
  state->Reset();
  EXPECT_TRUE(state->Prefill(fits, {}).ok());
  state->Reset();
  request.progress = [](double) { return false; };
  EXPECT_EQ(state->PrefillBranches(trunk, one, request).code(),
            StatusCode::kCancelled);
}

}  // namespace
}  // namespace lcsm
