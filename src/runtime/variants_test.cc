// Scores of variants over a fake model whose logits depend on every token of
// the past: a window that is forked at the wrong place, or from the wrong
// state, shows.
#include "runtime/variants.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "io/nucleotides.h"

namespace lcsm {
namespace {

constexpr size_t kVocab = 12, kPadded = 16;

class FakeModel : public Model {
 public:
  FakeModel() {
    info_.vocab = kVocab;
    info_.padded_vocab = kPadded;
  }
  const ModelInfo& info() const override { return info_; }
  StatusOr<std::shared_ptr<const PreparedModel>> Prepare(
      const PrepareOptions&, ThreadPool&,
      const ModelState::Progress&) const override {
    return Unsupported("not here");
  }
  StatusOr<ModelMemory> EstimateMemory(const PrepareOptions&,
                                       size_t) const override {
    return Unsupported("not here");
  }
  Status CheckWeights() const override { return weights_; }

  Status weights_;

 private:
  ModelInfo info_;
};

uint64_t Mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9e3779b97f4a7c15;
  return hash ^ (hash >> 29);
}
std::vector<float> Logits(uint64_t past) {
  std::vector<float> logits(kPadded, 1e6f);  // Padding: must not count.
  for (size_t v = 0; v < kVocab; ++v) {
    logits[v] = static_cast<float>(Mix(past, v) % 1000) / 250 - 2;
  }
  return logits;
}

class FakeState : public ModelState {
 public:
  explicit FakeState(size_t horizon) : full_(horizon), horizon_(horizon) {}
  void Step(int32_t, float*) noexcept override {}
  Status Prefill(std::span<const int32_t> tokens,
                 const PrefillRequest& request) override {
    EXPECT_LE(position_ + tokens.size(), horizon_);
    for (const int32_t token : tokens) {
      past_ = Mix(past_, static_cast<uint64_t>(token));
      const std::vector<float> logits = Logits(past_);
      LCSM_RETURN_IF_ERROR(request.on_logits(position_++, logits));
    }
    horizon_ = std::min(horizon_, position_ + request.following);
    if (request.progress && !request.progress(1)) return Cancelled("stopped");
    return OkStatus();
  }
  StatusOr<std::unique_ptr<ModelState>> Fork() const override {
    return std::unique_ptr<ModelState>(std::make_unique<FakeState>(*this));
  }
  size_t padded_vocab() const override { return kPadded; }
  size_t position() const override { return position_; }
  size_t horizon() const override { return horizon_; }
  size_t StepRoom() const override { return 0; }
  void Reset() noexcept override {
    past_ = 1;
    position_ = 0;
    horizon_ = full_;
  }
  const StepTimes& times() const override { return times_; }
  void SkipMixers(bool) noexcept override {}

 private:
  size_t full_, horizon_, position_ = 0;
  uint64_t past_ = 1;
  StepTimes times_;
};

// By definition.
double ScoreOf(const NucleotideIds& ids, const std::string& text) {
  const std::vector<int32_t> tokens = ids.Encode(text);
  uint64_t past = 1;
  double score = 0;
  for (size_t t = 0; t + 1 < tokens.size(); ++t) {
    past = Mix(past, static_cast<uint64_t>(tokens[t]));
    const std::vector<float> logits = Logits(past);
    double sum = 0;
    for (size_t v = 0; v < kVocab; ++v) sum += std::exp(double{logits[v]});
    score += double{logits[static_cast<size_t>(tokens[t + 1])]} - std::log(sum);
  }
  return score;
}

Strand Over(const std::string& bases) {
  return {bases.size(),
          [bases](uint64_t begin, uint64_t end, std::string* out) {
            *out = bases.substr(begin, end - begin);
            return OkStatus();
          }};
}

NucleotideIds Ids() {
  const auto tokenizer = io::MakeHyenaDnaTokenizer();
  return *NucleotideIds::Find(*tokenizer);
}

TEST(NucleotideIdsTest, AreTheTokenizersOwn) {
  EXPECT_EQ(Ids().Encode("ACGTN"), std::vector<int32_t>({7, 8, 9, 10, 11}));
  const auto bytes = io::MakeByteTokenizer(256, -1);
  const auto ids = NucleotideIds::Find(*bytes);
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(ids->Encode("AN"), std::vector<int32_t>({'A', 'N'}));
}

TEST(VariantScorerTest, AgreesWithTheDefinition) {
  std::mt19937 random(7);
  std::string contig;
  for (int i = 0; i < 60; ++i) contig += "ACGTN"[random() % 5];
  const NucleotideIds ids = Ids();
  FakeModel model;
  FakeState state(31);
  const auto at = [&](uint64_t begin, size_t length,
                      std::vector<std::string> alts) {
    return Variant{begin, contig.substr(begin, length), std::move(alts)};
  };
  const std::vector<std::vector<Variant>> sites = {
      {at(30, 1, {"A"})},
      {at(30, 1, {"A", "C", "G", "T"})},
      {at(30, 3, {contig.substr(30, 1)})},
      {at(30, 1, {contig.substr(30, 1) + "ACG", "TTT"})},
      {at(0, 1, {"A", "C"})},
      {at(59, 1, {"A", "C"})},
      {at(0, 60, {"A"})},  // Nothing is left of the contig.
      // Lines at one site: of one REF, of different ones, one twice.
      {at(30, 1, {"A"}), at(30, 1, {"C"}), at(30, 2, {"A"}), at(30, 1, {"A"})}};
  for (const bool both : {false, true}) {
    for (const bool share : {false, true}) {
      for (const double place : {0.0, 0.5, 0.875}) {
        VariantScorer scorer(model, state, ids, {32, place, both, share});
        for (const std::vector<Variant>& site : sites) {
          const auto scores = scorer.Score(Over(contig), site, {});
          ASSERT_TRUE(scores.ok()) << scores.status().message();
          ASSERT_EQ(scores->size(), site.size());
          for (size_t i = 0; i < site.size(); ++i) {
            std::vector<double> wanted(site[i].alts.size() + 1);
            for (const bool reverse : {false, true}) {
              if (reverse && !both) continue;
              const Strand strand =
                  reverse ? Reverse(Over(contig)) : Over(contig);
              const Variant variant =
                  reverse ? Reverse(site[i], contig.size()) : site[i];
              const auto texts = MakeHaplotypes(
                  strand, variant,
                  PlaceWindow(contig.size(), variant, 32, place));
              ASSERT_TRUE(texts.ok());
              for (size_t k = 0; k < wanted.size(); ++k) {
                wanted[k] += ScoreOf(ids, (*texts)[k]) / (both ? 2 : 1);
              }
            }
            const VariantScores& got = (*scores)[i];
            EXPECT_NEAR(got.ref, wanted[0], 1e-9);
            ASSERT_EQ(got.alts.size(), site[i].alts.size());
            for (size_t k = 0; k < got.alts.size(); ++k) {
              EXPECT_NEAR(got.alts[k], wanted[k + 1], 1e-9);
              EXPECT_NEAR(got.ratios[k], wanted[k + 1] - wanted[0], 1e-9);
            }
          }
        }
      }
    }
  }
}

TEST(VariantScorerTest, SharedTokensAreTakenInOnce) {
  const std::string contig(100, 'A');
  FakeModel model;
  FakeState state(31);
  const auto tokens = [&](double place, std::vector<Variant> site) {
    VariantScorer scorer(model, state, Ids(), {32, place, false, true});
    EXPECT_TRUE(scorer.Score(Over(contig), site, {}).ok());
    return std::pair(scorer.figures().tokens, scorer.figures().tokens_whole);
  };
  // 31 tokens are taken in for each; 16, or 28, of them in common.
  EXPECT_EQ(tokens(0.5, {{50, "A", {"C"}}}), std::pair(size_t{46}, size_t{62}));
  EXPECT_EQ(tokens(0.875, {{50, "A", {"C"}}}),
            std::pair(size_t{34}, size_t{62}));
  EXPECT_EQ(tokens(0.5, {{50, "A", {"C", "G", "T"}}}),
            std::pair(size_t{16 + 4 * 15}, size_t{124}));
  // The same whether they stand in one line or in three; REF is scored once.
  EXPECT_EQ(tokens(0.5, {{50, "A", {"C"}}, {50, "A", {"G"}}, {50, "A", {"T"}}}),
            std::pair(size_t{16 + 4 * 15}, size_t{186}));
  // The base that VCF puts before an indel is shared too.
  EXPECT_EQ(tokens(0.5, {{50, "A", {"AC"}}}),
            std::pair(size_t{17 + 2 * 14}, size_t{62}));
  // Alleles that are the same within the window.
  EXPECT_EQ(tokens(0.5, {{50, "A", {"AA"}}}),
            std::pair(size_t{31}, size_t{62}));
}

TEST(VariantScorerTest, ErrorsComeThrough) {
  const std::string contig(100, 'A');
  FakeModel model;
  FakeState state(31);
  const std::vector<Variant> site = {{50, "A", {"C"}}};
  VariantScorer scorer(model, state, Ids(), {32, 0.5, false, true});
  EXPECT_EQ(scorer.Score(Over(contig), site, [](double) { return false; })
                .status()
                .code(),
            StatusCode::kCancelled);
  Strand broken = Over(contig);
  broken.fetch = [](uint64_t, uint64_t, std::string*) {
    return InvalidInput("the genome is gone");
  };
  EXPECT_EQ(scorer.Score(broken, site, {}).status().message(),
            "the genome is gone");
  model.weights_ = InvalidInput("the weights are gone");
  EXPECT_EQ(scorer.Score(Over(contig), site, {}).status().message(),
            "the weights are gone");
}

}  // namespace
}  // namespace lcsm
