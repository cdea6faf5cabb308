// Generation over a fake model, and the matcher of stop texts.
#include "runtime/generator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <vector>

#include "runtime/stop_matcher.h"

namespace lcsm {
namespace {

// A model that recites: after the k-th token (prompt included) it is sure that
// token k of its script follows. Ids are bytes; 256 is the end of sequence.
class FakeModel : public Model {
 public:
  explicit FakeModel(std::string script) : script_(std::move(script)) {
    info_.name = "fake";
    info_.vocab = 257;
    info_.padded_vocab = 264;
    info_.max_length = 1000;
    info_.eos_id = 256;
  }
  const ModelInfo& info() const override { return info_; }
  StatusOr<std::shared_ptr<const PreparedModel>> Prepare(
      const PrepareOptions&, ThreadPool&,
      const ModelState::Progress&) const override {
    return Unsupported("not here");
  }
  StatusOr<ModelMemory> EstimateMemory(const PrepareOptions&,
                                       size_t) const override {
    return ModelMemory();
  }
  Status CheckWeights() const override {
    return checks_until_cut_ != 0 && ++checks_ >= checks_until_cut_
               ? InvalidInput("the file is gone")
               : OkStatus();
  }

  int32_t Next(size_t position) const {
    if (position > script_.size()) return 256;
    return static_cast<uint8_t>(script_[position - 1]);
  }

  size_t checks_until_cut_ = 0;

 private:
  std::string script_;
  ModelInfo info_;
  mutable size_t checks_ = 0;
};

class FakeState : public ModelState {
 public:
  explicit FakeState(const FakeModel& model) : model_(model) {}
  void Step(int32_t token, float* logits) noexcept override {
    taken_.push_back(token);
    times_.mixers += 1;
    for (size_t v = 0; v < 264; ++v) logits[v] = v >= 257 ? 1000.0f : 0.0f;
    logits[model_.Next(taken_.size())] = 100;
  }
  Status Prefill(std::span<const int32_t> tokens,
                 const PrefillRequest& request) override {
    for (int32_t token : tokens) Step(token, request.last_logits);
    if (request.progress && !request.progress(1)) return Cancelled("stopped");
    return OkStatus();
  }
  StatusOr<std::unique_ptr<ModelState>> Fork() const override {
    return std::unique_ptr<ModelState>(std::make_unique<FakeState>(*this));
  }
  size_t padded_vocab() const override { return 264; }
  size_t position() const override { return taken_.size(); }
  size_t StepRoom() const override { return 1000 - taken_.size(); }
  size_t horizon() const override { return 1000; }
  void Reset() noexcept override { taken_.clear(); }
  const StepTimes& times() const override { return times_; }
  void SkipMixers(bool) noexcept override {}

  std::vector<int32_t> taken_;

 private:
  const FakeModel& model_;
  StepTimes times_;
};

// Bytes, but 256 has a name and 'Z' stands for nothing, 'Q' for two letters.
class FakeTokenizer : public io::Tokenizer {
 public:
  FakeTokenizer() {
    for (int i = 0; i < 256; ++i) bytes_.push_back(std::string(1, char(i)));
    bytes_.push_back("[END]");
    bytes_['Z'] = "";
    bytes_['Q'] = "uv";
  }
  std::string_view name() const override { return "fake"; }
  size_t vocab_size() const override { return 257; }
  int32_t eos_id() const override { return 256; }
  io::Encoding Encode(std::string_view,
                      const io::EncodeOptions&) const override {
    return {};
  }
  std::string_view TokenBytes(int32_t id) const override {
    return bytes_[static_cast<size_t>(id)];
  }
  bool IsSpecial(int32_t id) const override { return id == 256; }

 private:
  std::vector<std::string> bytes_;
};

struct Outcome {
  Status status;
  GeneratedSample sample;
  std::string streamed;               // on_text, one after another.
  std::vector<int32_t> token_stream;  // on_token.
  std::vector<int32_t> taken;
  GenerateFigures figures;
};

// The prompt is one token, so the script's first byte comes first.
Outcome Generate(const std::string& script, GenerateOptions options,
                 GenerateHooks hooks = {}, size_t cut = 0) {
  FakeModel model(script);
  model.checks_until_cut_ = cut;
  FakeState state(model);
  FakeTokenizer tokenizer;
  Outcome outcome;
  options.sampler.temperature = 0;
  auto generator = Generator::Create(model, state, &tokenizer, options);
  if (!generator.ok()) {
    outcome.status = generator.status();
    return outcome;
  }
  const auto on_token = hooks.on_token;
  hooks.on_token = [&, on_token](int32_t id, double logprob) {
    outcome.token_stream.push_back(id);
    return on_token ? on_token(id, logprob) : OkStatus();
  };
  const auto on_text = hooks.on_text;
  hooks.on_text = [&, on_text](std::string_view text) {
    outcome.streamed += text;
    return on_text ? on_text(text) : OkStatus();
  };
  const int32_t prompt[] = {65};
  auto sample = (*generator)->Run(prompt, 0, hooks);
  outcome.status = sample.status();
  if (sample.ok()) {
    outcome.sample = *sample;
    EXPECT_EQ(outcome.streamed, sample->text);
    EXPECT_EQ(outcome.token_stream, sample->tokens);
  }
  outcome.taken = state.taken_;
  outcome.figures = (*generator)->figures();
  return outcome;
}

TEST(GeneratorTest, RunsToItsLimit) {
  const Outcome o = Generate("hello world", {.max_new_tokens = 5});
  ASSERT_TRUE(o.status.ok()) << o.status.message();
  EXPECT_EQ(o.sample.text, "hello");
  EXPECT_EQ(o.sample.finish, FinishReason::kLength);
  // The prompt and all but the last token were taken in.
  EXPECT_EQ(o.taken, (std::vector<int32_t>{65, 'h', 'e', 'l', 'l'}));
  EXPECT_EQ(o.figures.token_ms.size(), 5u);
  EXPECT_EQ(o.figures.new_tokens, 5u);
  EXPECT_EQ(o.figures.prompt_tokens, 1u);
  EXPECT_EQ(o.figures.mixer_seconds, 4);  // Of decode steps alone.
}

TEST(GeneratorTest, EndOfSequence) {
  Outcome o = Generate("ab", {.max_new_tokens = 5, .stop_at_eos = true});
  EXPECT_EQ(o.sample.text, "ab");
  EXPECT_EQ(o.sample.finish, FinishReason::kEos);
  // Not obeyed unless asked for.
  o = Generate("ab", {.max_new_tokens = 3});
  EXPECT_EQ(o.sample.text, "ab[END]");
  EXPECT_EQ(o.sample.finish, FinishReason::kLength);
}

TEST(GeneratorTest, StopTexts) {
  Outcome o =
      Generate("one two three", {.max_new_tokens = 13, .stop = {"two"}});
  EXPECT_EQ(o.sample.text, "one ");
  EXPECT_EQ(o.sample.tokens.size(), 4u);
  EXPECT_EQ(o.sample.finish, FinishReason::kStop);
  // The one that begins first wins; the end of a text that never completes is
  // handed over after all.
  o = Generate("one two three",
               {.max_new_tokens = 13, .stop = {"o thr", "three", "e! "}});
  EXPECT_EQ(o.sample.text, "one tw");
  o = Generate("one two", {.max_new_tokens = 7, .stop = {"two!"}});
  EXPECT_EQ(o.sample.text, "one two");
  EXPECT_EQ(o.sample.finish, FinishReason::kLength);
  // Self-overlapping.
  o = Generate("aaaab", {.max_new_tokens = 5, .stop = {"aab"}});
  EXPECT_EQ(o.sample.text, "aa");
  // At once.
  o = Generate("stop", {.max_new_tokens = 5, .stop = {"st"}});
  EXPECT_EQ(o.sample.text, "");
  EXPECT_TRUE(o.sample.tokens.empty());
}

TEST(GeneratorTest, TokensAtTheBorderOfAStop) {
  // 'Q' stands for "uv": it begins before the stop and is kept, its "v" not.
  Outcome o = Generate("aQbc", {.max_new_tokens = 4, .stop = {"vb"}});
  EXPECT_EQ(o.sample.text, "au");
  EXPECT_EQ(o.sample.tokens, (std::vector<int32_t>{'a', 'Q'}));
  // Tokens without text: kept before the stop, dropped inside.
  o = Generate("aZbZc", {.max_new_tokens = 5, .stop = {"bc"}});
  EXPECT_EQ(o.sample.tokens, (std::vector<int32_t>{'a', 'Z'}));
  EXPECT_EQ(o.sample.text, "a");
}

TEST(GeneratorTest, HoldsBackNoMoreThanNeeded) {
  std::vector<std::string> pieces;
  GenerateHooks hooks;
  hooks.on_text = [&](std::string_view text) {
    pieces.emplace_back(text);
    return OkStatus();
  };
  Generate("xabxabc", {.max_new_tokens = 7, .stop = {"abc"}}, hooks);
  EXPECT_EQ(pieces, (std::vector<std::string>{"x", "abx"}));
}

TEST(GeneratorTest, CancelAndHooks) {
  std::atomic<bool> cancel{false};
  GenerateHooks hooks;
  hooks.on_text = [&](std::string_view) {
    cancel = true;
    return OkStatus();
  };
  Outcome o =
      Generate("hello", {.max_new_tokens = 5, .cancel = &cancel}, hooks);
  ASSERT_TRUE(o.status.ok());
  EXPECT_EQ(o.sample.text, "h");
  EXPECT_EQ(o.sample.finish, FinishReason::kCancelled);
  // Set before the prompt.
  o = Generate("hello", {.max_new_tokens = 5, .cancel = &cancel});
  ASSERT_TRUE(o.status.ok());
  EXPECT_TRUE(o.sample.tokens.empty());
  EXPECT_EQ(o.sample.finish, FinishReason::kCancelled);
  // A hook's kCancelled is a wish, its other errors are errors.
  hooks.on_text = [](std::string_view) { return Cancelled("enough"); };
  o = Generate("hello", {.max_new_tokens = 5}, hooks);
  ASSERT_TRUE(o.status.ok());
  EXPECT_EQ(o.sample.text, "h");
  EXPECT_EQ(o.sample.finish, FinishReason::kCancelled);
  hooks.on_text = [](std::string_view) { return InvalidInput("disk full"); };
  o = Generate("hello", {.max_new_tokens = 5}, hooks);
  EXPECT_EQ(o.status.message(), "disk full");
}

TEST(GeneratorTest, BadInput) {
  EXPECT_FALSE(Generate("x", {.stop = {""}}).status.ok());
  EXPECT_FALSE(Generate("x", {.max_new_tokens = 1001}).status.ok());
  EXPECT_TRUE(Generate("x", {.max_new_tokens = 1000}).status.ok());
  EXPECT_FALSE(Generate("x", {.allowed = {257}}).status.ok());
  // The weights vanish while in use.
  EXPECT_EQ(Generate("hello", {.max_new_tokens = 5}, {}, 3).status.message(),
            "the file is gone");
  FakeModel model("x");
  FakeState state(model);
  EXPECT_FALSE(Generator::Create(model, state, nullptr, {.stop = {"a"}}).ok());
  auto generator = Generator::Create(model, state, nullptr, {});
  ASSERT_TRUE(generator.ok());
  EXPECT_FALSE((*generator)->Run({}, 0, {}).ok());
}

// Rows of a batch by forks of the fake state, whose model says the same to all:
// they differ by what sampling makes of it.
TEST(GeneratorTest, SamplesSideBySideAreThoseOneByOne) {
  // From position 4 on the model is not sure any more.
  const FakeModel model("one");
  FakeTokenizer tokenizer;
  GenerateOptions options;
  options.max_new_tokens = 8;
  options.allowed = {'a', 'b', 'c', 'n', 'e', 'o', 'Q', 256};
  options.stop = {"ab", "cc", "e!"};
  options.logprobs = true;
  options.stop_at_eos = true;
  options.sampler.seed = 3;
  options.sampler.temperature = 60;  // 100 apart is then nearly nothing.
  const int32_t prompt[] = {65, 66};
  std::vector<GeneratedSample> want;
  for (uint64_t k = 0; k < 7; ++k) {
    FakeState state(model);
    const auto generator =
        Generator::Create(model, state, &tokenizer, options).value();
    want.push_back(generator->Run(prompt, k, {}).value());
  }
  FakeState state(model);
  const auto generator =
      Generator::Create(model, state, &tokenizer, options).value();
  ASSERT_TRUE(generator->ReadPrompt(prompt, {}).value());
  size_t k = 0, new_tokens = 0;
  for (size_t rows : {1, 4, 2}) {
    std::vector<std::vector<int32_t>> streamed(rows);
    std::vector<std::string> text(rows);
    std::vector<GenerateHooks> hooks(rows);
    for (size_t r = 0; r < rows; ++r) {
      hooks[r].on_token = [&streamed, r](int32_t id, double) {
        streamed[r].push_back(id);
        return OkStatus();
      };
      hooks[r].on_text = [&text, r](std::string_view more) {
        text[r] += more;
        return OkStatus();
      };
    }
    const auto samples = generator->Samples(k, hooks);
    ASSERT_TRUE(samples.ok()) << samples.status().message();
    ASSERT_EQ(samples->size(), rows);
    for (size_t r = 0; r < rows; ++r, ++k) {
      const GeneratedSample& got = (*samples)[r];
      EXPECT_EQ(got.tokens, want[k].tokens) << k;
      EXPECT_EQ(got.text, want[k].text) << k;
      EXPECT_EQ(got.logprobs, want[k].logprobs) << k;
      EXPECT_EQ(got.finish, want[k].finish) << k;
      EXPECT_EQ(streamed[r], got.tokens);
      EXPECT_EQ(text[r], got.text);
      new_tokens += got.tokens.size();
    }
  }
  EXPECT_GE(generator->figures().new_tokens, new_tokens);
  EXPECT_EQ(generator->figures().prompt_tokens, 2u);
  // Samples differ, and end in more than one way, or this shows little.
  EXPECT_NE(want[0].text, want[1].text);
  std::vector<FinishReason> ends;
  for (const GeneratedSample& one : want) ends.push_back(one.finish);
  EXPECT_NE(std::count(ends.begin(), ends.end(), ends[0]),
            static_cast<ptrdiff_t>(ends.size()));
}

TEST(GeneratorTest, SamplesSideBySideCanBeStopped) {
  const FakeModel model("hello");
  FakeTokenizer tokenizer;
  std::atomic<bool> cancel{false};
  GenerateOptions options;
  options.max_new_tokens = 5;
  options.cancel = &cancel;
  options.sampler.temperature = 0;
  const int32_t prompt[] = {65};
  FakeState state(model);
  const auto generator =
      Generator::Create(model, state, &tokenizer, options).value();
  ASSERT_TRUE(generator->ReadPrompt(prompt, {}).value());
  std::vector<GenerateHooks> hooks(3);
  // The second row's second token: the first row has it already, the third has
  // not.
  size_t calls = 0;
  hooks[1].on_token = [&calls](int32_t, double) {
    return ++calls == 2 ? Cancelled("enough") : OkStatus();
  };
  auto samples = generator->Samples(0, hooks).value();
  EXPECT_EQ(samples[0].text, "he");
  EXPECT_EQ(samples[2].text, "h");
  for (const GeneratedSample& one : samples) {
    EXPECT_EQ(one.finish, FinishReason::kCancelled);
  }
  // Any other error is one.
  hooks[1].on_token = [](int32_t, double) { return InvalidInput("disk full"); };
  EXPECT_EQ(generator->Samples(0, hooks).status().message(), "disk full");
  hooks[1].on_token = [&cancel](int32_t, double) {
    cancel = true;
    return OkStatus();
  };
  samples = generator->Samples(0, hooks).value();
  for (const GeneratedSample& one : samples) {
    EXPECT_EQ(one.text, "h");
    EXPECT_EQ(one.finish, FinishReason::kCancelled);
  }
  EXPECT_FALSE(generator->ReadPrompt(prompt, {}).value());
}

TEST(GeneratorTest, LogProbs) {
  const Outcome o = Generate("hi", {.max_new_tokens = 2, .logprobs = true});
  ASSERT_EQ(o.sample.logprobs.size(), 2u);
  EXPECT_NEAR(o.sample.logprobs[0], 0, 1e-6);  // It is sure.
}

TEST(StopMatcherTest, AgreesWithSearchingTheWholeText) {
  const std::vector<std::string> stops = {"aab", "ba", "abab"};
  const StopMatcher matcher(stops);
  for (int bits = 0; bits < 1 << 10; ++bits) {
    std::string text;
    for (int i = 0; i < 10; ++i) {
      const size_t before = text.size();
      text += (bits >> i & 1) != 0 ? 'a' : 'b';
      size_t want = StopMatcher::kNone;
      for (const std::string& stop : stops) {
        want = std::min(want, text.find(stop));
      }
      ASSERT_EQ(matcher.Find(text, before), want) << text;
      if (want != StopMatcher::kNone) break;
      size_t hold = 0;
      for (const std::string& stop : stops) {
        for (size_t n = 1; n < stop.size() && n <= text.size(); ++n) {
          if (text.substr(text.size() - n) == stop.substr(0, n)) {
            hold = std::max(hold, n);
          }
        }
      }
      ASSERT_EQ(matcher.HoldBack(text), hold) << text;
    }
  }
}

}  // namespace
}  // namespace lcsm
