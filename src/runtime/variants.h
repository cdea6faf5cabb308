// Log-likelihoods of the alleles of variants.
//
// The score of an allele is the sum of the log-probabilities of its window's
// bases but the first, each given all before it, over the real vocabulary. What
// the windows of all alleles at a site have in common at their beginning is
// taken in once and the state forked; each allele then pays for its own rest
// alone. The rests are summed apart from the common part, so that it cancels in
// the difference of two alleles without a trace of rounding.
//
// Thread safety: one thread at a time, as the state.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/tokenizer.h"
#include "lcsm/status.h"
#include "runtime/model.h"
#include "runtime/variant_window.h"

namespace lcsm {

// Token ids of A, C, G, T and N, by their letters.
class NucleotideIds {
 public:
  // Error: a tokenizer that has no single token for one of them.
  static StatusOr<NucleotideIds> Find(const io::Tokenizer& tokenizer);
  std::vector<int32_t> Encode(std::string_view folded_bases) const;
  // The same into `tokens`, of which there must be as many.
  void Encode(std::string_view folded_bases, std::span<int32_t> tokens) const;

 private:
  std::array<int32_t, 128> ids_ = {};
};

struct VariantOptions {
  size_t window = 8192;  // Bases, at least 2; positions taken in: one less.
  double place = 0.5;    // See PlaceWindow.
  bool both_strands = false;
  // Off: every allele whole, from the first base on; for comparison.
  bool share = true;
};

struct VariantScores {
  // Natural logarithms; of both strands the mean.
  double ref = 0;
  std::vector<double> alts;
  std::vector<double> ratios;  // alt - ref
};

struct VariantFigures {
  size_t windows = 0;       // Texts scored, one for each allele and strand.
  size_t tokens = 0;        // Taken in.
  size_t tokens_whole = 0;  // That would have been without sharing.
};

class VariantScorer {
 public:
  // `state` must have been prepared for window - 1 positions and is at this
  // object's disposal; both must outlive it.
  VariantScorer(const Model& model, ModelState& state, const NucleotideIds& ids,
                const VariantOptions& options)
      : model_(model), state_(state), ids_(ids), options_(options) {}

  // Scores of variants on one strand; those whose windows coincide share. May
  // be asked to stop by `progress`. Errors: the strand's, the state's,
  // kCancelled.
  StatusOr<std::vector<VariantScores>> Score(
      const Strand& strand, std::span<const Variant> variants,
      const ModelState::Progress& progress);

  const VariantFigures& figures() const { return figures_; }

 private:
  // score = shared + own[i]
  struct Sums {
    double shared = 0;
    std::vector<double> own;
  };
  Status AddStrand(const Strand& strand, std::span<const Variant> variants,
                   const ModelState::Progress& progress,
                   std::vector<VariantScores>* scores);
  StatusOr<Sums> ScoreTexts(const std::vector<std::string>& texts,
                            const ModelState::Progress& progress);
  StatusOr<Sums> ScoreShared(const std::vector<std::vector<int32_t>>& texts,
                             size_t common,
                             const ModelState::Progress& progress);
  Status ScoreWhole(std::span<const int32_t> text,
                    const ModelState::Progress& progress, double* sum);
  // Adds to the scores of what follows the first `common` tokens; sets that of
  // what comes before.
  Status ScoreBranches(std::span<const std::vector<int32_t>> texts,
                       size_t common, const ModelState::Progress& progress,
                       std::span<double> own, double* shared);

  const Model& model_;
  ModelState& state_;
  NucleotideIds ids_;
  VariantOptions options_;
  VariantFigures figures_;
};

}  // namespace lcsm
