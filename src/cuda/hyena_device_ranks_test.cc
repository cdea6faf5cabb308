// Hyena models split among several devices: the logits of the references, forks
// and rows of equal bits, sessions that move between any numbers of devices,
// memory foretold for each, and what goes wrong.
#include <fmt/format.h>

#include <filesystem>

#include "cuda/hyena_device_state.h"
#include "cuda/test_devices.h"
#include "io/test_util.h"
#include "models/golden_reference.h"
#include "models/load_model.h"
#include "models/test_model.h"
#include "runtime/generator.h"
#include "runtime/session_file.h"

namespace lcsm::cuda {
namespace {

using conv::Method;

// Three groups of channels, the last of 8; five of hidden units, the last of 6.
HyenaConfig SplitConfig() {
  HyenaConfig config = SmallConfig();
  config.width = 40;
  config.inner = 70;
  return config;
}

std::shared_ptr<const Model> Place(const TestModel& test, size_t ranks,
                                   const EmulatedOptions& options = {}) {
  const auto devices = MakeEmulatedRanks(ranks, options);
  auto model = MakeDeviceModel(test.model, devices);
  EXPECT_TRUE(model.ok()) << model.status().message();
  return *model;
}

std::shared_ptr<const PreparedModel> Prepare(
    const Model& model, ThreadPool& pool, size_t horizon, size_t steps,
    const conv::PlanOptions& plan = {}) {
  auto prepared = model.Prepare(
      {.horizon = horizon, .steps = steps, .plan = plan}, pool, nullptr);
  EXPECT_TRUE(prepared.ok()) << prepared.status().message();
  return *prepared;
}

std::unique_ptr<ModelState> NewState(const Model& model, ThreadPool& pool,
                                     size_t horizon, size_t steps,
                                     const conv::PlanOptions& plan = {}) {
  auto state = Prepare(model, pool, horizon, steps, plan)->NewState(pool);
  EXPECT_TRUE(state.ok()) << state.status().message();
  return std::move(*state);
}

// The tolerances below are those of a model on one device (testing.md): a sum
// over ranks rounds no more often than the sum that it takes the place of
// (communicator_test.cc has the bound of one).

TEST(HyenaDeviceRanksTest, StepsGiveTheReferencesLogits) {
  HyenaConfig third = SplitConfig();
  third.order = 3;
  third.fir_taps = 5;
  ThreadPool pool(1);
  for (const HyenaConfig& config : {SplitConfig(), third}) {
    const TestModel test(config);
    const auto tokens = RandomTokens(50, config.vocab, 1);
    const auto want = ReferenceLogits(config, test.tensors, tokens);
    for (const size_t ranks : {2, 3}) {
      SCOPED_TRACE(fmt::format("order {} on {}", config.order, ranks));
      const auto model = Place(test, ranks);
      const auto state = NewState(*model, pool, 50, PrepareOptions::kAll);
      ExpectNear(RunTokens(*state, 16, tokens, 0), want);
      state->Reset();
      ExpectNear(RunTokens(*state, 16, tokens, 0), want);
      EXPECT_TRUE(model->CheckWeights().ok());
    }
  }
}

TEST(HyenaDeviceRanksTest, PrefillsThenStepsByEveryPlan) {
  const TestModel test(SplitConfig());
  ThreadPool pool(1);
  const auto tokens = RandomTokens(150, 12, 3);
  const auto want = ReferenceLogits(test.config, test.tensors, tokens);
  size_t ranks = 2;
  for (const conv::PlanOptions& plan : PlansWithLibraries()) {
    // Slow in the emulator: by turns.
    ranks = 5 - ranks;
    const auto model = Place(test, ranks);
    const auto state = NewState(*model, pool, 150, 50, plan);
    std::vector<float> all;
    for (size_t t = 0; t < 100; t += 50) {
      const Status status = state->Prefill(
          std::span(tokens.data() + t, 50),
          {.on_logits = [&](size_t, std::span<const float> logits) {
            all.insert(all.end(), logits.begin(), logits.end());
            return OkStatus();
          }});
      ASSERT_TRUE(status.ok()) << status.message();
    }
    state->BeginSteps();
    for (size_t t = 100; t < 150; ++t) {
      all.resize((t + 1) * 16);
      state->Step(tokens[t], all.data() + t * 16);
    }
    // As one device's of order 2 (hyena_device_test.cc).
    ASSERT_EQ(all.size(), want.size());
    for (size_t i = 0; i < all.size(); ++i) {
      ASSERT_NEAR(all[i], want[i], 7e-5) << "at " << i;
    }
  }
}

// Where sums may be captured, where they may not, and where nothing can be.
TEST(HyenaDeviceRanksTest, CapturesDoNotChangeBits) {
  const TestModel test(SplitConfig());
  ThreadPool pool(1);
  const auto tokens = RandomTokens(80, 12, 4);
  std::vector<std::vector<float>> all;
  for (const EmulatedOptions& options :
       {EmulatedOptions{.captures_sums = false},
        EmulatedOptions{.captures_sums = true},
        EmulatedOptions{.captures = false, .captures_sums = true}}) {
    const auto model = Place(test, 2, options);
    const auto state = NewState(*model, pool, 120, 100);
    std::vector<float> logits(80 * 16);
    ASSERT_TRUE(state
                    ->Prefill(std::span(tokens.data(), 20),
                              {.last_logits = logits.data()})
                    .ok());
    for (size_t t = 20; t < tokens.size(); ++t) {
      state->Step(tokens[t], logits.data() + t * 16);
    }
    std::vector<int32_t> ids(12), sampled(20);
    for (int32_t k = 0; k < 12; ++k) ids[static_cast<size_t>(k)] = k;
    ASSERT_TRUE(state->SampleSteps(1, {}, 0, ids, sampled).ok());
    for (const int32_t id : sampled) logits.push_back(static_cast<float>(id));
    all.push_back(std::move(logits));
  }
  EXPECT_EQ(all[0], all[1]);
  EXPECT_EQ(all[0], all[2]);
}

TEST(HyenaDeviceRanksTest, RoundedWeights) {
  TestModel test(SplitConfig());
  test.Bind(WeightFormat::kBf16);
  ThreadPool pool(1);
  const auto tokens = RandomTokens(60, 12, 4);
  const auto host = lcsm::NewState(test, 60, 20, pool);
  const auto model = Place(test, 3);
  const auto state = NewState(*model, pool, 60, 20);
  std::vector<float> want(16), got(16);
  const std::span<const int32_t> prompt(tokens.data(), 40);
  ASSERT_TRUE(host->Prefill(prompt, {.last_logits = want.data()}).ok());
  ASSERT_TRUE(state->Prefill(prompt, {.last_logits = got.data()}).ok());
  for (size_t t = 40; t < 60; ++t) {
    for (size_t v = 0; v < 16; ++v) ASSERT_NEAR(got[v], want[v], 1e-4) << t;
    host->Step(tokens[t], want.data());
    state->Step(tokens[t], got.data());
  }
}

TEST(HyenaDeviceRanksTest, HiddenRowsAreTheHosts) {
  const TestModel test(SplitConfig());
  ThreadPool pool(1);
  const auto model = Place(test, 3);
  const auto tokens = RandomTokens(90, 12, 5);
  for (const size_t layer : {size_t{0}, size_t{1}, size_t{2},
                             ModelState::PrefillRequest::kFinalNorm}) {
    const auto rows = [&](ModelState& state) {
      std::vector<float> all;
      const Status status = state.Prefill(
          tokens, {.on_hidden =
                       [&](size_t, std::span<const float> now) {
                         all.insert(all.end(), now.begin(), now.end());
                         return OkStatus();
                       },
                   .hidden_layer = layer});
      EXPECT_TRUE(status.ok()) << status.message();
      return all;
    };
    const auto want = rows(*lcsm::NewState(test, 90, 0, pool));
    const auto got = rows(*NewState(*model, pool, 90, 0));
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_NEAR(got[i], want[i], 1e-4) << layer << " " << i;
    }
  }
}

TEST(HyenaDeviceRanksTest, ForksAndRowsGoOnAlike) {
  const TestModel test(SplitConfig());
  ThreadPool pool(1);
  constexpr size_t kRows = 9;
  const auto prompt = RandomTokens(53, 12, 6);
  const auto tokens = RandomTokens(kRows * 20, 12, 7);
  for (const conv::PlanOptions& plan : PlansWithLibraries()) {
    // Slow in the emulator: each plan with as few ranks as show it.
    const auto model = Place(test, plan.method == Method::kPlanned ? 3 : 2);
    const auto state = NewState(*model, pool, 130, 90, plan);
    std::vector<float> logits(16);
    ASSERT_TRUE(state->Prefill(std::span(prompt.data(), 40), {}).ok());
    state->BeginSteps();
    for (size_t t = 40; t < prompt.size(); ++t) {
      state->Step(prompt[t], logits.data());
    }
    const size_t rows = plan.method == Method::kPlanned ? kRows : 3;
    const auto batch = state->Spread(rows);
    ASSERT_TRUE(batch.ok()) << batch.status().message();
    std::vector<std::unique_ptr<ModelState>> alone;
    for (size_t r = 0; r < rows; ++r) alone.push_back(state->Fork().value());
    std::vector<float> got(rows * 16), want(rows * 16);
    for (size_t t = 0; t < 20; ++t) {
      (*batch)->Step(tokens.data() + t * rows, got.data());
      for (size_t r = 0; r < rows; ++r) {
        alone[r]->Step(tokens[t * rows + r], want.data() + r * 16);
      }
      ASSERT_EQ(got, want) << "step " << t;
    }
    EXPECT_EQ(state->position(), prompt.size());
    EXPECT_TRUE(model->CheckWeights().ok());
  }
}

// Saved by any number of devices or the CPU, loaded by any other; where steps
// have begun, and where more is pending than there are steps for.
TEST(HyenaDeviceRanksTest, SessionsMoveBetweenAnyNumbersOfDevices) {
  const TestModel test(SplitConfig());
  ThreadPool pool(1);
  const auto tokens = RandomTokens(180, 12, 7);
  const auto want = ReferenceLogits(test.config, test.tensors, tokens);
  const std::vector<std::shared_ptr<const Model>> models = {
      test.model, Place(test, 1), Place(test, 2), Place(test, 3)};
  conv::PlanOptions flat = {.method = Method::kPlanned};
  flat.latency = conv::Latency::kFlat;
  struct Case {
    conv::PlanOptions plan;
    size_t steps, stop;
  };
  for (const Case& at : {Case{{}, 80, 100}, Case{{}, 80, 143},
                         Case{flat, 80, 121}, Case{{}, 40, 100}}) {
    // Numbers of devices, 0 the CPU.
    for (const auto& [from, to] : std::vector<std::pair<size_t, size_t>>{
             {0, 2}, {1, 3}, {2, 0}, {2, 3}, {3, 1}}) {
      SCOPED_TRACE(fmt::format("{} to {} at {} of {} steps", from, to, at.stop,
                               at.steps));
      const auto prepared =
          Prepare(*models[from], pool, 180, at.steps, at.plan);
      const auto state = prepared->NewState(pool).value();
      std::vector<float> logits(16);
      ASSERT_TRUE(state
                      ->Prefill(std::span(tokens.data(), 100),
                                {.last_logits = logits.data()})
                      .ok());
      for (size_t t = 100; t < at.stop; ++t) {
        state->Step(tokens[t], logits.data());
      }
      const io::ScratchFolder folder;
      const auto file = folder.path() / "session";
      SessionRecord record = MakeSessionRecord(
          *models[from], *prepared,
          {tokens.begin(), tokens.begin() + static_cast<int>(at.stop)});
      record.sampled.logits = logits;
      Status status = SaveSession(file, record, *state);
      ASSERT_TRUE(status.ok()) << status.message();
      auto opened = OpenSession(file);
      ASSERT_TRUE(opened.ok()) << opened.status().message();
      const auto again =
          models[to]
              ->Prepare(opened->ToPrepareOptions({}).value(), pool, nullptr)
              .value()
              ->NewState(pool)
              .value();
      status = opened->Load(*again);
      ASSERT_TRUE(status.ok()) << status.message();
      EXPECT_EQ(again->position(), at.stop);
      again->BeginSteps();
      const size_t end = std::min<size_t>(180, 100 + at.steps);
      ASSERT_EQ(again->StepRoom(), end - at.stop);
      for (size_t t = at.stop; t < end; ++t) {
        again->Step(tokens[t], logits.data());
        for (size_t v = 0; v < 16; ++v) {
          ASSERT_NEAR(logits[v], want[t * 16 + v], 1e-4) << t;
        }
      }
    }
  }
}

// A second call of known tokens that leaves fewer positions pending than the
// first did.
TEST(HyenaDeviceRanksTest, SessionsBetweenKnownTokens) {
  const TestModel test(SplitConfig());
  ThreadPool pool(1);
  const auto tokens = RandomTokens(180, 12, 8);
  const auto want = ReferenceLogits(test.config, test.tensors, tokens);
  for (const size_t ranks : {1, 2}) {
    const auto model = Place(test, ranks);
    const auto prepared = Prepare(*model, pool, 180, 20);
    const auto state = prepared->NewState(pool).value();
    std::vector<float> logits(16);
    for (const size_t t : {0, 70}) {
      ASSERT_TRUE(state
                      ->Prefill(std::span(tokens.data() + t, 70),
                                {.last_logits = logits.data()})
                      .ok());
    }
    const io::ScratchFolder folder;
    const auto file = folder.path() / "session";
    SessionRecord record = MakeSessionRecord(
        *model, *prepared, {tokens.begin(), tokens.begin() + 140});
    record.sampled.logits = logits;
    ASSERT_TRUE(SaveSession(file, record, *state).ok());
    auto opened = OpenSession(file).value();
    const auto again = prepared->NewState(pool).value();
    const Status status = opened.Load(*again);
    ASSERT_TRUE(status.ok()) << status.message();
    ASSERT_TRUE(again->Prefill(std::span(tokens.data() + 140, 20), {}).ok());
    again->BeginSteps();
    for (size_t t = 160; t < 180; ++t) {
      again->Step(tokens[t], logits.data());
      for (size_t v = 0; v < 16; ++v) {
        ASSERT_NEAR(logits[v], want[t * 16 + v], 1e-4) << t;
      }
    }
  }
}

TEST(HyenaDeviceRanksTest, SamplingOnTheDeviceIsSamplingOnTheHost) {
  const TestModel test(SplitConfig());
  ThreadPool pool(1);
  const auto model = Place(test, 2);
  const auto prompt = RandomTokens(20, 12, 8);
  GenerateOptions options;
  options.max_new_tokens = 100;
  options.sampler.seed = 9;
  options.sampler.top_k = 7;
  const auto state = NewState(*model, pool, 150, 120);
  const auto generator =
      Generator::Create(*model, *state, nullptr, options).value();
  const auto want = generator->Run(prompt, 3, {}).value().tokens;
  EXPECT_EQ(want.size(), 100u);
  options.ahead = 64;
  const auto other = NewState(*model, pool, 150, 120);
  const auto by_itself =
      Generator::Create(*model, *other, nullptr, options).value();
  EXPECT_EQ(by_itself->Run(prompt, 3, {}).value().tokens, want);
}

// Prepares, takes known tokens in, then a few by steps and samples.
void TakeARun(const Model& model, const PrepareOptions& options) {
  ThreadPool pool(1);
  const auto prepared = model.Prepare(options, pool, nullptr);
  ASSERT_TRUE(prepared.ok()) << prepared.status().message();
  const auto state = (*prepared)->NewState(pool);
  ASSERT_TRUE(state.ok()) << state.status().message();
  const size_t steps = std::min(options.steps, options.horizon);
  const auto tokens = RandomTokens(options.horizon, 12, 1);
  std::vector<float> logits(model.info().padded_vocab);
  ASSERT_TRUE((*state)
                  ->Prefill(std::span(tokens.data(), options.horizon - steps),
                            {.last_logits = logits.data()})
                  .ok());
  (*state)->BeginSteps();
  if (steps == 0) return;
  for (size_t t = 0; t < 5; ++t) (*state)->Step(tokens[t], logits.data());
  std::vector<int32_t> ids = {1, 2, 3}, sampled(3);
  ASSERT_TRUE((*state)->SampleSteps(1, {}, 0, ids, sampled).ok());
}

TEST(HyenaDeviceRanksTest, EveryByteOfRanksIsForetold) {
  HyenaConfig third = SplitConfig();
  third.order = 3;
  for (const HyenaConfig& config : {SplitConfig(), third}) {
    for (const conv::PlanOptions& plan : PlansWithLibraries()) {
      for (const size_t steps : {PrepareOptions::kAll, size_t{60}, size_t{0}}) {
        TestModel test(config);
        test.Bind(config.order == 3 ? WeightFormat::kBf16
                                    : WeightFormat::kFloat32);
        const size_t count = config.order;  // 2, 3
        const auto devices = MakeEmulatedRanks(
            count, {.shared_bytes = 40 << 10, .l2_bytes = 4096});
        const auto model = MakeDeviceModel(test.model, devices).value();
        const PrepareOptions options = {
            .horizon = 150, .steps = steps, .plan = plan};
        const auto memory = model->EstimateMemory(options, 1);
        ASSERT_TRUE(memory.ok()) << memory.status().message();
        ASSERT_EQ(memory->ranks.size(), count);
        for (const auto& device : devices) ForgetEmulatedPeak(*device);
        TakeARun(*model, options);
        size_t most = 0;
        for (size_t r = 0; r < count; ++r) {
          SCOPED_TRACE(fmt::format("rank {} of {}, {} steps, {}", r, count,
                                   steps, memory->plan.Print()));
          const ModelMemory& rank = memory->ranks[r];
          EXPECT_EQ(EmulatedPeakBytes(*devices[r]), rank.Total());
          EXPECT_NE(rank.device.find(fmt::format("emulated:{}", r)),
                    std::string::npos);
          EXPECT_EQ(rank.device_free,
                    devices[r]->info().memory_bytes - rank.weights);
          most = std::max(most, rank.Total());
        }
        // Devices of one size: the fullest has the least to spare.
        EXPECT_EQ(memory->Total(), most);
      }
    }
  }
}

// The rank with the least room says no, and what its device is called.
TEST(HyenaDeviceRanksTest, TheTightestDeviceBoundsTheRun) {
  const TestModel test(SplitConfig());
  ThreadPool pool(1);
  const PrepareOptions options = {.horizon = 300,
                                  .plan = {.method = Method::kLazy}};
  const auto roomy = Place(test, 2)->EstimateMemory(options, 1).value();
  for (size_t tight = 0; tight < 2; ++tight) {
    for (const bool fits : {true, false}) {
      auto devices = MakeEmulatedRanks(2);
      devices[tight] = MakeEmulatedDevice(
          {.memory_bytes = roomy.ranks[tight].Total() - (fits ? 0 : 1),
           .label = fmt::format("emulated:{}", tight)});
      const auto model = MakeDeviceModel(test.model, devices).value();
      const auto memory = model->EstimateMemory(options, 1);
      const auto prepared = model->Prepare(options, pool, nullptr);
      ASSERT_EQ(memory.ok(), fits);
      ASSERT_EQ(prepared.ok(), fits);
      const std::string label = fmt::format("emulated:{} ", tight);
      if (fits) {
        EXPECT_EQ(memory->device.find(label), 0u) << memory->device;
        EXPECT_TRUE((*prepared)->NewState(pool).ok());
        continue;
      }
      EXPECT_EQ(prepared.status().code(), StatusCode::kResourceExhausted);
      EXPECT_NE(prepared.status().message().find("on " + label),
                std::string::npos)
          << prepared.status().message();
    }
  }
}

TEST(HyenaDeviceRanksTest, ALostRankEndsTheRunWithOneSentence) {
  const TestModel test(SplitConfig());
  ThreadPool pool(1);
  for (size_t lost = 0; lost < 3; ++lost) {
    for (const bool captures_sums : {false, true}) {
      // Preparing, the prompt and the first steps take fewer launches.
      auto devices = MakeEmulatedRanks(3, {.captures_sums = captures_sums});
      devices[lost] =
          MakeEmulatedDevice({.launches_until_lost = 1000,
                              .label = fmt::format("emulated:{}", lost),
                              .captures_sums = captures_sums});
      const auto model = MakeDeviceModel(test.model, devices).value();
      const auto prepared = Prepare(*model, pool, 200, 100);
      const auto state = prepared->NewState(pool).value();
      const auto tokens = RandomTokens(200, 12, 1);
      ASSERT_TRUE(state->Prefill(std::span(tokens.data(), 100), {}).ok());
      std::vector<float> logits(16);
      size_t t = 100;
      while (model->CheckWeights().ok() && t < 200) {
        state->Step(tokens[t++], logits.data());
      }
      ASSERT_GT(t, 101u);
      ASSERT_LT(t, 200u);
      EXPECT_EQ(
          model->CheckWeights().message(),
          fmt::format("emulated:{} was lost: what was on it is gone", lost));
      for (const float logit : logits) EXPECT_EQ(logit, 0.0f);
      // Nothing more comes of it, and nothing breaks.
      state->Step(tokens[0], logits.data());
      for (const float logit : logits) EXPECT_EQ(logit, 0.0f);
      const io::ScratchFolder folder;
      SessionRecord record = MakeSessionRecord(
          *model, *prepared, {tokens.begin(), tokens.begin() + 100});
      record.sampled.logits.resize(16);
      EXPECT_FALSE(SaveSession(folder.path() / "session", record, *state).ok());
      EXPECT_FALSE(state->Fork().ok());
      EXPECT_FALSE(state->Spread(2).ok());
      std::vector<int32_t> ids = {1, 2, 3}, sampled(3);
      EXPECT_FALSE(state->SampleSteps(1, {}, 0, ids, sampled).ok());
      state->Reset();
    }
  }
}

TEST(HyenaDeviceRanksTest, RefusesWhatCannotBeSplit) {
  const TestModel test(SplitConfig());
  const auto four = MakeEmulatedRanks(4);
  const auto model = MakeDeviceModel(test.model, four);
  ASSERT_FALSE(model.ok());
  EXPECT_EQ(model.status().message(),
            "4 devices are more than the 3 groups of 16 channels that a width "
            "of 40 can be shared out in");
  // The command says so before it looks for devices.
  EXPECT_EQ(PlaceModel(test.model, ParseDevice("cuda:0,1,2,3").value())
                .status()
                .message(),
            model.status().message());
  // One of several without the memory for its share.
  auto devices = MakeEmulatedRanks(2);
  devices[1] =
      MakeEmulatedDevice({.memory_bytes = 4 << 10, .label = "emulated:1"});
  const auto small = MakeDeviceModel(test.model, devices);
  ASSERT_FALSE(small.ok());
  EXPECT_EQ(small.status().code(), StatusCode::kResourceExhausted);
  EXPECT_NE(small.status().message().find("emulated:1"), std::string::npos)
      << small.status().message();
}

TEST(HyenaDeviceRanksTest, SaysWhoOwnsWhat) {
  const TestModel test(SplitConfig());
  const auto details = Place(test, 3)->info().details;
  ASSERT_GE(details.size(), 3u);
  const auto last = details.back();
  EXPECT_EQ(last.first, "device of rank 2");
  EXPECT_EQ(last.second, "emulated:2, emulated device, channels 32 to 39");
}

// The published layouts, with the authors' logits: half of the channels each.
TEST(HyenaDeviceRanksTest, GoldenLogits) {
  const std::filesystem::path folder = Golden("hyenadna-tiny-1k-hf");
  const auto host = LoadModel(folder);
  ASSERT_TRUE(host.ok()) << host.status().message();
  const auto devices = MakeEmulatedRanks(2);
  const auto model = MakeDeviceModel(*host, devices).value();
  const GoldenReference golden = ReadGolden(folder);
  const std::vector<int32_t>& tokens = golden.tokens;
  ASSERT_GT(tokens.size(), 20u);
  const std::vector<double>& want = golden.logits;
  const size_t vocab = model->info().padded_vocab;
  ThreadPool pool(1);
  const auto state = NewState(*model, pool, tokens.size(), 20);
  std::vector<float> logits(vocab);
  const size_t known = tokens.size() - 20;
  const Status status =
      state->Prefill(std::span(tokens.data(), known),
                     {.on_logits = [&](size_t t, std::span<const float> row) {
                       for (size_t v = 0; v < vocab; ++v) {
                         EXPECT_NEAR(row[v], want[t * vocab + v], 1e-4) << t;
                       }
                       return OkStatus();
                     }});
  ASSERT_TRUE(status.ok()) << status.message();
  for (size_t t = known; t < tokens.size(); ++t) {
    state->Step(tokens[t], logits.data());
    for (size_t v = 0; v < vocab; ++v) {
      ASSERT_NEAR(logits[v], want[t * vocab + v], 1e-4) << t;
    }
  }
}

}  // namespace
}  // namespace lcsm::cuda
