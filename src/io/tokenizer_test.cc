#include "io/tokenizer.h"

#include <gtest/gtest.h>

#include "io/test_util.h"

namespace lcsm::io {
namespace {

using Ids = std::vector<int32_t>;
using std::string_literals::operator""s;

TEST(HyenaDnaTokenizerTest, Characters) {
  const auto tokenizer = MakeHyenaDnaTokenizer();
  EXPECT_EQ(tokenizer->Encode("ACGTN").ids, (Ids{7, 8, 9, 10, 11}));
  EXPECT_EQ(tokenizer->vocab_size(), 12u);
  EXPECT_EQ(tokenizer->eos_id(), 1);
  EXPECT_EQ(tokenizer->Decode(Ids{7, 8, 1, 11, 12, -1}), "AC[SEP]N");
  EXPECT_TRUE(tokenizer->IsSpecial(6));
  EXPECT_FALSE(tokenizer->IsSpecial(7));
}

TEST(HyenaDnaTokenizerTest, SaysWhatItDoesNotKnow) {
  const auto tokenizer = MakeHyenaDnaTokenizer();
  const Encoding lower = tokenizer->Encode("ACgtXé-");
  EXPECT_EQ(lower.ids, (Ids{7, 8, 6, 6, 6, 6, 6}));
  EXPECT_EQ(lower.unknown, 5u);
  EXPECT_EQ(lower.first_unknown, "g");
  EXPECT_EQ(lower.first_unknown_offset, 2u);
  EXPECT_EQ(lower.unknown_lower_case_dna, 2u);
  const Encoding folded = tokenizer->Encode("ACgtnX", {.fold_case = true});
  EXPECT_EQ(folded.ids, (Ids{7, 8, 9, 10, 11, 6}));
  EXPECT_EQ(folded.unknown, 1u);
  EXPECT_EQ(folded.unknown_lower_case_dna, 0u);
  EXPECT_EQ(tokenizer->Encode("A\xff").first_unknown, "\xff");
}

TEST(HyenaDnaTokenizerTest, LiteralSpecials) {
  const auto tokenizer = MakeHyenaDnaTokenizer();
  EXPECT_EQ(tokenizer->Encode("A[SEP][CLS][BOS][PAD][UNK]C").ids,
            (Ids{7, 1, 0, 2, 4, 6, 8}));
  EXPECT_EQ(tokenizer->Encode("A[SEP]").unknown, 0u);
  // [MASK] takes the blanks before it along, others do not.
  EXPECT_EQ(tokenizer->Encode("A  [MASK] C").ids, (Ids{7, 3, 6, 8}));
  EXPECT_EQ(tokenizer->Encode("A [SEP]").ids, (Ids{7, 6, 1}));
  EXPECT_EQ(tokenizer->Encode("A  \t C").ids, (Ids{7, 6, 6, 6, 6, 8}));
  // Not a token that the original finds in text.
  EXPECT_EQ(tokenizer->Encode("[RESERVED]").ids.size(), 10u);
  EXPECT_EQ(tokenizer->Encode("[SE").ids, (Ids{6, 6, 6}));
}

TEST(ByteTokenizerTest, AnyBytes) {
  const auto tokenizer = MakeByteTokenizer(257, 256);
  const std::string text = "a\0\xff\n"s;
  EXPECT_EQ(tokenizer->Encode(text).ids, (Ids{97, 0, 255, 10}));
  EXPECT_EQ(tokenizer->Decode(Ids{97, 0, 255, 10, 256}), text);
  EXPECT_EQ(tokenizer->eos_id(), 256);
  EXPECT_TRUE(tokenizer->IsSpecial(256));
  EXPECT_FALSE(tokenizer->IsSpecial(257));
}

class LoadTokenizerTest : public testing::Test {
 protected:
  std::string Load(size_t vocab_size) {
    auto tokenizer = LoadTokenizer(folder_.path(), vocab_size);
    return tokenizer.ok() ? std::string((*tokenizer)->name())
                          : tokenizer.status().message();
  }
  void PutClass(std::string_view name) {
    Put(folder_ / "tokenizer_config.json",
        "{\"tokenizer_class\": \"" + std::string(name) + "\"}");
  }
  ScratchFolder folder_;
};

TEST_F(LoadTokenizerTest, ByVocabularySize) {
  EXPECT_EQ(Load(12), "hyenadna");
  EXPECT_EQ(Load(256), "bytes");
  EXPECT_EQ(Load(512), "bytes");
  for (const size_t vocab : {0, 11, 13, 255, 513, 50257}) {
    EXPECT_NE(Load(vocab).find("holds no tokenizer for a model with " +
                               std::to_string(vocab) + " ids, expected"),
              std::string::npos);
  }
}

TEST_F(LoadTokenizerTest, ByClass) {
  PutClass("CharacterTokenizer");
  EXPECT_EQ(Load(16), "hyenadna");
  PutClass("HyenaDNATokenizer");
  EXPECT_EQ(Load(12), "hyenadna");
  EXPECT_NE(Load(11).find("expected less than the model's vocab_size, 11"),
            std::string::npos);
  PutClass("ByteTokenizer");
  EXPECT_EQ(Load(1000), "bytes");
  EXPECT_NE(Load(100).find("expected at least 256"), std::string::npos);
  PutClass("LlamaTokenizer");
  EXPECT_NE(Load(1000).find("holds no tokenizer"), std::string::npos);
  Put(folder_ / "tokenizer_config.json", "{\"tokenizer_class\": 3}");
  EXPECT_NE(Load(12).find("tokenizer_class is 3, expected a string"),
            std::string::npos);
  Put(folder_ / "tokenizer_config.json",
      "{\"tokenizer_class\": \"ByteTokenizer\", \"eos_token_id\": 0}");
  EXPECT_EQ(LoadTokenizer(folder_.path(), 256).value()->eos_id(), 0);
}

TEST_F(LoadTokenizerTest, ByFiles) {
  const auto data = TestData("tokenizers/small-bpe");
  std::filesystem::copy_file(data / "vocab.json", folder_ / "vocab.json");
  EXPECT_EQ(Load(12), "hyenadna");  // vocab.json alone is not a tokenizer.
  std::filesystem::copy_file(data / "merges.txt", folder_ / "merges.txt");
  EXPECT_EQ(Load(503), "bpe");
  std::filesystem::copy_file(data / "tokenizer.json",
                             folder_ / "tokenizer.json");
  EXPECT_EQ(Load(503), "bpe");
  EXPECT_NE(Load(502).find("has ids up to 502, expected less than the model's"),
            std::string::npos);
  PutClass("GPT2Tokenizer");
  EXPECT_EQ(Load(503), "bpe");
  Put(folder_ / "tokenizer_config.json",
      "{\"eos_token\": {\"content\": \"<tag>\"}}");
  EXPECT_EQ(LoadTokenizer(folder_.path(), 503).value()->eos_id(), 501);
  Put(folder_ / "tokenizer_config.json", "{\"eos_token\": \"<none>\"}");
  EXPECT_NE(Load(503).find("the end-of-sequence token is \"<none>\""),
            std::string::npos);
}

}  // namespace
}  // namespace lcsm::io
