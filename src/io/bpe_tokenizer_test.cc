#include "io/bpe_tokenizer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/gpt2_split.h"
#include "io/test_util.h"

namespace lcsm::io {
namespace {

using Ids = std::vector<int32_t>;

std::vector<std::string> Split(std::string_view text) {
  std::vector<std::string> pieces;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = NextGpt2Piece(text, begin);
    pieces.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  return pieces;
}

using Pieces = std::vector<std::string>;

TEST(Gpt2SplitTest, FollowsTheExpression) {
  EXPECT_EQ(Split("Hello world"), (Pieces{"Hello", " world"}));
  EXPECT_EQ(Split("it's we'll I'd 'Sx'"),
            (Pieces{"it", "'s", " we", "'ll", " I", "'d", " '", "Sx", "'"}));
  EXPECT_EQ(Split("a  b   c"), (Pieces{"a", " ", " b", "  ", " c"}));
  EXPECT_EQ(Split("a \n b\n\nc \n"),
            (Pieces{"a", " \n", " b", "\n", "\n", "c", " \n"}));
  EXPECT_EQ(Split("x2 2x 3,5 !?x"),
            (Pieces{"x", "2", " 2", "x", " 3", ",", "5", " !?", "x"}));
  EXPECT_EQ(Split("né Ж٣²Ⅷ日本🙂"),
            (Pieces{"né", " Ж", "٣²Ⅷ", "日本", "🙂"}));
  EXPECT_EQ(Split("a\u3000\u00a0b"), (Pieces{"a", "\u3000", "\u00a0", "b"}));
  EXPECT_EQ(Split("a\xff\xc3z"), (Pieces{"a", "\xff\xc3", "z"}));
}

// GPT-2's merges of "low lower lowest" in miniature.
BpeDefinition Small() {
  BpeDefinition d;
  int64_t id = 0;
  for (const char* token : {"l", "o", "w", "e", "r", "s", "t", "Ġ", "lo", "low",
                            "er", "Ġlow", "lower", "es", "est", "Ċ"}) {
    d.vocab.emplace_back(token, id++);
  }
  d.merges = {{"l", "o"},    {"lo", "w"}, {"e", "r"}, {"Ġ", "low"},
              {"low", "er"}, {"e", "s"},  {"es", "t"}};
  d.added = {{"<|endoftext|>", 20, true}, {"<x>", 21, false}};
  return d;
}

std::unique_ptr<Tokenizer> Make(const BpeDefinition& definition) {
  return MakeBpeTokenizer(definition, "t.json").value();
}

TEST(BpeTokenizerTest, MergesByRank) {
  const auto t = Make(Small());
  EXPECT_EQ(t->Encode("lower").ids, Ids{12});
  EXPECT_EQ(t->Encode("low lower lowest").ids, (Ids{9, 11, 10, 11, 14}));
  EXPECT_EQ(t->Encode("lolow\n").ids, (Ids{8, 9, 15}));
  EXPECT_EQ(t->Encode("").ids, Ids{});
  EXPECT_EQ(t->Decode(Ids{9, 11, 10, 15}), "low lower\n");
  EXPECT_EQ(t->TokenBytes(11), " low");
  EXPECT_EQ(t->TokenBytes(17), "");
  EXPECT_EQ(t->TokenBytes(-1), "");
  EXPECT_EQ(t->vocab_size(), 22u);
  EXPECT_EQ(t->eos_id(), 20);
}

TEST(BpeTokenizerTest, FindsAddedTokens) {
  const auto t = Make(Small());
  EXPECT_EQ(t->Encode("low<|endoftext|>low<x>").ids, (Ids{9, 20, 9, 21}));
  EXPECT_TRUE(t->IsSpecial(20));
  EXPECT_FALSE(t->IsSpecial(21));
  EXPECT_EQ(t->TokenBytes(20), "<|endoftext|>");
}

TEST(BpeTokenizerTest, BytesWithoutATokenAreCounted) {
  BpeDefinition d = Small();
  const Encoding dropped = Make(d)->Encode("low é!low");
  EXPECT_EQ(dropped.ids, (Ids{9, 7, 9}));
  EXPECT_EQ(dropped.unknown, 3u);  // Two bytes of one letter, and "!".
  EXPECT_EQ(dropped.first_unknown, "é");
  EXPECT_EQ(dropped.first_unknown_offset, 4u);
  d.unknown = "Ċ";
  EXPECT_EQ(Make(d)->Encode("lo!").ids, (Ids{8, 15}));
}

TEST(BpeTokenizerTest, AgreesWithTheReferenceImplementation) {
  const auto folder = TestData("tokenizers/small-bpe");
  const auto cases = nlohmann::json::parse(Get(folder / "cases.json"));
  auto json = LoadTokenizer(folder, 600);
  ASSERT_TRUE(json.ok()) << json.status().message();
  auto pair = ParseVocabAndMerges(Get(folder / "vocab.json"), "v",
                                  Get(folder / "merges.txt"), "m");
  ASSERT_TRUE(pair.ok()) << pair.status().message();
  const auto older = Make(*pair);
  ASSERT_GT(cases.size(), 300u);
  for (const auto& item : cases) {
    const std::string text = item["text"];
    const Encoding encoding = (*json)->Encode(text);
    EXPECT_EQ(encoding.ids, item["ids"].get<Ids>()) << text;
    EXPECT_EQ(encoding.unknown, 0u);
    EXPECT_EQ((*json)->Decode(encoding.ids), text);
    // The pair of files has the same merges but no added tokens.
    if (text.find('<') == std::string::npos) {
      EXPECT_EQ(older->Encode(text).ids, encoding.ids) << text;
    }
  }
}

TEST(BpeTokenizerTest, LongPromptsTakeNoTime) {
  const auto t = LoadTokenizer(TestData("tokenizers/small-bpe"), 600).value();
  for (const char* unit : {"the earth ", " ", "a", "<tag"}) {
    std::string text;
    while (text.size() < 300000) text += unit;
    EXPECT_EQ(t->Decode(t->Encode(text).ids), text);  // Hangs if quadratic.
  }
}

TEST(BpeTokenizerTest, BadDefinitionsAreSentences) {
  const auto expect = [](const BpeDefinition& d, std::string_view part) {
    ExpectSentence(MakeBpeTokenizer(d, "t.json"), "t.json: ", part, "expected");
  };
  BpeDefinition d = Small();
  d.vocab.emplace_back("x", -1);
  expect(d, "token \"x\" has id -1");
  d = Small();
  d.vocab.emplace_back("x", 10'000'000);
  expect(d, "token \"x\" has id 10000000");
  d = Small();
  d.vocab.emplace_back("x", 3);
  expect(d, "tokens \"e\" and \"x\" both have id 3");
  d = Small();
  d.vocab.emplace_back("", 30);
  expect(d, "empty token");
  d = Small();
  d.merges.emplace_back("l", "x");
  expect(d, "merge 8 of \"l\" and \"x\" needs the token \"x\"");
  d = Small();
  d.merges.emplace_back("l", "w");
  expect(d, "needs the token \"lw\"");
  d = Small();
  d.added.push_back({"", 22, false});
  expect(d, "the added token with id 22 is empty");
  d = Small();
  d.unknown = "?";
  expect(d, "the unknown token is \"?\"");
  expect({}, "the vocabulary is empty");
}

TEST(BpeFilesTest, BadFilesAreSentences) {
  const auto expect = [](std::string_view json, std::string_view part) {
    ExpectSentence(ParseTokenizerJson(json, "t.json"), "t.json: ", part,
                   "expected");
  };
  const auto with = [](std::string_view model, std::string_view more = "") {
    return R"({"pre_tokenizer":{"type":"ByteLevel"},"model":)" +
           std::string(model) + std::string(more) + "}";
  };
  expect("", "ends within its JSON");
  expect("[]", "holds a list");
  expect("{}", "pre_tokenizer.type is missing");
  expect(R"({"pre_tokenizer":{"type":"Metaspace"}})",
         "pre_tokenizer.type is \"Metaspace\"");
  expect(R"({"normalizer":{"type":"NFC"}})", "normalizer is an object");
  expect(with("3"), "model is 3");
  expect(with(R"({"type":"WordPiece"})"), "model.type is \"WordPiece\"");
  expect(with(R"({"byte_fallback":true})"), "model.byte_fallback is true");
  expect(with(R"({"end_of_word_suffix":"</w>"})"),
         "model.end_of_word_suffix is \"</w>\"");
  expect(with(R"({"vocab":[]})"), "model.vocab is a list");
  expect(with(R"({"vocab":{"a":"b"}})"), "the id of token \"a\" is \"b\"");
  expect(with(R"({"vocab":{"a":0,"a":1}})"), "key \"a\" stands twice");
  expect(with(R"({"vocab":{"a":0}})"), "model.merges is missing");
  for (const char* merge :
       {"\"a\"", "\"a b c\"", "\" b\"", "\"a \"", "[\"a\"]", "[1,2]", "7"}) {
    expect(with(R"({"vocab":{},"merges":[)" + std::string(merge) + "]}"),
           "model.merges[0] is");
  }
  const std::string good = R"({"vocab":{"a":0},"merges":[]})";
  EXPECT_TRUE(ParseTokenizerJson(with(good), "t.json").ok());
  expect(with(good, R"(,"added_tokens":{})"), "added_tokens is an object");
  expect(with(good, R"(,"added_tokens":[{"content":1}])"),
         "added_tokens[0].content is 1");
  expect(with(good, R"(,"added_tokens":[{"content":"x","id":"y"}])"),
         "added_tokens[0].id is \"y\"");
  expect(
      with(good, R"(,"added_tokens":[{"content":"x","id":1,"lstrip":true}])"),
      "added_tokens[0].lstrip is true");

  const auto pair = [](std::string_view vocab, std::string_view merges) {
    return ParseVocabAndMerges(vocab, "vocab.json", merges, "merges.txt");
  };
  EXPECT_EQ(pair("{\"a\":0}", "#version: 0.2\na b\r\nc d\n")->merges.size(),
            2u);
  ExpectSentence(pair("[]", ""), "vocab.json: the vocabulary is a list");
  ExpectSentence(pair("{}", "#version: 0.2\na b\nabc\n"),
                 "merges.txt: line 3 is \"abc\", expected two tokens");
}

}  // namespace
}  // namespace lcsm::io
