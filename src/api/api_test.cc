// The facades as a user sees them: public headers only.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "lcsm/lcsm.hpp"

namespace {

const char* const kFolder =
    LCSM_SOURCE_DIR "/tests/data/golden/hyenadna-tiny-1k-hf";

TEST(OnlineConvolutionFacade, StepAndProcessAgreeWithTheDefinition) {
  constexpr size_t kChannels = 3, kTaps = 70, kLength = 200;
  std::vector<float> taps(kChannels * kTaps), x(kLength * kChannels);
  for (size_t i = 0; i < taps.size(); ++i) taps[i] = std::sin(0.7f * i);
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::cos(1.3f * i);
  for (const lcsm::Method method :
       {lcsm::Method::kPlanned, lcsm::Method::kLazy, lcsm::Method::kEager}) {
    lcsm::ConvolutionOptions options;
    options.channels = kChannels;
    options.max_length = kLength;
    options.execution.method = method;
    auto made = lcsm::OnlineConvolution::Create(taps, options);
    ASSERT_TRUE(made.ok()) << made.status().message();
    lcsm::OnlineConvolution stream = std::move(made).value();
    std::vector<float> y(x.size());
    for (size_t t = 0; t < 50; ++t) {
      stream.Step(&x[t * kChannels], &y[t * kChannels]);
    }
    stream.Process(kLength - 50, &x[50 * kChannels], &y[50 * kChannels]);
    EXPECT_EQ(stream.position(), kLength);
    for (size_t t = 0; t < kLength; ++t) {
      for (size_t c = 0; c < kChannels; ++c) {
        double sum = 0;
        for (size_t i = t < kTaps ? 0 : t - kTaps + 1; i <= t; ++i) {
          sum += static_cast<double>(x[i * kChannels + c]) *
                 taps[c * kTaps + t - i];
        }
        ASSERT_NEAR(y[t * kChannels + c], sum, 2e-5) << t << " " << c;
      }
    }
  }
}

TEST(OnlineConvolutionFacade, GrowsBetweenSamples) {
  constexpr size_t kChannels = 3, kTaps = 200, kLength = 300;
  std::vector<float> taps(kChannels * kTaps), x(kLength * kChannels);
  for (size_t i = 0; i < taps.size(); ++i) taps[i] = std::sin(0.7f * i);
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::cos(1.3f * i);
  lcsm::ConvolutionOptions options;
  options.channels = kChannels;
  options.growable = true;
  for (const lcsm::Method method :
       {lcsm::Method::kPlanned, lcsm::Method::kPaper, lcsm::Method::kLazy,
        lcsm::Method::kEager}) {
    options.execution.method = method;
    options.max_length = 10;
    auto stream = lcsm::OnlineConvolution::Create(taps, options).value();
    std::vector<float> y(x.size());
    const auto step = [&](size_t until) {
      while (stream.position() < until) {
        const size_t at = stream.position() * kChannels;
        stream.Step(&x[at], &y[at]);
      }
    };
    step(7);
    ASSERT_TRUE(stream.Reserve(100).ok());
    EXPECT_EQ(stream.max_length(), 100u);
    EXPECT_EQ(stream.position(), 7u);
    ASSERT_TRUE(stream.Reserve(100).ok());  // Nothing to do.
    EXPECT_NE(stream.Reserve(99).message().find("cannot shrink"),
              std::string::npos);
    EXPECT_FALSE(stream.Reserve(size_t{1} << 55).ok());
    EXPECT_EQ(stream.max_length(), 100u);
    step(100);
    const lcsm::Status grown = stream.Reserve(kLength);
    ASSERT_TRUE(grown.ok()) << grown.message();
    step(kLength);
    for (size_t t = 0; t < kLength; ++t) {
      for (size_t c = 0; c < kChannels; ++c) {
        double sum = 0;
        for (size_t i = t < kTaps ? 0 : t - kTaps + 1; i <= t; ++i) {
          sum += static_cast<double>(x[i * kChannels + c]) *
                 taps[c * kTaps + t - i];
        }
        ASSERT_NEAR(y[t * kChannels + c], sum, 2e-5) << t << " " << c;
      }
    }
    stream.Reset();
    EXPECT_EQ(stream.max_length(), kLength);
  }
  options.growable = false;
  auto fixed = lcsm::OnlineConvolution::Create(taps, options).value();
  const lcsm::Status refused = fixed.Reserve(20);
  EXPECT_NE(refused.message().find("growable"), std::string::npos);
  EXPECT_TRUE(fixed.Reserve(10).ok());
}

TEST(OnlineConvolutionFacade, RefusesWhatMakesNoSense) {
  const std::vector<float> taps(10);
  EXPECT_FALSE(lcsm::OnlineConvolution::Create(taps, {}).ok());
  EXPECT_FALSE(
      lcsm::OnlineConvolution::Create(taps, {.channels = 3, .max_length = 8})
          .ok());
  EXPECT_FALSE(
      lcsm::OnlineConvolution::Create(taps, {.channels = 0, .max_length = 8})
          .ok());
  EXPECT_FALSE(lcsm::OnlineConvolution::Create({}, {.max_length = 8}).ok());
}

TEST(OnlineConvolutionFacade, RefusesTapsThatAreNoNumbers) {
  const float bad[] = {std::nanf(""), INFINITY, -INFINITY};
  for (const float value : bad) {
    std::vector<float> taps(3 * 70, 0.5f);
    taps[2 * 70 + 65] = value;  // Beyond max_length as well.
    const auto made =
        lcsm::OnlineConvolution::Create(taps, {.channels = 3, .max_length = 8});
    ASSERT_FALSE(made.ok());
    EXPECT_NE(made.status().message().find("tap 65 of channel 2"),
              std::string::npos)
        << made.status().message();
  }
}

TEST(ExecutionOptions, MoreThreadsThanAnybodyHasAreRefused) {
  const std::vector<float> taps(10);
  lcsm::ConvolutionOptions options;
  options.max_length = 8;
  options.execution.threads = size_t{1} << 40;
  const auto made = lcsm::OnlineConvolution::Create(taps, options);
  ASSERT_FALSE(made.ok());
  EXPECT_NE(made.status().message().find("at most 1024"), std::string::npos)
      << made.status().message();
  auto model = lcsm::Model::Load(kFolder);
  ASSERT_TRUE(model.ok());
  const lcsm::SessionOptions session = {.max_length = 8,
                                        .execution = {.threads = 1025}};
  EXPECT_FALSE(lcsm::Session::Create(*model, session).ok());
  EXPECT_FALSE(model->EstimateMemoryBytes(session).ok());
}

TEST(SessionFacade, StepAndPrefillGiveTheSameLogits) {
  auto model = lcsm::Model::Load(kFolder);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(model->info().layers, 2u);
  auto ids = model->Encode("ACGTTGCANNACGT");
  ASSERT_TRUE(ids.ok());
  auto a = lcsm::Session::Create(*model, {.max_length = 64});
  auto b = lcsm::Session::Create(*model, {.max_length = 64});
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_TRUE(a->logits().empty());
  ASSERT_TRUE(a->Prefill(*ids).ok());
  for (const int32_t id : *ids) ASSERT_TRUE(b->Step(id).ok());
  ASSERT_EQ(a->logits().size(), 16u);
  for (size_t i = 0; i < 16; ++i) {
    EXPECT_NEAR(a->logits()[i], b->logits()[i], 1e-4);
  }
  // Twelve ids in sixteen rows: padding is no token, and nothing was taken in.
  const size_t position = a->position();
  for (const int32_t id : {-1, 12, 15, 16}) {
    const lcsm::Status status = a->Step(id);
    ASSERT_FALSE(status.ok()) << id;
    EXPECT_NE(status.message().find("expected 0 to 11"), std::string::npos);
    EXPECT_FALSE(a->Prefill(std::vector<int32_t>{7, id}).ok()) << id;
  }
  EXPECT_EQ(a->position(), position);
  EXPECT_TRUE(a->Step(11).ok());
}

TEST(SessionFacade, ForksAndTruncates) {
  auto model = lcsm::Model::Load(kFolder);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(model->info().hash.size(), 32u);
  const std::vector<int32_t> ids = model->Encode("ACGTTGCANNACGTAC").value();
  auto a = lcsm::Session::Create(*model, {.max_length = 64}).value();
  ASSERT_TRUE(a.Prefill(ids).ok());
  const std::vector<float> behind(a.logits().begin(), a.logits().end());
  auto fork = a.Fork().value();
  EXPECT_EQ(fork.position(), ids.size());
  ASSERT_TRUE(fork.Step(7).ok());
  ASSERT_TRUE(a.Step(8).ok());
  EXPECT_FALSE(
      std::equal(a.logits().begin(), a.logits().end(), fork.logits().begin()));
  lcsm::GenerateOptions options;
  options.max_new_tokens = 5;
  ASSERT_TRUE(fork.Generate(std::vector<int32_t>{9}, options).ok());
  EXPECT_EQ(fork.position(), ids.size() + 6);
  // Both come back to where they parted, whatever they took in since.
  for (lcsm::Session* session : {&a, &fork}) {
    EXPECT_FALSE(session->Truncate(session->position() + 1).ok());
    ASSERT_TRUE(session->Truncate(ids.size()).ok());
    EXPECT_EQ(session->position(), ids.size());
    for (size_t i = 0; i < behind.size(); ++i) {
      EXPECT_NEAR(session->logits()[i], behind[i], 1e-4);
    }
    ASSERT_TRUE(session->Truncate(0).ok());
    EXPECT_TRUE(session->logits().empty());
  }
  auto forgetful =
      lcsm::Session::Create(*model, {.max_length = 64, .keep_tokens = false})
          .value();
  ASSERT_TRUE(forgetful.Prefill(ids).ok());
  const lcsm::Status refused = forgetful.Truncate(3);
  EXPECT_NE(refused.message().find("position 16, the earliest"),
            std::string::npos)
      << refused.message();
  EXPECT_TRUE(forgetful.Truncate(16).ok());
}

TEST(SessionFacade, SavesAndLoads) {
  auto model = lcsm::Model::Load(kFolder).value();
  const std::string path = ::testing::TempDir() + "/api_session.lcsm";
  const std::vector<int32_t> ids = model.Encode("ACGTTGCANNACGTAC").value();
  for (const size_t max_steps : {0, 20}) {
    auto a =
        lcsm::Session::Create(model, {.max_length = 64, .max_steps = max_steps})
            .value();
    ASSERT_TRUE(a.Save(path).ok());
    EXPECT_TRUE(lcsm::Session::Load(model, path)->logits().empty());
    ASSERT_TRUE(a.Prefill(ids).ok());
    ASSERT_TRUE(a.Step(8).ok());
    lcsm::GenerateOptions options;
    options.max_new_tokens = 5;
    ASSERT_TRUE(a.Generate(std::vector<int32_t>{9}, options).ok());
    ASSERT_TRUE(a.Save(path).ok());
    auto b = lcsm::Session::Load(model, path, {.threads = 1}).value();
    EXPECT_EQ(b.position(), a.position());
    for (int32_t token = 7; token < 11; ++token) {
      ASSERT_EQ(a.logits().size(), 16u);
      // In every bit.
      EXPECT_TRUE(
          std::equal(a.logits().begin(), a.logits().end(), b.logits().begin()));
      ASSERT_TRUE(a.Step(token).ok());
      ASSERT_TRUE(b.Step(token).ok());
    }
    ASSERT_TRUE(b.Truncate(ids.size() + 1).ok());
    ASSERT_TRUE(a.Truncate(ids.size() + 1).ok());
    EXPECT_TRUE(
        std::equal(a.logits().begin(), a.logits().end(), b.logits().begin()));
  }
  auto forgetful =
      lcsm::Session::Create(model, {.max_length = 64, .keep_tokens = false})
          .value();
  EXPECT_NE(forgetful.Save(path).message().find("keep_tokens"),
            std::string::npos);
  const auto none = lcsm::Session::Load(model, path + ".not");
  EXPECT_NE(none.status().message().find("api_session.lcsm.not"),
            std::string::npos);
}

TEST(SessionFacade, LongPromptsLayerByLayer) {
  auto model = lcsm::Model::Load(kFolder).value();
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 300; ++i) ids.push_back(7 + i * i % 5 % 4);
  auto online = lcsm::Session::Create(model, {.max_length = 310}).value();
  auto layers =
      lcsm::Session::Create(model, {.max_length = 310, .max_steps = 10})
          .value();
  ASSERT_TRUE(layers.Prefill(std::span(ids).first(100)).ok());
  // A step gives up what comes after ten of them.
  ASSERT_TRUE(online.Prefill(std::span(ids).first(100)).ok());
  auto early = layers.Fork().value();
  for (int32_t token = 0; token < 11; ++token) {
    EXPECT_EQ(early.Step(token).ok(), token < 10);
    EXPECT_EQ(early.max_length(), 110u);
    if (token < 10) {
      ASSERT_TRUE(online.Step(token).ok());
    }
    for (size_t i = 0; i < 16; ++i) {
      EXPECT_NEAR(online.logits()[i], early.logits()[i], 1e-4);
    }
  }
  online.Reset();
  ASSERT_TRUE(online.Prefill(ids).ok());
  // In a second call.
  ASSERT_TRUE(layers.Prefill(std::span(ids).subspan(100)).ok());
  // A generation may be too long for what is left of the steps, also where the
  // prompt makes the difference.
  auto long_one = layers.Fork().value();
  lcsm::GenerateOptions options;
  options.max_new_tokens = 10;
  EXPECT_FALSE(long_one.Generate(std::vector<int32_t>{7, 7}, options).ok());
  for (int32_t token = 0; token <= 10; ++token) {
    for (size_t i = 0; i < 16; ++i) {
      EXPECT_NEAR(online.logits()[i], layers.logits()[i], 1e-4);
    }
    EXPECT_EQ(online.Step(7).ok(), token < 10);
    EXPECT_EQ(layers.Step(7).ok(), token < 10);
  }
}

// However a session gets its length: what comes is what a long one gives.
TEST(SessionFacade, Reserves) {
  auto model = lcsm::Model::Load(kFolder).value();
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 300; ++i) ids.push_back(7 + i * i % 5 % 4);
  auto made = lcsm::Session::Create(model, {.max_length = 300}).value();
  std::vector<std::vector<float>> want;
  for (const int32_t id : ids) {
    ASSERT_TRUE(made.Step(id).ok());
    want.emplace_back(made.logits().begin(), made.logits().end());
  }
  const lcsm::SessionOptions kinds[] = {
      {.max_length = 60, .growable = true},
      {.max_length = 60, .growable = true, .keep_tokens = false},
      {.max_length = 60},                   // Reads them again,
      {.max_length = 60, .max_steps = 20},  // layer by layer.
      {.max_length = 60,
       .growable = true,
       .execution = {.method = lcsm::Method::kLazy}}};
  for (const lcsm::SessionOptions& kind : kinds) {
    auto session = lcsm::Session::Create(model, kind).value();
    ASSERT_TRUE(session.Prefill(std::span(ids).first(40)).ok());
    const auto step_to = [&](lcsm::Session& one, size_t until) {
      while (one.position() < until) {
        const size_t t = one.position();
        ASSERT_TRUE(one.Step(ids[t]).ok()) << t;
        for (size_t i = 0; i < 16; ++i) {
          ASSERT_NEAR(one.logits()[i], want[t][i], 1e-4) << t;
        }
      }
    };
    step_to(session, 60);
    const lcsm::Status full = session.Step(7);
    EXPECT_NE(full.message().find("Reserve"), std::string::npos);
    auto fork = session.Fork().value();
    const std::vector<float> logits(session.logits().begin(),
                                    session.logits().end());
    // What is refused leaves it as it was.
    EXPECT_NE(session.Reserve(59).message().find("cannot shrink to 59"),
              std::string::npos);
    const size_t limit = model.info().max_length;
    EXPECT_NE(session.Reserve(limit + 1).message().find(
                  std::to_string(limit + 1) + " positions, expected at most " +
                  std::to_string(limit)),
              std::string::npos);
    EXPECT_EQ(session.max_length(), 60u);
    ASSERT_TRUE(session.Reserve(60).ok());
    const size_t first = kind.max_steps != 0 ? 80 : 100;
    const lcsm::Status grown = session.Reserve(first);
    ASSERT_TRUE(grown.ok()) << grown.message();
    EXPECT_EQ(session.position(), 60u);
    EXPECT_EQ(session.max_length(), first);
    // It has said so before.
    EXPECT_TRUE(
        std::equal(logits.begin(), logits.end(), session.logits().begin()));
    step_to(session, first);
    ASSERT_TRUE(session.Reserve(250).ok());
    // Room for steps, not for known tokens, is what max_steps limits.
    step_to(session, kind.max_steps != 0 ? first + 20 : 250);
    EXPECT_FALSE(session.Step(7).ok());
    EXPECT_EQ(fork.max_length(), 60u);
    EXPECT_FALSE(fork.Step(7).ok());
    ASSERT_TRUE(fork.Reserve(80).ok());
    step_to(fork, 80);
    session.Reset();
    EXPECT_EQ(session.max_length(), 250u);
    ASSERT_TRUE(session.Prefill(std::span(ids).first(200)).ok());
  }
  auto forgetful =
      lcsm::Session::Create(model, {.max_length = 60, .keep_tokens = false})
          .value();
  EXPECT_NE(forgetful.Reserve(70).message().find("keep_tokens"),
            std::string::npos);
  const auto both = lcsm::Session::Create(
      model, {.max_length = 60, .max_steps = 20, .growable = true});
  ASSERT_FALSE(both.ok());
  EXPECT_NE(both.status().message().find("max_steps 20"), std::string::npos);
}

// A growable session makes room by itself, and nothing else does.
TEST(SessionFacade, GrowableSessionsGenerateOnAndOn) {
  auto model = lcsm::Model::Load(kFolder).value();
  const auto prompt = model.Encode("ACGTTGCANNACGTAC").value();
  lcsm::GenerateOptions options;
  options.max_new_tokens = 50;
  options.sampling.temperature = 0;
  auto made = lcsm::Session::Create(model, {.max_length = 600}).value();
  auto session =
      lcsm::Session::Create(model, {.max_length = 8, .growable = true}).value();
  const std::string path = ::testing::TempDir() + "/api_growable.lcsm";
  std::vector<int32_t> next = prompt;
  for (int round = 0; round < 6; ++round) {
    const auto want = made.Generate(next, options);
    const auto got = session.Generate(next, options);
    ASSERT_TRUE(got.ok()) << got.status().message();
    ASSERT_TRUE(want.ok());
    EXPECT_EQ(got->tokens, want->tokens);
    next = {got->tokens.back()};
    if (round != 3) continue;
    // From a file, it still grows.
    ASSERT_TRUE(session.Save(path).ok());
    auto loaded = lcsm::Session::Load(model, path);
    ASSERT_TRUE(loaded.ok()) << loaded.status().message();
    session = *std::move(loaded);
  }
  EXPECT_EQ(session.position(), made.position());
  const auto samples = session.Samples(next, 2, options);
  ASSERT_TRUE(samples.ok()) << samples.status().message();
  EXPECT_EQ((*samples)[0].tokens, made.Generate(next, options)->tokens);
  ASSERT_TRUE(session.Prefill(std::vector<int32_t>(300, 8)).ok());
  // As far as the model goes.
  const size_t limit = model.info().max_length;
  options.max_new_tokens = limit;
  const auto beyond = session.Generate(next, options);
  EXPECT_NE(beyond.status().message().find("expected at most " +
                                           std::to_string(limit)),
            std::string::npos)
      << beyond.status().message();
  options.max_new_tokens = static_cast<size_t>(-1);
  EXPECT_FALSE(session.Generate(next, options).ok());
  const size_t left = limit - session.position();
  EXPECT_TRUE(session.Prefill(std::vector<int32_t>(left, 8)).ok());
  EXPECT_EQ(session.max_length(), limit);
  auto fixed = lcsm::Session::Create(model, {.max_length = 8}).value();
  options.max_new_tokens = 50;
  EXPECT_FALSE(fixed.Generate(prompt, options).ok());
}

TEST(SessionFacade, SamplesAreGenerationsSideBySide) {
  const auto model = lcsm::Model::Load(kFolder);
  ASSERT_TRUE(model.ok());
  lcsm::GenerateOptions options;
  options.max_new_tokens = 40;
  options.sampling.seed = 5;
  options.sampling.sample = 2;
  options.logprobs = true;
  std::string streamed;
  options.on_text = [&streamed](std::string_view text) {
    streamed += text;
    return true;
  };
  auto session = lcsm::Session::Create(*model, {.max_length = 100});
  ASSERT_TRUE(session.ok());
  const auto samples = session->Samples("ACGT", 3, options);
  ASSERT_TRUE(samples.ok()) << samples.status().message();
  ASSERT_EQ(samples->size(), 3u);
  EXPECT_EQ(session->position(), 4u);
  EXPECT_EQ(streamed, (*samples)[0].text);
  options.on_text = nullptr;
  for (size_t k = 0; k < 3; ++k) {
    auto alone = lcsm::Session::Create(*model, {.max_length = 100});
    options.sampling.sample = 2 + k;
    const auto want = alone->Generate("ACGT", options);
    ASSERT_TRUE(want.ok());
    EXPECT_EQ((*samples)[k].tokens, want->tokens);
    EXPECT_EQ((*samples)[k].text, want->text);
    EXPECT_EQ((*samples)[k].logprobs, want->logprobs);
    EXPECT_EQ((*samples)[k].finish, want->finish);
  }
  EXPECT_NE((*samples)[0].tokens, (*samples)[1].tokens);
  // The session goes on behind the prompt as if nothing had been sampled.
  auto plain = lcsm::Session::Create(*model, {.max_length = 100});
  ASSERT_TRUE(plain->Prefill(std::vector<int32_t>{7, 8, 9, 10}).ok());
  EXPECT_TRUE(std::equal(plain->logits().begin(), plain->logits().end(),
                         session->logits().begin()));
  EXPECT_FALSE(session->Samples("ACGT", 0, options).ok());
  options.max_new_tokens = 100;
  EXPECT_FALSE(session->Samples("ACGT", 2, options).ok());
}

TEST(SessionFacade, GeneratesStopsAndFillsUp) {
  auto model = lcsm::Model::Load(kFolder);
  ASSERT_TRUE(model.ok());
  auto session = lcsm::Session::Create(*model, {.max_length = 40});
  ASSERT_TRUE(session.ok());
  lcsm::GenerateOptions options;
  options.max_new_tokens = 20;
  options.allow = "ACGT";
  options.sampling.seed = 5;
  std::string heard;
  options.on_text = [&heard](std::string_view text) {
    heard += text;
    return true;
  };
  auto out = session->Generate("ACGT", options);
  ASSERT_TRUE(out.ok()) << out.status().message();
  EXPECT_EQ(out->tokens.size(), 20u);
  EXPECT_EQ(out->text, heard);
  EXPECT_EQ(out->text.find_first_not_of("ACGT"), std::string::npos);
  EXPECT_EQ(out->finish, lcsm::FinishReason::kLength);

  session->Reset();
  options.on_text = [](std::string_view) { return false; };
  out = session->Generate("ACGT", options);
  ASSERT_TRUE(out.ok());
  EXPECT_EQ(out->finish, lcsm::FinishReason::kCancelled);

  session->Reset();
  options.max_new_tokens = 100;
  EXPECT_FALSE(session->Generate("ACGT", options).ok());
  while (session->position() < session->max_length()) {
    ASSERT_TRUE(session->Step(7).ok());
  }
  EXPECT_FALSE(session->Step(7).ok());
}

TEST(ModelApi, WeightsInFewerBits) {
  const auto exact = lcsm::Model::Load(kFolder);
  ASSERT_TRUE(exact.ok());
  const auto small =
      lcsm::Model::Load(kFolder, {.weights = lcsm::WeightFormat::kInt8});
  ASSERT_TRUE(small.ok()) << small.status().message();
  EXPECT_LT(small->info().weight_bytes, exact->info().weight_bytes);
  EXPECT_LT(small->EstimateMemoryBytes({.max_length = 64}).value(),
            exact->EstimateMemoryBytes({.max_length = 64}).value());
  const auto none = lcsm::Model::Load(
      kFolder, {.weights = static_cast<lcsm::WeightFormat>(9)});
  EXPECT_EQ(none.status().code(), lcsm::StatusCode::kInvalidInput);
}

TEST(ModelApi, Devices) {
  EXPECT_TRUE(lcsm::Model::Load(kFolder, {.device = "auto"}).ok());
  const auto wrong = lcsm::Model::Load(kFolder, {.device = "gpu"});
  EXPECT_EQ(
      wrong.status().message(),
      "the device is 'gpu', expected cpu, cuda, cuda:N, cuda:N,M,.. or auto");
  // No CUDA in this build, no driver, or fewer than a hundred GPUs.
  const auto far = lcsm::Model::Load(kFolder, {.device = "cuda:99"});
  ASSERT_FALSE(far.ok());
  EXPECT_NE(far.status().message().find("CUDA"), std::string::npos)
      << far.status().message();
}

TEST(ModelFacade, ErrorsAreSentences) {
  const auto missing = lcsm::Model::Load("/nonexistent/folder");
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.status().message().find("/nonexistent/folder"),
            std::string::npos);
  auto model = lcsm::Model::Load(kFolder);
  ASSERT_TRUE(model.ok());
  EXPECT_FALSE(lcsm::Session::Create(*model, {.max_length = 2000}).ok());
  lcsm::SessionOptions lazy;
  lazy.execution.method = lcsm::Method::kLazy;
  lazy.execution.tau = lcsm::Tau::kDirect;
  EXPECT_FALSE(lcsm::Session::Create(*model, lazy).ok());
  const auto bytes = model->EstimateMemoryBytes({.max_length = 500});
  ASSERT_TRUE(bytes.ok());
  EXPECT_GT(*bytes, 2u * 128 * 500 * sizeof(float));
}

}  // namespace
